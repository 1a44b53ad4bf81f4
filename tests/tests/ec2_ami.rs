//! `ec2-ami create` against a double of EBS and EC2: what is made of a disk image, a stream, a snapshot and a folder, and what a plan says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use ebs_server::{Device, EbsDevice, Role};
use end_to_end::ebs::{Reading, SECRET_KEY, Scene, Settings};
use end_to_end::{outcome, shell, shell_with_path};
use serde_json::Value;

/// What a snapshot's volume has in its first bytes, as a file.
fn exported(scene: &Scene, snapshot: &str, reading: Reading) -> String {
    let path = scene.path("exported");
    let to = Path::new(&path);
    scene.server.export(snapshot, to, reading).unwrap();
    path
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn a_disk_image_becomes_an_ami_in_one_command() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let result = scene.ok(&[
        "create",
        &disk,
        "--name",
        "web 1",
        "--description",
        "d",
        "--tag",
        "team=a",
        "-B",
        "/dev/sdb=:10:gp3:keep",
        "--iops",
        "4000",
        "--throughput",
        "250",
    ]);
    let image = scene.image_in("us-east-1");
    let snapshots = scene.server.snapshots();
    let [snapshot] = &snapshots[..] else {
        panic!("{snapshots:?}");
    };
    let start = format!(
        "aws ec2 run-instances --region us-east-1 --image-id {} --instance-type t3.micro",
        image.id
    );
    assert_eq!(
        lines(&result.stdout),
        [&snapshot.id, &image.id, &start],
        "{result:?}"
    );
    assert_eq!(snapshot.state, "completed");
    assert_eq!((snapshot.volume_size, &*snapshot.description), (1, "d"));
    let source = &image.tags["ec2-ami:source"];
    let expected = [("team", "a"), ("ec2-ami:source", source)];
    let expected: BTreeMap<String, String> = expected
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    assert_eq!((&image.tags, &snapshot.tags), (&expected, &expected));
    assert_eq!(source.len(), 64);
    assert_eq!(
        (&*image.name, image.description.as_deref()),
        ("web 1", Some("d"))
    );
    assert_eq!(
        (&*image.architecture, &*image.virtualization),
        ("x86_64", "hvm")
    );
    assert_eq!(image.boot_mode.as_deref(), Some("legacy-bios"));
    assert_eq!(image.ena_support, Some(true));
    assert_eq!(image.imds_support.as_deref(), Some("v2.0"));
    assert_eq!(image.tpm_support, None);
    assert_eq!(image.root_device_name.as_deref(), Some("/dev/xvda"));
    let device = |name: &str, ebs: EbsDevice| Device {
        name: name.to_owned(),
        ebs: Some(ebs),
        ..Device::default()
    };
    let root = EbsDevice {
        snapshot: Some(snapshot.id.clone()),
        size: 1,
        kind: "gp3".to_owned(),
        iops: Some(4000),
        throughput: Some(250),
        is_deleted_on_termination: true,
        is_encrypted: false,
    };
    let further = EbsDevice {
        size: 10,
        kind: "gp3".to_owned(),
        ..EbsDevice::default()
    };
    let devices = [device("/dev/xvda", root), device("/dev/sdb", further)];
    assert_eq!(image.devices, devices);
    scene.assert_is_of(&snapshot.id, &disk);
    // 96 blocks, of which most are free.
    assert!(snapshot.blocks.len() < 50, "{}", snapshot.blocks.len());
    assert_eq!(fs::read_dir(scene.journals()).unwrap().count(), 0);
}

#[test]
fn the_result_in_json_is_one_object() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let arguments = ["--json", "create", &disk, "--name", "web", "--verify"];
    let result = scene.ok(&arguments);
    assert_eq!(result.stderr, "");
    let report: Value = serde_json::from_str(&result.stdout).unwrap();
    let image = scene.image_in("us-east-1");
    assert_eq!(report["image"], image.id.as_str());
    assert_eq!(report["snapshot"], image.snapshots().next().unwrap());
    assert_eq!(report["architecture"], "x86_64");
    assert_eq!(report["unfinished"], serde_json::json!([]));
    let blocks = &report["blocks"];
    let total = blocks["sent"].as_u64().unwrap() + blocks["free"].as_u64().unwrap();
    assert_eq!(total, 96);
}

