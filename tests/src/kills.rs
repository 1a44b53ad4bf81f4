//! `ec2-ami` that is killed at random moments and given again until it is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ebs_server::{Faults, Quotas, Settings};

use crate::bundles::forge_in_parts;
use crate::ebs::{REGION, Scene};
use crate::proxy::{Action, Rule};
use crate::random::Random;
use crate::s3::private_key;
use crate::{folder, from_bundles, names, shell};

/// The most requests in flight.
const PARALLEL: u64 = 4;

/// Counts of what happened.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Runs that were killed.
    pub kills: u64,
    /// Blocks that were sent, or fetched, more than once.
    pub twice: u64,
}

impl Tally {
    fn check(self) -> Self {
        let Self { kills, twice } = self;
        let in_flight = PARALLEL * kills;
        assert!(twice <= in_flight, "{twice} blocks twice, {kills} kills");
        self
    }
}

/// A double that takes its time, multiplied by a factor.
pub fn slow(factor: f64) -> Scene {
    Scene::with(slowness(factor))
}

/// The settings of [`slow`].
pub fn slowness(factor: f64) -> Settings {
    Settings {
        latency: Duration::from_millis(20).mul_f64(factor),
        available_after: Duration::from_millis(100),
        quotas: Quotas {
            ec2: 0.0,
            ..Quotas::default()
        },
        ..Settings::default()
    }
}

/// Runs a command again and again; at most `most` times it is killed, at a random moment within `usual`. Ends when a run succeeds, or was
/// killed when nothing was left to do. Gives how many were killed.
fn until_done(
    make: impl Fn() -> Command,
    random: &mut Random,
    most: u64,
    usual: Duration,
    is_done: impl Fn() -> bool,
) -> u64 {
    let mut kills = 0;
    loop {
        let mut command = make();
        let _ = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if kills < most {
            let limit = u64::try_from(usual.as_micros()).unwrap();
            sleep(Duration::from_micros(random.below(limit)));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => return kills,
            None => kills += 1,
            Some(code) => panic!("{code} after {kills} kills: {text}"),
        }
        if is_done() {
            return kills;
        }
    }
}

/// Makes an AMI, with a copy, of a new disk while runs are killed, `most` of them. There is one snapshot and one AMI with the disk's bytes
/// then, and nothing else.
pub fn create(random: &mut Random, most: u64) -> Tally {
    let scene = slow(1.0);
    let disk = scene.disk("disk.img");
    let parallel = PARALLEL.to_string();
    let mut arguments = vec!["create", &disk, "--name", "web", "--parallel", &parallel];
    arguments.extend(["--copy-to", "us-west-2"]);
    let left = || names(&scene.journals());
    let kills = until_done(
        || scene.command(&arguments),
        random,
        most,
        Duration::from_millis(700),
        // The journal goes last.
        || !scene.server.images().is_empty() && left().is_empty(),
    );
    let mut images = scene.server.images();
    images.sort_by(|a, b| a.region.cmp(&b.region));
    let regions: Vec<&str> = images.iter().map(|image| &*image.region).collect();
    assert_eq!(regions, [REGION, "us-west-2"], "{images:?}");
    let snapshots = scene.server.snapshots();
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    let here = snapshots.iter().find(|found| found.region == REGION);
    let id = &*here.unwrap().id;
    assert_eq!(images[0].snapshots().collect::<Vec<_>>(), [id]);
    scene.assert_is_of(id, &disk);
    assert_eq!(left(), [""; 0]);
    assert_eq!(names(scene.work.path()), ["disk.img"]);
    let twice = u64::try_from(scene.server.log().put_twice(id)).unwrap();
    Tally { kills, twice }.check()
}

