//! What was measured of snapshots, in figures and words.

use crate::disk::Needed;
use crate::figure::Figure;
use crate::measure::Measured;
use crate::snapshots::{Run, Snapshots, Upload};

/// How it is measured, for the page.
pub const METHOD: &str = "- Snapshots: a disk of 10 GiB with a partition table and the same file system, enlarged to fill it, becomes a \
     snapshot, and that a file again. Clients, a double of EBS (`tests/ebs-server`), and the same proxy as for transfers share the \
     cores. Ours: `ec2-ami create --snapshot-only`, which waits until the snapshot is complete, and `ec2-ami fetch`. Coldsnap 0.12 from \
     crates.io: `coldsnap upload`, which sends every block, the same with `--omit-zero-blocks`, which is not safe for encrypted volumes, \
     and `coldsnap download`. The faster of two runs each; after each the volume or the file is compared with the disk, \
     byte by byte. Blocks a second are those between the first and the last answer, without proxy and quotas. The throttled runs have no proxy: the double answers after 30 ms, takes 200 blocks a second, \
     fails 5 % of the requests, and never answers 1 %. How much of the bucket was used counts from second 3 on, and up to the last \
     whole second in which there were blocks that had never been sent.";

/// Blocks of 512 KiB in a GiB.
const BLOCKS_OF_GIB: f64 = 2048.0;

impl Upload {
    /// Processor time of the client, in seconds for each GiB that it sent.
    fn cpu_of_gib(&self) -> f64 {
        self.run.client.cpu * BLOCKS_OF_GIB / self.blocks as f64
    }
}

impl Snapshots {
    /// The figures with their goals.
    pub fn figures(&self) -> Vec<Figure> {
        let faster = |what, theirs: Measured, ours: Measured, goal| {
            let measured = format!("{:.2} s to {:.2} s", theirs.wall, ours.wall);
            Figure::least(what, measured, theirs.wall / ours.wall, goal, "times")
        };
        let puts = |what, upload: &Upload, needed: &Needed| {
            let measured = format!("{} to {} + {}", upload.puts, needed.data, needed.zeros);
            let figure = upload.puts as f64 / needed.sent() as f64;
            Figure::most(what, measured, figure, 1.01, "times")
        };
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        let (up, direct) = (&self.up, &self.direct);
        vec![
            faster(
                "a snapshot, as fast as coldsnap",
                self.up_all.run.client,
                up.run.client,
                2.0,
            ),
            faster(
                "a snapshot, as fast as coldsnap without zeros",
                self.up_omitting.run.client,
                up.run.client,
                1.0,
            ),
            Figure::most(
                "processor time a GiB sent over coldsnap's",
                format!(
                    "{:.2} s to {:.2} s",
                    up.cpu_of_gib(),
                    self.up_all.cpu_of_gib()
                ),
                up.cpu_of_gib() / self.up_all.cpu_of_gib(),
                0.7,
                "times",
            ),
            puts(
                "requests over blocks with data + allocated zeros",
                up,
                &self.needed,
            ),
            puts("the same of 1 TiB (sparse)", &self.vast, &self.needed_vast),
            Figure::least(
                "blocks a second, without a network",
                format!("{} in {:.2} s", direct.blocks, direct.run.client.wall),
                direct.rate,
                1000.0,
                "/s",
            ),
            Figure::most(
                "processor time for 1,000 of these blocks",
                format!("{:.2} s", direct.run.client.cpu),
                direct.run.client.cpu * 1000.0 / direct.blocks as f64,
                1.0,
                "s",
            ),
            faster(
                "fetching, as fast as coldsnap download",
                self.down_coldsnap.client,
                self.down.client,
                1.0,
            ),
            Figure::least(
                "the used part of a bucket of 200 blocks a second",
                match self.throttled_coldsnap.used {
                    Some(used) => format!("coldsnap: {}", percent(used)),
                    None => "coldsnap: failed".to_owned(),
                },
                self.throttled.used.unwrap_or_default(),
                0.95,
                "",
            ),
            Figure::most(
                "the part of its answers that were throttled",
                format!("coldsnap: {}", percent(self.throttled_coldsnap.refused)),
                self.throttled.refused,
                0.02,
                "",
            ),
            Figure::most(
                "memory, a snapshot of 10 GiB",
                String::new(),
                up.run.client.memory,
                128.0,
                "MiB",
            ),
            Figure::most(
                "memory, a snapshot of 1 TiB (sparse)",
                format!("{:.2} s", self.vast.run.client.wall),
                self.vast.run.client.memory,
                128.0,
                "MiB",
            ),
        ]
    }

    /// Who used how much processor time, as a table in Markdown, and how the throttled runs ended.
    pub fn details(&self) -> String {
        let mut text = format!(
            "Snapshots, in seconds of wall time and of processor time. The disk has {} blocks: {} with data, {} of zeros in allocated \
             space.\n\n\
             | what | wall | client | proxy | double | blocks sent | memory of the client |\n|---|---|---|---|---|---|---|\n",
            self.needed.all, self.needed.data, self.needed.zeros,
        );
        let mut line = |what: &str, run: &Run, blocks: Option<usize>| {
            text.push_str(&format!(
                "| {what} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {:.0} MiB |\n",
                run.client.wall,
                run.client.cpu,
                run.proxy,
                run.double,
                blocks.map_or(String::new(), |blocks| blocks.to_string()),
                run.client.memory,
            ));
        };
        for (what, upload) in [
            ("`ec2-ami create`", &self.up),
            ("`coldsnap upload`", &self.up_all),
            ("`coldsnap upload --omit-zero-blocks`", &self.up_omitting),
            ("`ec2-ami create`, without a network", &self.direct),
            ("`ec2-ami create`, 1 TiB, without a network", &self.vast),
        ] {
            line(what, &upload.run, Some(upload.blocks));
        }
        line("`ec2-ami fetch`", &self.down, None);
        line("`coldsnap download`", &self.down_coldsnap, None);
        let coldsnap = &self.throttled_coldsnap;
        let ended = match &coldsnap.failure {
            None => "was done",
            Some(_) => "failed",
        };
        text.push_str(&format!(
            "\nThrottled: `ec2-ami create` was done after {:.1} s, `coldsnap upload --omit-zero-blocks` {ended} after {:.1} s.\n",
            self.throttled.client.wall, coldsnap.client.wall,
        ));
        text
    }
}
