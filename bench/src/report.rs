//! The results and their goals, as a table and as a page.

use std::fs;
use std::path::Path;

use crate::figure::{Figure, table};
use crate::measure::shell;
use crate::rescue::{self, Rescue};
use crate::snapshot_report;
use crate::snapshots::Snapshots;
use crate::transfers::Transfers;
use crate::{Measured, Result};

/// The data that was bundled.
pub struct Data {
    size: u64,
    allocated: u64,
    files: String,
}

impl Data {
    /// Examines an image.
    pub fn of(image: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(image)?;
        let root = image.with_file_name("root");
        let files = if root.is_dir() {
            shell(&format!("find '{}' -xdev | wc -l", root.display()))?
        } else {
            "unknown".to_owned()
        };
        Ok(Self {
            size: metadata.len(),
            allocated: metadata.blocks() * 512,
            files,
        })
    }
}

/// All measurements.
pub struct Report {
    pub data: Data,
    pub gzip_bundle: Measured,
    pub pigz_bundle: Measured,
    pub ours_one: Measured,
    pub ours_two: Measured,
    pub ours_huge: Measured,
    pub gzip_back: Measured,
    pub ours_back: Measured,
    pub ours_back_of_gzip: Measured,
    pub ours_back_huge: Measured,
    pub older_copy: Measured,
    pub our_copy: Measured,
    pub our_volume: Measured,
    pub our_many: Measured,
    pub transfers: Transfers,
    pub snapshots: Snapshots,
    pub rescue: Rescue,
    pub our_size: u64,
    pub gzip_size: u64,
}

/// A bar of the plot: its group, its label, seconds.
pub type Bar = (&'static str, &'static str, f64);

impl Report {
    fn figures(&self) -> Vec<Figure> {
        let ratio =
            |what, measured, figure, goal| Figure::least(what, measured, figure, goal, "times");
        let most = Figure::most;
        let seconds = |a: Measured, b: Measured| format!("{:.2} s to {:.2} s", a.wall, b.wall);
        let two = self.ours_two;
        vec![
            ratio(
                "bundling, as fast as A (gzip -9)",
                seconds(self.gzip_bundle, two),
                self.gzip_bundle.wall / two.wall,
                28.0,
            ),
            ratio(
                "bundling, as fast as E (pigz)",
                seconds(self.pigz_bundle, two),
                self.pigz_bundle.wall / two.wall,
                3.2,
            ),
            most(
                "our bundle's size over A's",
                format!("{} to {} bytes", self.our_size, self.gzip_size),
                self.our_size as f64 / self.gzip_size as f64,
                1.0,
                "times",
            ),
            most(
                "wall time over processor time by the cores",
                format!("{:.2} s to {:.2} s / 2", two.wall, two.cpu),
                two.wall / (two.cpu / 2.0),
                1.10,
                "times",
            ),
            ratio(
                "bundling, 1 thread to 2",
                seconds(self.ours_one, two),
                self.ours_one.wall / two.wall,
                1.85,
            ),
            ratio(
                "unbundling ours, as fast as A backwards",
                seconds(self.gzip_back, self.ours_back),
                self.gzip_back.wall / self.ours_back.wall,
                5.0,
            ),
            ratio(
                "unbundling A's, as fast as A backwards",
                seconds(self.gzip_back, self.ours_back_of_gzip),
                self.gzip_back.wall / self.ours_back_of_gzip.wall,
                4.2,
            ),
            ratio(
                "copying a volume, as fast as rsync's way",
                seconds(self.older_copy, self.our_copy),
                self.older_copy.wall / self.our_copy.wall,
                1.3,
            ),
            ratio(
                "bundling a volume, as fast as rsync's way and A",
                format!(
                    "{:.2} s to {:.2} s",
                    self.older_copy.wall + self.gzip_bundle.wall,
                    self.our_volume.wall
                ),
                (self.older_copy.wall + self.gzip_bundle.wall) / self.our_volume.wall,
                15.0,
            ),
            ratio(
                "uploading, as fast as one part at a time",
                seconds(self.transfers.up_one, self.transfers.up),
                self.transfers.up_one.wall / self.transfers.up.wall,
                4.0,
            ),
            ratio(
                "uploading, as fast as aws s3 cp",
                seconds(self.transfers.up_aws, self.transfers.up),
                self.transfers.up_aws.wall / self.transfers.up.wall,
                1.0,
            ),
            ratio(
                "downloading, as fast as one part at a time",
                seconds(self.transfers.down_one, self.transfers.down),
                self.transfers.down_one.wall / self.transfers.down.wall,
                4.0,
            ),
            ratio(
                "downloading, as fast as aws s3 cp",
                seconds(self.transfers.down_aws, self.transfers.down),
                self.transfers.down_aws.wall / self.transfers.down.wall,
                1.0,
            ),
            most(
                "straight to S3 over the slower of its steps alone",
                format!(
                    "{:.2} s, {:.2} s to {:.2} s",
                    self.transfers.bundling.wall,
                    self.transfers.up.wall,
                    self.transfers.straight.wall
                ),
                self.transfers.straight.wall
                    / self.transfers.bundling.wall.max(self.transfers.up.wall),
                1.1,
                "times",
            ),
            most("memory, bundling", String::new(), two.memory, 128.0, "MiB"),
            most(
                "memory, bundling 9 GiB (sparse)",
                String::new(),
                self.ours_huge.memory,
                128.0,
                "MiB",
            ),
            most(
                "memory, unbundling",
                String::new(),
                self.ours_back.memory.max(self.ours_back_of_gzip.memory),
                128.0,
                "MiB",
            ),
            most(
                "memory, unbundling 9 GiB (sparse)",
                String::new(),
                self.ours_back_huge.memory,
                128.0,
                "MiB",
            ),
            most(
                "memory, bundling a volume",
                String::new(),
                self.our_volume.memory,
                192.0,
                "MiB",
            ),
            most(
                "memory, copying a million files",
                format!("{:.2} s", self.our_many.wall),
                self.our_many.memory,
                192.0,
                "MiB",
            ),
            most(
                "memory, uploading",
                String::new(),
                self.transfers.up.memory,
                160.0,
                "MiB",
            ),
            most(
                "memory, downloading",
                String::new(),
                self.transfers.down.memory,
                160.0,
                "MiB",
            ),
            most(
                "memory, straight to S3",
                String::new(),
                self.transfers.straight.memory,
                160.0,
                "MiB",
            ),
        ]
    }

