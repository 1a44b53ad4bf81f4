//! `ec2-ami create` from bundles in S3 where S3 and EBS fail, are slow, or the run is killed or interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ebs_server::{Faults, Quotas, Settings};
use end_to_end::bundles::forge_in_parts;
use end_to_end::ebs::quick;
use end_to_end::from_bundles::{Scene, create, words};
use end_to_end::images::incompressible;
use end_to_end::kills::{self, slowness};
use end_to_end::proxy::{Action, Rule};
use end_to_end::random::Random;
use end_to_end::s3::private_key;
use end_to_end::{Outcome, bundle, folder, names, outcome, run_by, sha256, wait_until};
use tempfile::TempDir;

use crate::ec2_ami_kills::{Run, assert_interrupted};

/// A bundle of noise in S3.
struct Noise {
    scene: Scene,
    size: u64,
    sha256: String,
    /// The arguments that make a snapshot of it.
    arguments: Vec<String>,
}

impl Noise {
    /// Of so many MiB, in parts of 10 MiB.
    fn new(settings: Settings, mib: usize) -> Self {
        Self::bundled_by(settings, mib, |image, folder| bundle(image, folder, &[]))
    }

    fn bundled_by(
        settings: Settings,
        mib: usize,
        bundle: impl FnOnce(&Path, &Path) -> PathBuf,
    ) -> Self {
        let (work, bundled) = (folder(), folder());
        let image = work.path().join("image");
        incompressible(&image, mib << 20);
        let _ = bundle(&image, bundled.path());
        let scene = Scene::with(settings);
        let manifest = scene.put(bundled.path());
        Self {
            scene,
            size: (mib as u64) << 20,
            sha256: sha256(&image),
            arguments: create(&manifest, "user2048"),
        }
    }

    fn run(&self) -> Outcome {
        self.scene.run(&words(&self.arguments, &[]))
    }

    /// The same command makes what it should, with the only snapshot that there is.
    fn assert_is_made(&self, result: &Outcome) {
        assert_eq!(result.code, 0, "{result:?}");
        let id = result.stdout.trim_end();
        self.scene.assert_is_image(id, self.size, &self.sha256);
        assert_eq!(self.scene.aws.server.snapshots().len(), 1, "{result:?}");
        self.scene.assert_no_file_but(&[]);
    }
}

#[test]
fn a_bundle_arrives_whole_whatever_happens_on_the_way() {
    let faults = Faults {
        error: 5.0,
        throttle: 5.0,
        reset: 5.0,
        lost: 5.0,
        cut: 5.0,
        ..Faults::default()
    };
    let noise = Noise::new(Settings { faults, ..quick() }, 45);
    let once = |method: &str, part: &str, action| Rule::new(method, part, Some(1), action);
    let rules = vec![
        Rule::error("GET", "manifest", Some(1), 503, "SlowDown"),
        Rule::error("HEAD", "part.2", Some(1), 500, "InternalError"),
        Rule::error("GET", "part.1", Some(1), 500, "InternalError"),
        once("GET", "part.1", Action::CutDownload(1 << 20)),
        once("GET", "part.2", Action::AlterDownload),
        once("GET", "part.3", Action::StallDownload(1 << 20)),
        once("GET", "part.4", Action::CutDownload(0)),
    ];
    let count = rules.len() as u64;
    noise.scene.proxy.set_rules(rules);
    noise.assert_is_made(&noise.run());
    assert_eq!(noise.scene.proxy.faults(), count);
    let log = noise.scene.aws.server.log();
    let failed = log.records.iter().filter(|record| record.fault.is_some());
    assert!(failed.count() > 5);
}

