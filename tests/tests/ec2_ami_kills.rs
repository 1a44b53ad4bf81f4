//! `ec2-ami` that is killed or interrupted: the next run goes on, and nothing is left. `make soak` has more of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ebs_server::{Fault, Settings};
use end_to_end::ebs::{Scene, cat};
use end_to_end::kills::{self, assert_thawed, slow};
use end_to_end::mounts::Mount;
use end_to_end::random::Random;
use end_to_end::traces::{assert_no_trace, left_behind};
use end_to_end::{Outcome, names, outcome, run_by, shell, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// How long an interrupted run may go on.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn creations_that_are_killed_and_given_again_make_one_snapshot_and_one_ami() {
    let tally = kills::create(&mut Random::new(7), 10);
    assert!(tally.kills > 3, "{tally:?}");
}

#[test]
fn fetches_that_are_killed_and_given_again_leave_one_whole_file() {
    let tally = kills::fetch(&mut Random::new(7), 10);
    assert!(tally.kills > 3, "{tally:?}");
}

/// A command that is killed before a thread's call of this name, the first or a later one.
fn killed_at(call: &str, when: usize, command: &Command) -> Outcome {
    let mut strace = Command::new("strace");
    let inject = format!("inject={call}:signal=KILL:when={when}");
    let _ = strace.args(["-f", "-o", "/dev/null", "-e", &inject]);
    outcome(run_by(&mut strace, command))
}

#[test]
fn a_fetch_that_is_killed_when_the_file_has_its_name_is_brought_to_its_end() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let made = scene.ok(&["create", &disk, "--snapshot-only"]);
    let arguments = ["fetch", made.stdout.trim_end(), "back.img"];
    // The file is synced first, and then the folder in which it has its name.
    let kill = || {
        let killed = killed_at("fsync", 2, &scene.command(&arguments));
        assert_eq!(killed.code, -9, "{killed:?}");
        let left = names(scene.work.path());
        assert_eq!(left.len(), 3, "{left:?}");
        assert_eq!(left[1..], ["back.img", "disk.img"]);
        left[0].clone()
    };
    let folder = kill();
    assert!(folder.starts_with(".ec2-ami-tools"), "{folder}");
    scene.server.clear_log();
    let result = scene.ok(&arguments);
    assert_eq!(result.stdout, "back.img\n");
    assert_eq!(names(scene.work.path()), ["back.img", "disk.img"]);
    let _ = shell("cmp -n 50331648 disk.img back.img", scene.work.path());
    assert_eq!(scene.asked("GetSnapshotBlock"), 0);
    let again = scene.fails(2, &arguments);
    assert!(again.stderr.contains("--replace"), "{again:?}");

    // Somebody has put another file there since.
    fs::remove_file(scene.path("back.img")).unwrap();
    let _ = kill();
    let _ = shell(
        "rm back.img; truncate -s 1G back.img; printf mine | dd of=back.img conv=notrunc status=none",
        scene.work.path(),
    );
    let refused = scene.fails(2, &arguments);
    assert!(refused.stderr.contains("--replace"), "{refused:?}");
    let mut begin = [0; 4];
    let mut file = fs::File::open(scene.path("back.img")).unwrap();
    file.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"mine");
    assert_eq!(names(scene.work.path()), ["back.img", "disk.img"]);
}

#[test]
fn a_snapshot_that_is_given_up_is_deleted_before_it_is_forgotten() {
    let scene = slow(1.0);
    let disk = scene.disk("disk.img");
    for name in ["one", "two", "three"] {
        let arguments = ["create", &disk, "--name", name, "--parallel", "1"];
        scene.kill_after("PutSnapshotBlock", 2, &arguments);
        // Its own, which the journal knows.
        let snapshots = scene.server.snapshots();
        assert_eq!(snapshots.len(), 1, "{name}: {snapshots:?}");
        assert!(snapshots[0].description.starts_with(name), "{snapshots:?}");
    }
    let _ = scene.ok(&["create", &disk, "--name", "three"]);
    assert_eq!(scene.server.snapshots().len(), 1);
}

/// A folder with what a system needs at least.
fn system(root: &Path) {
    let script = "mkdir -p etc bin tmp var; cp /bin/true bin/sh; echo kept > etc/kept
        for n in $(seq 40); do head -c 200000 /dev/urandom > var/$n; done; sync -f .";
    let _ = shell(script, root);
}

/// A command that makes a snapshot of a volume, which is frozen while it is copied.
fn of_volume(scene: &Scene, root: &Path, temporary: &Path) -> Command {
    let root = root.to_str().unwrap();
    let mut arguments = vec!["create", root, "--snapshot-only", "--size", "1", "--freeze"];
    arguments.extend(["--partition", "none", "--virtualization", "paravirtual"]);
    let mut command = scene.command(&arguments);
    let _ = command.env("TMPDIR", temporary);
    command
}