    /// The tables in Markdown, which are also printed.
    pub fn table(&self) -> String {
        let mut figures = self.figures();
        figures.extend(self.snapshots.figures());
        figures.extend(self.rescue.figures());
        format!("{}\n{}", table(&figures), self.snapshots.details())
    }

    /// docs/benchmarks.md.
    pub fn page(&self) -> Result<String> {
        let machine = shell(
            "awk -F ': ' '/model name/ { print $2; exit }' /proc/cpuinfo; nproc; \
             awk '/MemTotal/ { printf \"%.0f GiB\", $2 / 1048576 }' /proc/meminfo; echo; uname -sr; date -u +%F",
        )?;
        let machine: Vec<&str> = machine.lines().collect();
        let [processor, cores, memory, system, date] = machine[..] else {
            return Err("the description of this machine is incomplete".into());
        };
        let mib = |bytes: u64| bytes >> 20;
        Ok(format!(
            "# Benchmarks\n\n\
             Written by `make bench`. Everything below was measured in one run, on {date}.\n\n\
             - Machine: {processor}, {cores} cores, {memory}, {system}. The image is read from memory; bundles and images are written to its disk.\n\
             - Data: an ext4 image of {size} MiB with {allocated} MiB of data, made from a Debian 12 root file system with a kernel and \
             compilers, {files} files (`scripts/bench-image`). The image of 9 GiB is the same file system, enlarged.\n\
             - A, the older suite's pipeline: `tar -chS | tee >(openssl sha1) | gzip -9 | openssl enc -aes-128-cbc`, then `split` and \
             `openssl sha1` of each part. E, the same with `pigz` (level 6, both cores). A backwards, to unbundle: `cat | openssl enc -d | \
             gunzip | tee >(openssl sha1) | tar -x`.\n\
             - Ours: these commands, with 2 threads and the default compression level; the best of three runs. The older suite's pipeline \
             runs once. After each unbundling the image's SHA-256 is compared. Ours syncs its files to the disk, the pipelines do not.\n\
             - Rsync's way, as the older suite copies a volume: `dd`, `mkfs.ext4`, `rsync -rlpgoD -t -r -S -l -X`, `umount`. The volume is \
             the mounted image, with `-P none`. After each of our copies, `rsync -naHAXi` finds no difference. The million files are in a \
             thousand folders; every twentieth has a second name in another folder.\n\
             - Transfers: 100 parts of 10 MiB, to an S3 server on this machine (`s3s-fs`) through a proxy that adds 30 ms to every round \
             trip and limits each connection to 20 MB/s; client, proxy and server share the cores. Ours transfers 8 files at a time, its \
             default, or one with `--parallel 1`; it verifies every digest before and after, and syncs. `aws s3 cp --recursive` \
             (bench/requirements.txt) uses its default of 10 requests at a time. All files are compared afterwards. \
             Straight to S3: `ec2-ami bundle` of the image that the parts are of, with its parts sent through the proxy, beside \
             `ec2-bundle-image` alone and the upload; it is unbundled and compared.\n\
             {snapshots}\n\
             {rescue}\n\n\
             ![Seconds for bundling and unbundling](benchmarks.svg)\n\n{table}",
            size = mib(self.data.size),
            allocated = mib(self.data.allocated),
            files = self.data.files,
            snapshots = snapshot_report::METHOD,
            rescue = rescue::METHOD,
            table = self.table(),
        ))
    }

    /// The bars of the plot.
    pub fn bars(&self) -> Vec<Bar> {
        vec![
            ("bundling", "A: gzip -9", self.gzip_bundle.wall),
            ("bundling", "E: pigz", self.pigz_bundle.wall),
            ("bundling", "ours, 1 thread", self.ours_one.wall),
            ("bundling", "ours, 2 threads", self.ours_two.wall),
            ("unbundling", "A backwards", self.gzip_back.wall),
            (
                "unbundling",
                "ours, of A's bundle",
                self.ours_back_of_gzip.wall,
            ),
            ("unbundling", "ours, of our bundle", self.ours_back.wall),
            ("copying a volume", "rsync's way", self.older_copy.wall),
            ("copying a volume", "ours", self.our_copy.wall),
            (
                "uploading",
                "ours, one at a time",
                self.transfers.up_one.wall,
            ),
            ("uploading", "aws s3 cp", self.transfers.up_aws.wall),
            ("uploading", "ours", self.transfers.up.wall),
            (
                "downloading",
                "ours, one at a time",
                self.transfers.down_one.wall,
            ),
            ("downloading", "aws s3 cp", self.transfers.down_aws.wall),
            ("downloading", "ours", self.transfers.down.wall),
        ]
    }
}