#[test]
fn a_part_that_is_too_large_for_memory_is_read_again_where_it_came_wrong() {
    let noise = Noise::bundled_by(quick(), 45, |image, folder| {
        forge_in_parts(folder, "user2048", image, 20 << 20)
    });
    // Four pieces to compare its SHA-1, which are read again, and four whose bytes are used.
    let altered = || Rule::new("GET", "part.1", Some(1), Action::AlterDownload);
    noise
        .scene
        .proxy
        .set_rules(vec![altered(), altered().after(5)]);
    noise.assert_is_made(&noise.run());
    assert_eq!(noise.scene.proxy.faults(), 2);
    let requests = noise.scene.proxy.requests().into_iter();
    let of_part = requests.filter(|it| it.method == "GET" && it.path.contains("part.1"));
    assert_eq!(of_part.count(), 4 + 4 + 4 + 1);
}

#[test]
fn bytes_that_are_altered_each_time_end_it_and_nothing_stays() {
    let noise = Noise::new(quick(), 45);
    let altered = Rule::new("GET", "part.3", None, Action::AlterDownload);
    noise.scene.proxy.set_rules(vec![altered]);
    let result = noise.run();
    assert_eq!(result.code, 2, "{result:?}");
    let last = result.stderr.lines().next_back().unwrap();
    assert!(last.contains(", and was deleted: "), "{result:?}");
    assert!(last.contains("part.3\": its SHA-1 is "), "{result:?}");
    noise.scene.assert_nothing_made();
}

#[test]
fn what_could_not_be_read_is_gone_on_with() {
    let noise = Noise::new(quick(), 45);
    let server = &noise.scene.aws.server;
    for (rule, why) in [
        (
            Rule::new("GET", "part.3", None, Action::CutDownload(1000)),
            "the transfer broke off after 1000 bytes",
        ),
        (
            Rule::error("GET", "part.4", None, 500, "InternalError"),
            "Server.InternalError(500)",
        ),
    ] {
        noise.scene.proxy.set_rules(vec![rule]);
        let result = noise.run();
        assert_eq!(result.code, 3, "{result:?}");
        let snapshots = server.snapshots();
        assert_eq!(snapshots.len(), 1, "{result:?}");
        assert_eq!(snapshots[0].state, "pending");
        let last = result.stderr.lines().next_back().unwrap();
        assert!(last.contains(why), "{result:?}");
        assert!(last.contains("the same command goes on with it"), "{last}");
        assert_eq!(noise.scene.aws.asked("CompleteSnapshot"), 0);
    }
    noise.scene.proxy.set_rules(Vec::new());
    let result = noise.run();
    assert!(result.stderr.contains("Going on with snap-"), "{result:?}");
    noise.assert_is_made(&result);
    let id = result.stdout.trim_end();
    assert_eq!(server.log().put_twice(id), 0);
}

#[test]
fn a_part_that_is_replaced_meanwhile_ends_it() {
    let noise = Noise::new(quick(), 45);
    let part = |name: &String| name.ends_with("part.4");
    let path = noise.scene.store();
    let path = path.join(names(&path).into_iter().find(part).unwrap());
    let failing = Rule::error("GET", "part.4", None, 500, "InternalError");
    noise.scene.proxy.set_rules(vec![failing]);
    let mut run = Run::start(&mut noise.scene.command(&words(&noise.arguments, &[])));
    wait_until(&mut run.child, "it asked for the part", || {
        noise.scene.proxy.faults() > 0
    });
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] ^= 1;
    fs::write(&path, bytes).unwrap();
    noise.scene.proxy.set_rules(Vec::new());
    let result = run.finish();
    assert_eq!(result.code, 2, "{result:?}");
    let changed = "part.4\": it has changed since it was looked up";
    assert!(result.stderr.contains(changed), "{result:?}");
    noise.scene.assert_nothing_made();
}

#[test]
fn creations_from_bundles_that_are_killed_and_given_again_make_one_snapshot_and_one_ami() {
    let tally = kills::create_from_bundle(&mut Random::new(5), 10);
    assert!(tally.kills > 3, "{tally:?}");
}

