//! `ec2-ami` where something is wrong that would lose, keep or hand on somebody's data: what it must not take for its own, delete, or forget.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use end_to_end::ebs::{Scene, Settings};
use end_to_end::{Outcome, outcome, run_by, wait_until};

const HERE: &str = "us-east-1";
const THERE: &str = "us-west-2";

/// The IDs of a region's AMIs.
fn images(scene: &Scene, region: &str) -> Vec<String> {
    let images = scene.server.images().into_iter();
    let images = images.filter(|image| image.region == region && image.state() == "available");
    images.map(|image| image.id).collect()
}

/// The first block of an AMI.
fn first_block(scene: &Scene, image: &str) -> Vec<u8> {
    let image = scene.server.image(image).unwrap();
    let snapshot = image.snapshots().next().unwrap().to_owned();
    let reading = ebs_server::Reading::Zeros;
    scene.server.block(&snapshot, 0, reading).unwrap()
}

#[test]
fn a_copy_of_an_earlier_ami_of_the_same_name_is_not_taken_for_the_new_one() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let arguments = ["create", &disk, "--name", "web", "--copy-to", THERE];
    let _ = scene.ok(&arguments);
    let earlier = images(&scene, THERE);
    let _ = scene.ok(&["delete", &images(&scene, HERE)[0], "--yes"]);
    // Between the partition table and the first partition.
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(b"another disk", 100_000).unwrap();
    // With another description it is another snapshot to EBS: a client token finds one that is deleted, too.
    let _ = scene.ok(&[&arguments[..], &["--description", "new"]].concat());
    let copies = images(&scene, THERE);
    let new: Vec<&String> = copies.iter().filter(|id| !earlier.contains(id)).collect();
    assert_eq!((copies.len(), new.len()), (2, 1), "{copies:?}");
    let block = first_block(&scene, new[0]);
    assert_eq!(block, first_block(&scene, &images(&scene, HERE)[0]));
    assert_eq!(&block[100_000..100_012], b"another disk");
}

#[test]
fn a_copy_that_has_failed_is_tried_again() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let key = ["--copy-to", THERE, "--copy-kms-key", "alias/none"];
    let _ = scene.fails(4, &[&["create", &disk, "--name", "web"], &key[..]].concat());
    let image = scene.server.image(&images(&scene, HERE)[0]).unwrap();
    let snapshot = image.snapshots().next().unwrap();
    // EC2 gives the copy that has failed for the same client token.
    let _ = scene.fails(
        4,
        &[&["create", snapshot, "--name", "web"], &key[..]].concat(),
    );
    let copies = scene.server.images().into_iter();
    assert_eq!(copies.filter(|copy| copy.region == THERE).count(), 2);
}