/// Makes an AMI of a bundle in S3 while runs are killed, `most` of them, and S3, EBS and EC2 fail now and then. There is one snapshot and one
/// AMI with the disk's bytes then, and nothing else.
pub fn create_from_bundle(random: &mut Random, most: u64) -> Tally {
    // None of these is done, so what is done twice was in flight at a kill.
    let faults = Faults {
        error: 2.0,
        throttle: 2.0,
        reset: 2.0,
        ..Faults::default()
    };
    let scene = from_bundles::Scene::with(Settings {
        faults,
        ..slowness(1.0)
    });
    let disk = scene.aws.disk("disk.img");
    let bundle = folder();
    let _ = forge_in_parts(bundle.path(), "user2048", Path::new(&disk), 256 << 10);
    let manifest = scene.put(bundle.path());
    let (key, parallel) = (private_key(), PARALLEL.to_string());
    let mut arguments = vec!["create", &manifest, "-k", &key, "--name", "web"];
    arguments.extend(["--parallel", &parallel]);
    let seed = RefCell::new(Random::new(random.number()));
    let kills = until_done(
        || {
            scene.proxy.set_rules(s3_faults(&mut seed.borrow_mut()));
            scene.command(&arguments)
        },
        random,
        most,
        Duration::from_millis(800),
        || !scene.aws.server.images().is_empty() && names(&scene.aws.journals()).is_empty(),
    );
    let snapshots = scene.aws.server.snapshots();
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    let (id, image) = (&*snapshots[0].id, scene.aws.image_in(REGION));
    assert_eq!(image.snapshots().collect::<Vec<_>>(), [id]);
    scene.aws.assert_is_of(id, &disk);
    scene.assert_no_file_but(&["disk.img"]);
    let twice = u64::try_from(scene.aws.server.log().put_twice(id)).unwrap();
    Tally { kills, twice }.check()
}

/// Some faults of S3, each of which a run survives.
fn s3_faults(random: &mut Random) -> Vec<Rule> {
    let count = random.below(3);
    let one = |random: &mut Random| {
        let part = format!("part.{}$", random.below(12));
        let bytes = usize::try_from(random.below(256 << 10)).unwrap();
        match random.below(4) {
            0 => Rule::error("", &part, Some(1), 503, "SlowDown"),
            1 => Rule::error("GET", &part, Some(1), 500, "InternalError"),
            2 => Rule::new("GET", &part, Some(1), Action::AlterDownload),
            _ => Rule::new("GET", &part, Some(1), Action::CutDownload(bytes)),
        }
    };
    (0..count).map(|_| one(random)).collect()
}

/// Fetches a new snapshot while runs are killed, `most` of them. The file has the disk's bytes then, and nothing else is left.
pub fn fetch(random: &mut Random, most: u64) -> Tally {
    let scene = slow(4.0);
    let disk = scene.disk("disk.img");
    let made = scene.ok(&["create", &disk, "--snapshot-only"]);
    let (snapshot, parallel) = (made.stdout.trim_end(), PARALLEL.to_string());
    let arguments = ["fetch", snapshot, "back.img", "--parallel", &parallel];
    let left = || names(scene.work.path());
    let kills = until_done(
        || scene.command(&arguments),
        random,
        most,
        Duration::from_millis(500),
        || left() == ["back.img", "disk.img"],
    );
    let _ = shell(
        "cmp -n $(stat -c %s disk.img) disk.img back.img",
        scene.work.path(),
    );
    let size = fs::metadata(scene.path("back.img")).unwrap().len();
    assert_eq!(size, 1 << 30);
    assert_eq!(left(), ["back.img", "disk.img"]);
    let mut gets: BTreeMap<u32, u64> = BTreeMap::new();
    let log = scene.server.log();
    let done = log
        .of("GetSnapshotBlock")
        .filter(|record| record.status == 200);
    for block in done.filter_map(|record| record.block) {
        *gets.entry(block).or_default() += 1;
    }
    let twice = gets.values().map(|count| count - 1).sum();
    Tally { kills, twice }.check()
}

/// Fails unless a mounted volume can be written to before long; thaws it then.
pub fn assert_thawed(volume: &Path) {
    let begin = Instant::now();
    let mut touch = Command::new("touch").arg(volume.join("x")).spawn().unwrap();
    let mut is_late = false;
    while touch.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(20) && !is_late {
            is_late = true;
            let thaw = Command::new("fsfreeze").arg("-u").arg(volume).status();
            assert!(thaw.unwrap().success());
        }
        sleep(Duration::from_millis(1));
    }
    assert!(!is_late, "{} was frozen", volume.display());
    fs::remove_file(volume.join("x")).unwrap();
}