/// A scene with a bundle of a disk that starts, and the arguments that make an AMI of it.
fn with_disk(settings: Settings) -> (Scene, String, Vec<String>, TempDir) {
    let scene = Scene::with(settings);
    let disk = scene.aws.disk("disk.img");
    let bundled = folder();
    let _ = forge_in_parts(bundled.path(), "user2048", Path::new(&disk), 128 << 10);
    let manifest = scene.put(bundled.path());
    let key = private_key();
    let arguments = [
        "create",
        &manifest,
        "-k",
        &key,
        "--name",
        "web",
        "--parallel",
        "1",
    ];
    let arguments = arguments.map(str::to_owned).into();
    (scene, disk, arguments, bundled)
}

#[test]
fn an_interrupted_creation_from_a_bundle_leaves_what_is_gone_on_with_and_nothing_else() {
    let (scene, disk, arguments, _bundle) = with_disk(slowness(2.0));
    let start = || Run::start(&mut scene.command(&words(&arguments, &[])));
    let server = &scene.aws.server;

    // Nothing is begun yet: S3 does not answer.
    let held = Action::Hold { passed_on: false };
    let rules = vec![Rule::new("GET", "part.0", None, held)];
    scene.proxy.set_rules(rules);
    let mut run = start();
    wait_until(&mut run.child, "it asked for a part", || {
        scene.proxy.faults() > 0
    });
    let result = run.interrupt();
    let said = (result.code, &*result.stderr);
    assert_eq!(said, (255, "ec2-ami interrupted.\n"));
    assert_eq!(server.snapshots(), []);
    scene.assert_no_file_but(&["disk.img"]);

    scene.proxy.set_rules(Vec::new());
    let mut run = start();
    wait_until(&mut run.child, "it was at work", || {
        scene.aws.asked("PutSnapshotBlock") >= 3
    });
    let result = run.interrupt();
    let snapshots = server.snapshots();
    assert_eq!(snapshots.len(), 1, "{result:?}");
    let id = &*snapshots[0].id;
    assert_eq!(snapshots[0].state, "pending");
    let how = format!("{id} is not complete: the same command goes on with it");
    assert_interrupted(&result, &how);
    assert_eq!(names(&scene.aws.journals()).len(), 1);
    assert_eq!(names(scene.aws.work.path()), ["disk.img"]);

    // Another time while it waits for S3 in the middle.
    let held = Action::Hold { passed_on: true };
    let is_part = |name: &&String| name.contains(".part.");
    let parts = names(&scene.store());
    let last = format!("part.{}", parts.iter().filter(is_part).count() - 1);
    let rules = vec![Rule::new("GET", &format!("{last}$"), None, held)];
    scene.proxy.set_rules(rules);
    let mut run = start();
    wait_until(&mut run.child, "it asked for a part", || {
        scene.proxy.held() > 0
    });
    assert_interrupted(&run.interrupt(), &how);

    scene.proxy.set_rules(Vec::new());
    let result = scene.run(&words(&arguments, &[]));
    assert_eq!(result.code, 0, "{result:?}");
    assert!(result.stdout.starts_with(id), "{result:?}");
    assert_eq!((server.snapshots().len(), server.images().len()), (1, 1));
    scene.aws.assert_is_of(id, &disk);
    scene.assert_no_file_but(&["disk.img"]);
}

#[test]
fn an_interrupted_creation_that_is_not_to_be_gone_on_with_leaves_nothing() {
    let (scene, _, arguments, _bundle) = with_disk(slowness(2.0));
    let mut run = Run::start(&mut scene.command(&words(&arguments, &["--no-resume"])));
    wait_until(&mut run.child, "it was at work", || {
        scene.aws.asked("PutSnapshotBlock") >= 3
    });
    let result = run.interrupt();
    assert_eq!(result.code, 255, "{result:?}");
    assert!(!result.stderr.contains("goes on with"), "{result:?}");
    assert_eq!(scene.aws.server.snapshots(), []);
    assert_eq!(names(&scene.aws.journals()), [] as [&str; 0]);
}

