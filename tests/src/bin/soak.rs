//! `ami-soak`: rounds of bundle, upload, download, unbundle and compare, with faults between the commands and S3, and kills at any time;
//! then `ec2-ami create`, of disks and of bundles in S3, and `fetch` that are killed. Nothing may be lost or left behind. `make soak` runs
//! fifty rounds and kills each of the three fifty times, and writes the results to docs/benchmarks.md. Needs root. `ami-soak ROUNDS KILLS`
//! does so many.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use end_to_end::images::noise;
use end_to_end::kills;
use end_to_end::mounts::Mount;
use end_to_end::page::{machine, write_section};
use end_to_end::proxy::{Action, Proxy, Rule, Slowness};
use end_to_end::random::{Random, seed};
use end_to_end::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use end_to_end::traces::assert_no_trace;
use end_to_end::volumes::{differences, fill};
use end_to_end::{bundling_volume, command, folder, key, names, outcome, shell};
use rustix::process::{Pid, Signal, kill_process};

/// The default number of rounds.
const ROUNDS: u32 = 50;

/// The default number of runs of `ec2-ami create`, of each kind, and of `ec2-ami fetch`, that are killed.
const KILLS: u64 = 50;

/// The most of them in a row, for one snapshot.
const KILLS_IN_A_ROW: u64 = 10;

/// The most times that a step is killed before it may finish.
const MOST_KILLS: u64 = 3;

/// Counts of what happened.
#[derive(Default)]
struct Tally {
    killed: [u64; 4],
    interrupted: [u64; 4],
    faults: u64,
    failed: u64,
    bytes: u64,
}

/// The steps that can be killed.
#[derive(Clone, Copy)]
enum Step {
    Bundle,
    Upload,
    Download,
    Unbundle,
}

const STEPS: [&str; 4] = [
    "ec2-bundle-vol",
    "ec2-upload-bundle",
    "ec2-download-bundle",
    "ec2-unbundle",
];

struct Soak {
    random: Random,
    tally: Tally,
    /// How long each step takes when it is not killed.
    usual: [Duration; 4],
    proxy: Proxy,
}

impl Soak {
    /// Runs a step until it succeeds, while it is killed now and then, or fails because of faults.
    fn run(&mut self, step: Step, make: impl Fn() -> Command, after_kill: impl Fn()) {
        let index = step as usize;
        for _ in 0..self.random.below(MOST_KILLS + 1) {
            self.set_faults(step);
            let mut child = make();
            let mut child = child
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let usual = self.usual[index].as_micros() as u64;
            sleep(Duration::from_micros(self.random.below(usual.max(1))));
            let is_kill = self.random.below(2) == 0;
            let signal = if is_kill { Signal::KILL } else { Signal::INT };
            // It may have ended already.
            let _ = kill_process(Pid::from_child(&child), signal);
            let status = child.wait().unwrap();
            if !status.success() {
                let count = if is_kill {
                    &mut self.tally.killed
                } else {
                    &mut self.tally.interrupted
                };
                count[index] += 1;
            }
            self.count_faults();
            after_kill();
        }
        loop {
            self.set_faults(step);
            let begin = Instant::now();
            let result = outcome(&mut make());
            self.count_faults();
            if result.code == 0 {
                // The shortest time, so that kills come while it works, not while it waits after a fault.
                self.usual[index] = self.usual[index].min(begin.elapsed());
                return;
            }
            // There were more faults than tries; the next run resumes.
            assert_eq!(result.code, 3, "{}: {result:?}", STEPS[index]);
            self.tally.failed += 1;
        }
    }

    fn set_faults(&mut self, step: Step) {
        let method = match step {
            Step::Upload => "PUT",
            Step::Download => "GET",
            Step::Bundle | Step::Unbundle => return,
        };
        let count = self.random.below(4);
        let rules = (0..count).map(|_| self.fault(method)).collect();
        self.proxy.set_rules(rules);
    }

    fn count_faults(&mut self) {
        self.tally.faults += self.proxy.faults();
    }