/// What is said when the volume is frozen.
const FROZEN: &str = "The volume is frozen";

#[test]
fn a_volume_whose_copying_is_killed_is_thawed_and_nothing_stays_after_the_next_run() {
    let scene = slow(0.5);
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
    system(&volume.path());
    let temporary = end_to_end::folder();
    let make = || of_volume(&scene, &volume.path(), temporary.path());
    let mut random = Random::new(11);
    for round in 0..6 {
        let mut run = Run::start(&mut make());
        if round == 0 {
            run.wait_for(FROZEN);
        } else {
            sleep(Duration::from_millis(random.below(900)));
        }
        run.child.kill().unwrap();
        let _ = run.child.wait().unwrap();
        assert_thawed(&volume.path());
    }
    let result = outcome(&mut make());
    assert_eq!(result.code, 0, "{result:?}");
    assert_no_trace(temporary.path());
    assert_eq!(names(temporary.path()), [""; 0]);
    assert_eq!(names(&scene.journals()), [""; 0]);
    // Those of killed runs are deleted, unless they were complete.
    let snapshots = scene.server.snapshots();
    for snapshot in &snapshots {
        assert_eq!(snapshot.state, "completed", "{snapshots:?}");
    }
    let last = snapshots
        .iter()
        .filter(|found| result.stdout.contains(&found.id));
    assert_eq!(last.count(), 1, "{result:?}");
}

#[test]
fn the_snapshot_of_a_stream_whose_run_was_killed_is_claimed_by_nobody() {
    let scene = slow(1.0);
    let disk = scene.disk("disk.img");
    let arguments = [
        "create",
        "-",
        "--snapshot-only",
        "--size",
        "1",
        "--parallel",
        "1",
    ];
    let kill = || {
        let mut command = scene.command(&arguments);
        let mut cat = cat(&disk);
        let mut run = Run::start(command.stdin(cat.stdout.take().unwrap()));
        drop(command);
        let before = scene.asked("PutSnapshotBlock");
        wait_until(&mut run.child, "it was at work", || {
            scene.asked("PutSnapshotBlock") >= before + 3
        });
        // It is at work: nobody else may delete it.
        let claimed = scene.ok(&["clean", "--yes"]);
        assert!(
            claimed.stdout.contains("is pending and stays"),
            "{claimed:?}"
        );
        run.child.kill().unwrap();
        let _ = (run.child.wait().unwrap(), cat.wait().unwrap());
        scene.server.snapshots()[0].id.clone()
    };
    let id = kill();
    let cleaned = scene.ok(&["clean", "--yes"]);
    assert_eq!(cleaned.stdout, format!("Deleted {id}\n"));
    assert_eq!(scene.server.snapshots(), []);

    // The next run does it too.
    let id = kill();
    let result = scene.piped(&disk, &arguments);
    assert_eq!(result.code, 0, "{result:?}");
    assert!(
        result.stdout.contains(&format!("Deleted {id}\n")),
        "{result:?}"
    );
    assert_eq!(scene.server.snapshots().len(), 1);
    assert_eq!(names(&scene.journals()), [""; 0]);
}

/// A run whose standard error is followed.
pub(crate) struct Run {
    pub(crate) child: Child,
    lines: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Run {
    pub(crate) fn start(command: &mut Command) -> Self {
        let _ = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let said = String::new();
        Self { child, lines, said }
    }

    /// Waits until it says this.
    fn wait_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let count = self.lines.read_line(&mut self.said).unwrap();
            assert_ne!(count, 0, "it ended without {text:?}: {}", self.said);
        }
    }

    /// Interrupts it as Ctrl-C does; it must end before long.
    pub(crate) fn interrupt(mut self) -> Outcome {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begin.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it goes on: {}", self.said);
            }
            sleep(Duration::from_millis(5));
        }
        self.finish()
    }

    /// What came of it when it has ended.
    pub(crate) fn finish(mut self) -> Outcome {
        let _ = self.lines.read_to_string(&mut self.said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: self.said,
        }
    }
}

/// Fails unless a run was interrupted and has said this about how to go on.
pub(crate) fn assert_interrupted(result: &Outcome, how: &str) {
    assert_eq!(result.code, 255, "{result:?}");
    let mut last = result.stderr.lines().rev();
    assert_eq!(last.next(), Some("ec2-ami interrupted."), "{result:?}");
    let line = last.next().unwrap_or_default();
    assert!(line.contains(how), "{how:?}: {result:?}");
}