#[test]
fn a_stream_is_sent_as_a_whole_and_a_file_as_standard_input_is_read_as_one() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let arguments = ["create", "-", "--name", "piped", "--arch", "x86_64"];
    let piped = |more: &[&str]| scene.piped(&disk, &[&arguments, more].concat());
    let refused = piped(&[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("--size"), "{refused:?}");
    let result = piped(&["--size", "1"]);
    assert_eq!(result.code, 0, "{result:?}");
    let image = scene.image_in("us-east-1");
    let snapshot = image.snapshots().next().unwrap().to_owned();
    assert_eq!(scene.server.snapshot(&snapshot).unwrap().blocks.len(), 96);
    scene.assert_is_of(&snapshot, &disk);

    let mut command = scene.command(&["create", "-", "--name", "redirected"]);
    let result = outcome(command.stdin(File::open(&disk).unwrap()));
    assert_eq!(result.code, 0, "{result:?}");
    let snapshot = lines(&result.stdout)[0];
    assert!(scene.server.snapshot(snapshot).unwrap().blocks.len() < 50);
}

#[test]
fn a_folder_that_can_hold_no_journal_is_a_problem_of_the_plan() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let mut command = scene.command(&["create", &disk, "--name", "web", "--dry-run"]);
    let result = outcome(command.env("XDG_STATE_HOME", &disk));
    assert_eq!(result.code, 254, "{result:?}");
    let expected =
        format!("ERROR: cannot write to the folder {disk}/ec2-ami: not a directory; free some");
    assert!(result.stderr.contains(&expected), "{result:?}");
}

#[test]
fn a_snapshot_becomes_an_ami_and_nothing_is_copied() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let made = scene.ok(&["create", &disk, "--snapshot-only"]);
    let [snapshot] = lines(&made.stdout)[..] else {
        panic!("{made:?}");
    };
    assert_eq!(scene.server.images(), []);
    let no_architecture = scene.fails(2, &["create", snapshot, "--name", "web"]);
    assert!(no_architecture.stderr.contains("--arch"));
    let arguments = ["create", snapshot, "--name", "web", "--arch", "x86_64"];
    let result = scene.ok(&arguments);
    let image = scene.image_in("us-east-1");
    assert_eq!(lines(&result.stdout)[0], image.id);
    assert_eq!(image.snapshots().collect::<Vec<_>>(), [snapshot]);
    // Again: it is found, and needs no architecture.
    let again = scene.ok(&["create", snapshot, "--name", "web"]);
    assert_eq!(lines(&again.stdout)[0], image.id);
    assert!(again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(scene.server.snapshots().len(), 1);
}