    fn fault(&mut self, method: &'static str) -> Rule {
        let times = Some(u32::try_from(1 + self.random.below(2)).unwrap());
        let bytes = usize::try_from(self.random.below(10 << 20)).unwrap();
        let is_upload = method == "PUT";
        let action = match self.random.below(4) {
            0 => return Rule::error(method, "part", times, 503, "SlowDown"),
            1 => return Rule::error(method, "", times, 500, "InternalError"),
            2 if is_upload => return Rule::error(method, "part", times, 400, "BadDigest"),
            2 => Action::AlterDownload,
            _ if is_upload => Action::ResetUpload(bytes),
            _ => Action::CutDownload(bytes),
        };
        Rule::new(method, "part", times, action)
    }

    /// One round, which leaves nothing behind.
    fn round(&mut self, number: u32, server: &Server) {
        let volume = Mount::new("128M", "mke2fs -q -F -t ext4");
        fill(&volume.path());
        for file in 0..4 + self.random.below(8) {
            let size = usize::try_from(self.random.below(6 << 20)).unwrap();
            let content = noise(size, self.random.number());
            fs::write(volume.path().join(format!("var/{file}")), content).unwrap();
        }
        let work = folder();
        let made = |name: &str| {
            let path = work.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (bundled, fetched, back) = (made("bundled"), made("fetched"), made("back"));
        let words = |paths: &[(&str, &Path)]| -> Vec<String> {
            let pairs = paths.iter();
            pairs
                .flat_map(|(option, path)| [(*option).to_owned(), path.display().to_string()])
                .collect()
        };
        let private_key = key("user2048.key");

        let mut bundling = bundling_volume(&volume.path(), &bundled);
        let size = bundling.iter().position(|word| word == "-s").unwrap();
        "256".clone_into(&mut bundling[size + 1]);
        self.run(
            Step::Bundle,
            || command("ec2-bundle-vol", &bundling),
            || {
                assert_no_trace(&bundled);
                // A kill between publishing the image and the bundle leaves a whole image, which would be in the next run's way.
                for name in names(&bundled) {
                    fs::remove_file(bundled.join(name)).unwrap();
                }
            },
        );
        assert_no_trace(&bundled);
        let manifest = bundled.join("image.manifest.xml");
        self.tally.bytes += fs::metadata(bundled.join("image")).unwrap().len();

        let url = self.proxy.url();
        let with_keys = |name: &str, more: &[String]| {
            let mut command = command(name, more);
            let _ = command
                .args(["-b", BUCKET, "--url", &url, "--batch", "--retry"])
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
            command
        };
        let upload = words(&[("-m", &manifest)]);
        self.run(
            Step::Upload,
            || with_keys("ec2-upload-bundle", &upload),
            || (),
        );
        let download = words(&[("-k", &private_key), ("-d", &fetched)]);
        self.run(
            Step::Download,
            || with_keys("ec2-download-bundle", &download),
            // The manifest is there only if all parts are; until then, they are in a private folder.
            || {
                let begun = names(&fetched);
                let is_whole = begun.iter().any(|name| name.ends_with(".manifest.xml"));
                assert!(
                    is_whole || begun.iter().all(|name| name.starts_with('.')),
                    "{begun:?}"
                );
            },
        );
        assert_no_trace(&fetched);
        for name in names(&fetched) {
            let same =
                fs::read(fetched.join(&name)).unwrap() == fs::read(bundled.join(&name)).unwrap();
            assert!(same, "round {number}: {name} is another");
        }
        let fetched_manifest = fetched.join("image.manifest.xml");
        let unbundle = words(&[
            ("-k", &private_key),
            ("-m", &fetched_manifest),
            ("-s", &fetched),
            ("-d", &back),
        ]);
        self.run(
            Step::Unbundle,
            || command("ec2-unbundle", &unbundle),
            || assert_no_trace(&back),
        );
        assert_no_trace(&back);
        let (image, back) = (bundled.join("image"), back.join("image"));
        let script = format!("cmp '{}' '{}'", image.display(), back.display());
        let _ = shell(&script, Path::new("/"));
        assert_eq!(differences(&volume.path(), &back), "");

        self.proxy.set_rules(Vec::new());
        let delete = ["-p", "image", "-y"].map(str::to_owned);
        let deleted = outcome(
            command("ec2-delete-bundle", &delete)
                .args(["-b", BUCKET, "--url", &url, "--batch"])
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        );
        assert_eq!(deleted.code, 0, "{deleted:?}");
        let left: Vec<String> = names(&server.bucket(BUCKET));
        let left: Vec<_> = left.iter().filter(|name| !name.starts_with('.')).collect();
        assert!(left.is_empty(), "round {number}: {left:?} stayed in S3");
    }
}

/// Kills runs of one verb of `ec2-ami`, this many.
fn kill(verb: Kills, random: &mut Random, count: u64) -> kills::Tally {
    let mut all = kills::Tally::default();
    while all.kills < count {
        let one = verb(random, KILLS_IN_A_ROW.min(count - all.kills));
        all.kills += one.kills;
        all.twice += one.twice;
    }
    all
}

/// Kills a verb's runs so many times.
type Kills = fn(&mut Random, u64) -> kills::Tally;

/// The verbs of `ec2-ami` that are killed.
const VERBS: [(&str, Kills); 3] = [
    ("ec2-ami create", kills::create),
    ("ec2-ami create s3://…", kills::create_from_bundle),
    ("ec2-ami fetch", kills::fetch),
];

fn main() {
    let mut numbers = std::env::args().skip(1);
    let rounds = numbers.next().map_or(ROUNDS, |text| text.parse().unwrap());
    let kills = numbers.next().map_or(KILLS, |text| text.parse().unwrap());
    let seed = seed("AMI_SOAK_SEED");
    let server = Server::start();
    let _ = server.bucket(BUCKET);
    let mut soak = Soak {
        random: Random::new(seed),
        tally: Tally::default(),
        usual: [Duration::from_secs(5); 4],
        proxy: Proxy::start(server.address, Slowness::default()),
    };
    println!("{rounds} rounds, seed {seed}");
    let begin = Instant::now();
    for number in 1..=rounds {
        soak.round(number, &server);
        println!(
            "round {number}: whole, and nothing left ({} s)",
            begin.elapsed().as_secs()
        );
    }
    let mut killed = Vec::new();
    for (verb, run) in VERBS {
        let tally = kill(run, &mut soak.random, kills);
        println!("{verb}: {tally:?} ({} s)", begin.elapsed().as_secs());
        killed.push((verb, tally));
    }
    let text = report(&soak.tally, rounds, seed, begin.elapsed()) + &report_of_kills(&killed);
    print!("{text}");
    write_section("Soak", &text);
}

fn report(tally: &Tally, rounds: u32, seed: u64, time: Duration) -> String {
    let mut text = format!(
        "Written by `make soak` on {}: {rounds} rounds of `ec2-bundle-vol`, `ec2-upload-bundle --retry`, \
         `ec2-download-bundle --retry` and `ec2-unbundle` in {} s, {} MiB of images. Each step was killed up to {MOST_KILLS} times at a \
         random moment, by SIGKILL or SIGINT, and then run to its end. S3 was behind a proxy that caused {} faults (errors, resets, \
         altered bytes); after {} of them, a command gave up and was run again. In every round, the unbundled image was identical to the \
         bundled one, its files were the volume's (`rsync -naHAXi --checksum`), and no mount, loop device, temporary file or object was \
         left. `AMI_SOAK_SEED={seed}` repeats it.\n\n| step | killed | interrupted |\n|---|---|---|\n",
        machine(),
        time.as_secs(),
        tally.bytes >> 20,
        tally.faults,
        tally.failed,
    );
    for (index, step) in STEPS.iter().enumerate() {
        text += &format!(
            "| `{step}` | {} | {} |\n",
            tally.killed[index], tally.interrupted[index]
        );
    }
    text
}

fn report_of_kills(killed: &[(&str, kills::Tally)]) -> String {
    let mut text = "\nThen `ec2-ami create` and `ec2-ami fetch` were killed by SIGKILL at random moments, and given again until they were done, \
         up to 10 times in a row; while bundles were read, S3, EBS and EC2 failed now and then. Each time there was one snapshot and one AMI in the end, or one whole file; the bytes were right; no other \
         snapshot, journal or temporary file was left; and at most the blocks that were in flight at a kill were sent, or fetched, again.\n\n\
         | command | killed | blocks again |\n|---|---|---|\n"
        .to_owned();
    for (verb, tally) in killed {
        text += &format!("| `{verb}` | {} | {} |\n", tally.kills, tally.twice);
    }
    text
}