#[test]
fn an_interrupted_creation_says_how_to_go_on_at_each_stage() {
    let pause = Duration::from_secs(2);
    let scene = Scene::with(Settings {
        latency: Duration::from_millis(40),
        completes_after: pause,
        available_after: pause,
        copied_after: pause,
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let mut arguments = vec!["create", &disk, "--name", "web", "--parallel", "1"];
    arguments.extend(["--copy-to", "us-west-2"]);
    let start = || Run::start(&mut scene.command(&arguments));

    // Nothing is begun yet: AWS does not answer.
    scene.server.fail("DescribeImages", Fault::Never, 0, 1);
    let mut run = start();
    wait_until(&mut run.child, "it had asked", || {
        scene.server.still_to_fail() == 0
    });
    let result = run.interrupt();
    assert_eq!(
        (result.code, &*result.stderr),
        (255, "ec2-ami interrupted.\n")
    );

    let mut run = start();
    wait_until(&mut run.child, "it was at work", || {
        scene.asked("PutSnapshotBlock") >= 2
    });
    let result = run.interrupt();
    let id = scene.server.snapshots()[0].id.clone();
    let how = format!("{id} is not complete: the same command goes on with it");
    assert_interrupted(&result, &how);

    // The end is asked for, and the answer never comes.
    scene.server.fail("CompleteSnapshot", Fault::Never, 0, 1);
    let mut run = start();
    wait_until(&mut run.child, "it had asked", || {
        scene.server.still_to_fail() == 0
    });
    let result = run.interrupt();
    assert!(
        result.stderr.starts_with(&format!("Going on with {id}")),
        "{result:?}"
    );
    assert_interrupted(&result, &how);

    for (until, how) in [
        (
            format!("until {id} in us-east-1 is completed"),
            "becomes completed by itself: the same command does the rest",
        ),
        (
            "in us-east-1 is available".to_owned(),
            "becomes available by itself: the same command does the rest",
        ),
        (
            "in us-west-2 is available".to_owned(),
            "becomes available by itself: the same command does the rest",
        ),
    ] {
        let mut run = start();
        run.wait_for(&until);
        assert_interrupted(&run.interrupt(), how);
    }
    let result = scene.ok(&arguments);
    assert!(result.stdout.starts_with(&id), "{result:?}");
    let counts = (scene.server.snapshots().len(), scene.server.images().len());
    assert_eq!(counts, (2, 2));
    assert_eq!(names(&scene.journals()), [""; 0]);
}

#[test]
fn an_interrupted_fetch_says_how_to_go_on() {
    let scene = slow(2.0);
    let disk = scene.disk("disk.img");
    let made = scene.ok(&["create", &disk, "--snapshot-only"]);
    let arguments = [
        "fetch",
        made.stdout.trim_end(),
        "back.img",
        "--parallel",
        "1",
    ];
    let mut run = Run::start(&mut scene.command(&arguments));
    run.wait_for("Fetching");
    wait_until(&mut run.child, "it was at work", || {
        scene.asked("GetSnapshotBlock") >= 3
    });
    assert_interrupted(&run.interrupt(), "the same command goes on with it");
    assert!(!Path::new(&scene.path("back.img")).exists());
    scene.server.fail("GetSnapshotBlock", Fault::Never, 2, 1);
    let mut run = Run::start(&mut scene.command(&arguments));
    wait_until(&mut run.child, "it had asked", || {
        scene.server.still_to_fail() == 0
    });
    assert_interrupted(&run.interrupt(), "the same command goes on with it");
    let _ = scene.ok(&arguments);
    let _ = shell("cmp -n 50331648 disk.img back.img", scene.work.path());
    assert_eq!(names(scene.work.path()), ["back.img", "disk.img"]);
}

#[test]
fn an_interrupted_creation_of_a_volume_leaves_nothing() {
    let scene = slow(2.0);
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
    system(&volume.path());
    let temporary = end_to_end::folder();
    let make = || of_volume(&scene, &volume.path(), temporary.path());
    let is_clean = || {
        assert_thawed(&volume.path());
        let left = left_behind(temporary.path(), PATIENCE, |_| false);
        assert_eq!(left, [""; 0]);
        assert_eq!(scene.server.snapshots(), []);
    };
    let mut run = Run::start(&mut make());
    run.wait_for(FROZEN);
    let result = run.interrupt();
    assert_eq!(result.code, 255, "{result:?}");
    is_clean();

    let mut run = Run::start(&mut make());
    wait_until(&mut run.child, "it was at work", || {
        scene.asked("PutSnapshotBlock") >= 2
    });
    assert_interrupted(
        &run.interrupt(),
        "is deleted: the same command makes another",
    );
    is_clean();
    assert_eq!(names(&scene.journals()), [""; 0]);
}