#[test]
fn a_copy_that_ec2_is_making_is_not_cleaned_away() {
    let scene = Scene::with(Settings {
        copied_after: Duration::from_secs(3600),
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let arguments = ["create", &disk, "--name", "web", "--copy-to", THERE];
    scene.kill_after("CopyImage", 1, &arguments);
    let snapshots = scene.server.snapshots();
    let pending = snapshots
        .iter()
        .find(|found| found.region == THERE)
        .unwrap();
    assert_eq!(pending.state, "pending");
    let cleaned = scene.ok(&["clean", "--yes", "--region", THERE]);
    assert_eq!(
        cleaned.stdout,
        format!("No run has left anything in {THERE}.\n")
    );
    assert_eq!(scene.server.snapshots(), snapshots);
}

#[test]
fn a_snapshot_that_is_not_what_was_sent_is_deleted_and_not_gone_on_with() {
    let scene = Scene::with(Settings {
        completes_after: Duration::from_secs(3),
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let arguments = ["create", &disk, "--name", "web", "--verify"];
    let mut command = scene.command(&arguments);
    let _ = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_until(&mut child, "all was sent", || {
        scene.asked("CompleteSnapshot") > 0
    });
    // The next look at the snapshot is after the answer to that.
    let looks = scene.asked("DescribeSnapshots");
    wait_until(&mut child, "it looked at the snapshot", || {
        scene.asked("DescribeSnapshots") > looks
    });
    let id = scene.server.snapshots()[0].id.clone();
    scene.server.spoil(&id, 0).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let expected = format!(
        "ERROR: {id} is not what was sent, and was deleted: block 0 of the snapshot {id} is not what was written: it has other bytes; \
         the same command makes another\n"
    );
    assert!(stderr.ends_with(&expected), "{stderr}");
    assert_eq!(scene.server.snapshots(), []);
    let again = scene.ok(&arguments);
    let [snapshot] = &scene.server.snapshots()[..] else {
        panic!("{again:?}");
    };
    assert_ne!(snapshot.id, id);
    assert_eq!(images(&scene, HERE).len(), 1);
}

#[test]
fn snapshots_that_stay_after_their_ami_is_gone_are_named_with_the_command_for_each() {
    let scene = Scene::with(Settings {
        denied: vec!["DeleteSnapshot".to_owned()],
        ..Settings::default()
    });
    let (disk, data) = (scene.disk("disk.img"), scene.disk("data.img"));
    let made = scene.ok(&["create", &data, "--snapshot-only"]);
    let further = made.stdout.trim();
    let mapping = format!("/dev/sdb={further}");
    let _ = scene.ok(&["create", &disk, "--name", "web", "-B", &mapping]);
    let image = scene.server.images().remove(0);
    let result = scene.fails(3, &["delete", &image.id, "--yes"]);
    assert_eq!(scene.server.images(), []);
    let mut snapshots: Vec<&str> = image.snapshots().collect();
    snapshots.sort_unstable();
    let begin = format!(
        "ERROR: {} is deregistered, but not all of its snapshots are deleted: {}: ",
        image.id,
        snapshots.join(", ")
    );
    let command = |id: &&str| format!("aws ec2 delete-snapshot --region {HERE} --snapshot-id {id}");
    let commands: Vec<String> = snapshots.iter().map(command).collect();
    assert!(result.stderr.starts_with(&begin), "{result:?}");
    let end = format!("; delete them: {}\n", commands.join("; "));
    assert!(result.stderr.ends_with(&end), "{result:?}");
}

#[test]
fn a_stream_that_nothing_can_go_on_with_leaves_no_journal() {
    let scene = Scene::with(Settings {
        denied: vec!["RegisterImage".to_owned()],
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let arguments = [
        "create", "-", "--name", "web", "--arch", "x86_64", "--size", "1",
    ];
    let result = scene.piped(&disk, &arguments);
    assert_eq!(result.code, 3, "{result:?}");
    assert_eq!(fs::read_dir(scene.journals()).unwrap().count(), 0);
}

/// Runs `ec2-ami create DEVICE` with these options on a mounted loop device. What the kernel has read of the device before is older than what
/// the file system on it has written since.
fn of_mounted_device(scene: &Scene, options: &[&str]) -> Outcome {
    let script = "set -eu; options=$1; shift; truncate -s 64M disk; mke2fs -q -t ext4 disk; loop=$(losetup --find --show disk)
        trap 'umount m 2>/dev/null; losetup --detach \"$loop\"' EXIT
        mkdir -p m; mount \"$loop\" m; cat \"$loop\" > /dev/null
        head -c 3000000 /dev/urandom > m/new; sha256sum < m/new > sum
        code=0; \"$@\" create \"$loop\" --name web --arch x86_64 $options || code=$?; touch m/thawed; exit $code";
    let mut bash = Command::new("bash");
    let _ = bash.args(["-c", script, "bash", &options.join(" ")]);
    outcome(run_by(&mut bash, &scene.command(&[])))
}

#[test]
fn a_device_that_is_mounted_is_frozen_while_it_is_read() {
    let scene = Scene::new();
    let refused = of_mounted_device(&scene, &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let plan = of_mounted_device(&scene, &["--freeze", "--dry-run"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    let result = of_mounted_device(&scene, &["--freeze"]);
    assert_eq!(result.code, 0, "{result:?}");
    let snapshot = scene.server.snapshots().remove(0);
    let exported = scene.work.path().join("exported");
    let noise = ebs_server::Reading::Noise;
    scene.server.export(&snapshot.id, &exported, noise).unwrap();
    // Free blocks were left out: a frozen file system has nothing in its journal.
    assert!(snapshot.blocks.len() < 64, "{}", snapshot.blocks.len());
    let script = "truncate -s 64M exported; e2fsck -fn exported >&2; debugfs -R 'cat /new' exported 2>/dev/null | sha256sum | cmp - sum";
    let _ = end_to_end::shell_with_path(script, scene.work.path());
}

#[test]
fn a_device_that_is_thawed_before_it_is_read_makes_no_snapshot() {
    let scene = Scene::with(Settings {
        latency: Duration::from_millis(100),
        ..Settings::default()
    });
    let options = ["--freeze", "--freeze-limit", "1", "--parallel", "1"];
    let result = of_mounted_device(&scene, &options);
    assert_eq!(result.code, 2, "{result:?}");
    assert!(result.stderr.contains(", and was deleted: "), "{result:?}");
    assert_eq!(scene.server.snapshots(), []);
    assert_eq!(scene.server.log().of("CompleteSnapshot").count(), 0);
}
