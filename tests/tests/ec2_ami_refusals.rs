//! What `ec2-ami create` refuses, and that nothing is left of it.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use end_to_end::ebs::Scene;
use end_to_end::{outcome, run_by, shell};

#[test]
fn a_stream_of_nothing_makes_nothing() {
    let scene = Scene::new();
    let arguments = ["create", "-", "--size", "1", "--name", "empty"];
    let mut command = scene.command(&[&arguments[..], &["--arch", "x86_64"]].concat());
    let result = outcome(command.stdin(Stdio::null()));
    assert_eq!(result.code, 2, "{result:?}");
    let expected = "is not complete, and was deleted: nothing came from the source; see why";
    assert!(result.stderr.contains(expected), "{result:?}");
    assert_eq!(scene.server.snapshots().len(), 0);
    assert_eq!(scene.server.images().len(), 0);
}

#[test]
fn a_name_that_is_taken_is_found_before_anything_is_sent() {
    let scene = Scene::new();
    let (one, other) = (scene.disk("one.img"), scene.disk("other.img"));
    let _ = scene.ok(&["create", &one, "--name", "web"]);
    let image = scene.image_in("us-east-1");
    let result = scene.fails(2, &["create", &other, "--name", "web"]);
    let expected = format!(
        "ERROR: an AMI named \"web\" is in us-east-1 already: {}; choose another --name\n",
        image.id
    );
    assert_eq!((result.stdout, result.stderr), (String::new(), expected));
    assert_eq!(scene.server.snapshots().len(), 1);
}

#[test]
fn what_is_no_disk_is_refused_with_the_command_that_makes_it_one() {
    let scene = Scene::new();
    for (name, bytes, advice) in [
        (
            "a b.qcow2",
            &b"QFI\xfb\0\0\0\x03"[..],
            "convert it first: qemu-img convert -f qcow2 -O raw 'a b.qcow2' disk.raw",
        ),
        (
            "a.vmdk",
            b"KDMV",
            "convert it first: qemu-img convert -f vmdk -O raw a.vmdk disk.raw",
        ),
        (
            "a.vhdx",
            b"vhdxfile",
            "convert it first: qemu-img convert -f vhdx -O raw a.vhdx disk.raw",
        ),
        (
            "a.zst",
            b"\x28\xb5\x2f\xfd",
            "decompress it first: zstd -dc a.zst > disk.raw",
        ),
    ] {
        fs::write(scene.path(name), bytes).unwrap();
        let result = scene.fails(2, &["create", name, "--name", "web"]);
        assert!(
            result.stderr.ends_with(&format!("; {advice}\n")),
            "{result:?}"
        );
    }
    fs::write(scene.path("empty"), "").unwrap();
    let empty = scene.fails(2, &["create", "empty", "--name", "web"]);
    assert_eq!(empty.stderr, "ERROR: empty is empty\n");
    let small = scene.disk("disk.img");
    File::options()
        .write(true)
        .open(&small)
        .unwrap()
        .set_len((1 << 30) + 1)
        .unwrap();
    let small = scene.fails(2, &["create", &small, "--name", "web", "--size", "1"]);
    assert_eq!(
        small.stderr,
        "ERROR: a volume of 1 GiB is too small for 2 GiB; give a larger --size\n"
    );
    assert_eq!(scene.server.log().records.len(), 0, "nothing was asked");
}

#[test]
fn a_disk_that_is_mounted_for_writing_is_refused() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let script = "set -eu; loop=$(losetup --find --show --partscan \"$1\"); part=$(losetup --find --show --offset 1048576 \"$loop\")
        trap 'umount m 2>/dev/null; losetup --detach \"$part\"; losetup --detach \"$loop\"' EXIT
        mkdir -p m; mount \"$2\" \"$part\" m; code=0; disk=$1; what=$3; shift 3; \"$@\" create \"${!what}\" --name web --arch x86_64 || code=$?; exit $code";
    let run = |how: &str, what: &str| {
        let command = scene.command(&[]);
        let mut bash = Command::new("bash");
        let _ = bash.args(["-c", script, "bash", &disk, how, what]);
        outcome(run_by(&mut bash, &command))
    };
    for what in ["part", "loop", "disk"] {
        let refused = run("-orw", what);
        assert_eq!(refused.code, 2, "{refused:?}");
        let expected = "may be written to while it is read";
        assert!(refused.stderr.contains(expected), "{refused:?}");
    }
    let read = run("-oro", "part");
    assert_eq!(read.code, 0, "{read:?}");
}

#[test]
fn what_fails_for_good_leaves_no_snapshot_that_nothing_goes_on_with() {
    let scene = Scene::new();
    let piped = scene.path("piped");
    let _ = shell("head -c 1074000000 /dev/zero > piped", scene.work.path());
    let result = scene.piped(&piped, &["create", "-", "--snapshot-only", "--size", "1"]);
    assert_eq!(result.code, 2, "{result:?}");
    assert!(
        result
            .stderr
            .contains("is not complete, and was deleted: the source has more than the 1 GiB"),
        "{result:?}"
    );
    assert_eq!(scene.server.snapshots(), []);
}