#[test]
fn a_dry_run_lists_every_problem_and_does_nothing() {
    let scene = Scene::with(Settings {
        denied: vec!["RegisterImage".to_owned()],
        encryption_by_default: true,
        ..Settings::default()
    });
    let path = scene.path("bare.img");
    File::create(&path).unwrap().set_len(3 << 20).unwrap();
    let result = scene.fails(2, &["create", &path, "--name", "web", "--dry-run", "--tpm"]);
    let problems: Vec<&str> = result
        .stderr
        .lines()
        .map(|line| &line[..line.len().min(40)])
        .collect();
    assert_eq!(
        problems,
        [
            "WARNING: no boot loader was found: an in",
            "ERROR: the architecture was not found in",
            "ERROR: a TPM needs the boot mode uefi, a",
            "ERROR: RegisterImage is not allowed in u",
        ],
        "{result:?}"
    );
    assert!(result.stdout.contains("  encrypted: yes\n"), "{result:?}");
    assert_eq!(
        (scene.server.snapshots().len(), scene.server.images().len()),
        (0, 0)
    );

    let good = Scene::new();
    let disk = good.disk("disk.img");
    let plan = good.ok(&["create", &disk, "--name", "web", "--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["problems"], serde_json::json!([]));
    assert_eq!(
        (&plan["blocks"], &plan["volume_size"]),
        (&96.into(), &1.into())
    );
    assert_eq!(plan["encrypted"], false);
    assert_eq!(good.server.snapshots(), []);
}

#[test]
fn a_role_of_another_account_is_assumed() {
    let arn = "arn:aws:iam::210987654321:role/images";
    let scene = Scene::with(Settings {
        roles: vec![Role {
            arn: arn.to_owned(),
            external_id: Some("agreed-upon".to_owned()),
        }],
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let arguments = ["create", &disk, "--name", "web", "--assume-role", arn];
    let refused = scene.fails(3, &arguments);
    assert!(
        refused
            .stderr
            .starts_with("ERROR: cannot get credentials: "),
        "{refused:?}"
    );
    let with_id = [&arguments[..], &["--external-id", "agreed-upon", "--debug"]].concat();
    let result = scene.ok(&with_id);
    assert_eq!(scene.image_in("us-east-1").owner, "210987654321");
    for secret in [SECRET_KEY, "agreed-upon"] {
        assert!(!(result.stdout.clone() + &result.stderr).contains(secret));
    }
    assert!(result.stderr.contains("DEBUG"), "{result:?}");
}

#[test]
fn a_folder_with_a_system_becomes_an_ami() {
    let scene = Scene::new();
    let _ = shell(
        "mkdir -p root/etc root/bin root/tmp; cp /bin/true root/bin/sh; echo kept > root/etc/kept; echo not > root/etc/left-out; echo k > root/id_rsa",
        scene.work.path(),
    );
    let root = scene.path("root");
    let mut arguments = vec![
        "create",
        &root,
        "--name",
        "web",
        "--size",
        "1",
        "--partition",
        "none",
    ];
    arguments.extend([
        "--virtualization",
        "paravirtual",
        "--exclude",
        "/etc/left-out",
    ]);
    let plan = scene.ok(&[&arguments[..], &["--dry-run"]].concat());
    assert!(plan.stdout.contains("  to be copied: 0 MiB\n"), "{plan:?}");
    assert_eq!(scene.server.snapshots(), []);
    let (before, after) = (scene.path("before"), scene.path("after"));
    let [before, after] = [before, after].map(|path| format!("touch '{path}'"));
    arguments.extend(["--before", &before, "--after", &after]);
    let mut command = scene.command(&arguments);
    let result = outcome(command.env("TMPDIR", scene.work.path()));
    assert_eq!(result.code, 0, "{result:?}");
    let image = scene.image_in("us-east-1");
    assert_eq!(
        (&*image.architecture, &*image.virtualization),
        ("x86_64", "paravirtual")
    );
    assert_eq!(
        (image.boot_mode.as_deref(), image.ena_support),
        (None, Some(false))
    );
    let read = exported(&scene, image.snapshots().next().unwrap(), Reading::Noise);
    let listed = shell_with_path(
        &format!(
            "e2fsck -fn '{read}' >&2; for f in etc/kept etc/left-out id_rsa; do debugfs -R \"cat /$f\" '{read}' 2>/dev/null; done"
        ),
        scene.work.path(),
    );
    assert_eq!(listed, "kept");
    assert!(
        result
            .stderr
            .contains("Left out 1 file that looks like a secret"),
        "{result:?}"
    );
    // Neither the disk nor a journal is left.
    let left = end_to_end::names(scene.work.path());
    assert_eq!(left, ["after", "before", "exported", "root"]);
    assert_eq!(fs::read_dir(scene.journals()).unwrap().count(), 0);
}