#[test]
fn nothing_is_written_but_the_journal() {
    let (scene, disk, arguments, _bundle) = with_disk(quick());
    let trace = folder();
    let trace = trace.path().join("trace");
    let mut strace = Command::new("strace");
    let _ = strace.args(["-f", "-s", "4096", "-o", trace.to_str().unwrap()]);
    let _ = strace.args([
        "-e",
        "trace=open,openat,openat2,creat,mkdir,mkdirat,memfd_create",
    ]);
    let command = scene.command(&words(&arguments, &[]));
    let result = outcome(run_by(&mut strace, &command));
    assert_eq!(result.code, 0, "{result:?}");
    let trace = fs::read_to_string(&trace).unwrap();
    let may_write = |line: &&str| {
        let is_opened = ["O_WRONLY", "O_RDWR", "O_CREAT", "mkdir", "memfd"];
        is_opened.iter().any(|word| line.contains(word)) && !line.contains(" = -1 ")
    };
    let journals = scene.aws.journals();
    let journals = journals.to_str().unwrap();
    let written: Vec<&str> = trace.lines().filter(may_write).collect();
    let of_journal = written.iter().filter(|line| line.contains(journals));
    assert!(of_journal.count() > 0, "{trace}");
    let is_other = |line: &&&str| {
        let folders = ["mkdir"].iter().any(|word| line.contains(word));
        let is_on_the_way = folders && line.contains("/.local");
        !line.contains(journals) && !is_on_the_way && !line.contains("\"/dev/")
    };
    let others: Vec<_> = written.iter().filter(is_other).collect();
    assert_eq!(others, [&""; 0]);
    scene
        .aws
        .assert_is_of(result.stdout.lines().next().unwrap(), &disk);
}

/// The most bytes that are fetched before they are sent: 45 MiB ahead of the pipeline and a piece that it reads; 16 chunks of 2 MiB in it,
/// with two threads; blocks that are hashed, wait or are in flight.
const MOST_AHEAD: u64 = (45 + 5 + 16 * 2 + 28) << 20;

/// How many bytes of parts have been fetched; those that are fetched twice, to learn the image's size, count once.
fn fetched(scene: &Scene) -> u64 {
    let requests = scene.proxy.requests().into_iter();
    let pieces = requests.filter(|request| request.method == "GET");
    let pieces = pieces.map(|request| {
        let range = request.header("range").map(str::to_owned);
        ((request.path, range), request.answer)
    });
    let mut most = BTreeMap::new();
    for (piece, bytes) in pieces {
        let known: &mut u64 = most.entry(piece).or_default();
        *known = bytes.max(*known);
    }
    most.values().sum()
}

#[test]
fn a_slow_snapshot_slows_the_reading_of_the_bundle() {
    // Ten blocks a second.
    let quotas = Quotas {
        put_snapshot: 10.0,
        put_account: 10.0,
        ..quick().quotas
    };
    let noise = Noise::new(Settings { quotas, ..quick() }, 240);
    let mut command = noise
        .scene
        .command(&words(&noise.arguments, &["--parallel", "8"]));
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let sent = || {
        let log = noise.scene.aws.server.log();
        let done = log
            .of("PutSnapshotBlock")
            .filter(|record| record.status == 201);
        done.count() as u64 * ebs_server::BLOCK as u64
    };
    let mut most = 0;
    let mut look = || {
        // What is sent after the count is taken as if it had not been.
        let sent = sent();
        most = most.max(fetched(&noise.scene).saturating_sub(sent));
        sleep(Duration::from_millis(20));
        sent
    };
    wait_until(&mut child, "some was sent", || look() >= 24 << 20);
    child.kill().unwrap();
    let _ = child.wait().unwrap();
    assert!(most > 40 << 20, "it does not read ahead: {most} bytes");
    assert!(most < MOST_AHEAD, "{most} bytes were fetched ahead");
    let all = noise.size;
    assert!(fetched(&noise.scene) < all * 3 / 4, "all was fetched");
}
