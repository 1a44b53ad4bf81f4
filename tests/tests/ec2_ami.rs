//! `ec2-ami` against a double of EBS and EC2: what is made, found again, copied, offered, fetched, deleted; what is refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ebs_server::{Device, EbsDevice, ImageRecord, KMS_KEY, Launch, Role};
use end_to_end::ebs::{EbsServer, Fault, Reading, SECRET_KEY, Scene, Settings};
use end_to_end::kills::slow;
use end_to_end::s3::Server;
use end_to_end::{golden, outcome, shell, shell_with_path};
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

/// The only image in a region.
fn image_in(server: &EbsServer, region: &str) -> ImageRecord {
    let images = server.images().into_iter();
    let mut images: Vec<_> = images.filter(|image| image.region == region).collect();
    assert_eq!(images.len(), 1, "{images:?}");
    images.remove(0)
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
    let image = image_in(&scene.server, "us-east-1");
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
    let image = image_in(&scene.server, "us-east-1");
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
    let piped = |more: &[&str]| {
        let mut cat = Command::new("cat")
            .arg(&disk)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut command = scene.command(&[&arguments, more].concat());
        let result = outcome(command.stdin(cat.stdout.take().unwrap()));
        // It holds the pipe's other end.
        drop(command);
        let _ = cat.wait();
        result
    };
    let refused = piped(&[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("--size"), "{refused:?}");
    let result = piped(&["--size", "1"]);
    assert_eq!(result.code, 0, "{result:?}");
    let image = image_in(&scene.server, "us-east-1");
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
    let image = image_in(&scene.server, "us-east-1");
    assert_eq!(lines(&result.stdout)[0], image.id);
    assert_eq!(image.snapshots().collect::<Vec<_>>(), [snapshot]);
    // Again: it is found, and needs no architecture.
    let again = scene.ok(&["create", snapshot, "--name", "web"]);
    assert_eq!(lines(&again.stdout)[0], image.id);
    assert!(again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(scene.server.snapshots().len(), 1);
}

#[test]
fn a_name_that_is_taken_is_found_before_anything_is_sent() {
    let scene = Scene::new();
    let (one, other) = (scene.disk("one.img"), scene.disk("other.img"));
    let _ = scene.ok(&["create", &one, "--name", "web"]);
    let image = image_in(&scene.server, "us-east-1");
    let result = scene.fails(2, &["create", &other, "--name", "web"]);
    let expected = format!(
        "ERROR: an AMI named \"web\" is in us-east-1 already: {}; choose another --name\n",
        image.id
    );
    assert_eq!((result.stdout, result.stderr), (String::new(), expected));
    assert_eq!(scene.server.snapshots().len(), 1);
}

#[test]
fn answers_that_are_lost_make_nothing_twice() {
    let scene = Scene::with(Settings {
        image_visible_after: Duration::from_millis(400),
        snapshot_visible_after: Duration::from_millis(400),
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    for (action, fault, count) in [
        ("StartSnapshot", Fault::Lost, 1),
        ("CompleteSnapshot", Fault::Lost, 1),
        ("RegisterImage", Fault::Lost, 2),
        ("CopyImage", Fault::Cut, 1),
        ("DescribeImages", Fault::Error, 1),
        ("ModifyImageAttribute", Fault::Lost, 1),
    ] {
        scene.server.fail(action, fault, 0, count);
    }
    let arguments = [
        "create",
        &disk,
        "--name",
        "web",
        "--copy-to",
        "us-west-2",
        "--share",
        "210987654321",
    ];
    let result = scene.ok(&arguments);
    let here = image_in(&scene.server, "us-east-1");
    let there = image_in(&scene.server, "us-west-2");
    let copied = format!("{} us-west-2", there.id);
    assert_eq!(lines(&result.stdout)[1..3], [here.id.clone(), copied]);
    assert_eq!(here.launch, [Launch::Account("210987654321".into())].into());
    let here = scene.server.snapshots().into_iter();
    let here = here.filter(|snapshot| snapshot.region == "us-east-1");
    assert_eq!(here.count(), 1);
}

#[test]
fn each_region_is_by_itself_and_what_failed_is_named_with_the_command_for_it() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let arguments = [
        "create",
        &disk,
        "--name",
        "it's web",
        "--copy-to",
        "us-west-2",
        "--copy-to",
        "eu-west-1",
        "--copy-kms-key",
        "alias/none",
        "--share",
        "210987654321",
        "--share",
        "arn:aws:organizations::123456789012:organization/o-abcdefghij",
        "--deprecate-after",
        "30",
        "--protect",
    ];
    let result = scene.fails(4, &arguments);
    let here = image_in(&scene.server, "us-east-1");
    let there = scene.server.images().into_iter();
    let mut there = there.filter(|image| image.region == "eu-west-1");
    let there = there.next().unwrap();
    let snapshot = here.snapshots().next().unwrap();
    for image in [&here, &there] {
        let organization = "arn:aws:organizations::123456789012:organization/o-abcdefghij";
        let expected = [
            Launch::Account("210987654321".to_owned()),
            Launch::Organization(organization.to_owned()),
        ];
        assert_eq!(image.launch, expected.into(), "{image:?}");
        assert!(image.is_protected && image.deprecation.is_some());
        assert_eq!(image.tags["ec2-ami:source"], here.tags["ec2-ami:source"]);
    }
    let of_copy = scene.server.snapshot(there.snapshots().next().unwrap());
    let mut of_copy = of_copy.unwrap().tags;
    let copy = of_copy.remove("ec2-ami:copy").unwrap();
    assert_eq!((&of_copy, &there.tags["ec2-ami:copy"]), (&here.tags, &copy));
    let day = &here.deprecation.as_ref().unwrap()[..10];
    let command = format!(
        "  ec2-ami create {snapshot} --name 'it'\\''s web' --region us-east-1 --copy-to us-west-2 --copy-kms-key alias/none \
         --share 210987654321 --share arn:aws:organizations::123456789012:organization/o-abcdefghij --deprecate-after {day} --protect"
    );
    assert!(lines(&result.stderr).contains(&&*command), "{result:?}");

    // The command, but with a key that there is.
    let line = command.replace("alias/none", KMS_KEY);
    let words = shell(&format!("printf '%s\\n' {}", line.trim()), Path::new("/"));
    let words: Vec<&str> = words.lines().skip(1).collect();
    let _ = scene.ok(&words);
    let third = scene.server.images().into_iter();
    let third = third.filter(|image| image.region == "us-west-2" && image.state() == "available");
    let third: Vec<ImageRecord> = third.collect();
    assert_eq!(third.len(), 1, "{third:?}");
    assert!(third[0].is_protected);
    let all = scene.server.images();
    assert_eq!(
        all.iter()
            .filter(|image| image.region == "us-east-1")
            .count(),
        1
    );
}

#[test]
fn a_step_that_is_not_allowed_is_left_to_a_command() {
    let scene = Scene::with(Settings {
        denied: vec!["EnableImageDeregistrationProtection".to_owned()],
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let result = scene.fails(
        4,
        &["--json", "create", &disk, "--name", "web", "--protect"],
    );
    let report: Value = serde_json::from_str(&result.stdout).unwrap();
    let image = image_in(&scene.server, "us-east-1").id;
    let left = &report["unfinished"][0];
    assert_eq!(
        (&left["step"], &left["region"]),
        (&"protect".into(), &"us-east-1".into())
    );
    assert_eq!(
        left["command"],
        format!(
            "aws ec2 enable-image-deregistration-protection --region us-east-1 --image-id {image}"
        )
    );
}

#[test]
fn a_snapshot_comes_back_as_the_disk_it_was() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let _ = scene.ok(&["create", &disk, "--name", "web", "--size", "1"]);
    let image = image_in(&scene.server, "us-east-1");
    let snapshot = image.snapshots().next().unwrap();
    for from in [snapshot, &image.id] {
        let result = scene.ok(&["fetch", from, "back.img"]);
        assert_eq!(result.stdout, "back.img\n");
        let _ = shell("cmp -n 50331648 disk.img back.img", scene.work.path());
        let refused = scene.fails(2, &["fetch", from, "back.img"]);
        assert!(refused.stderr.contains("--replace"), "{refused:?}");
        fs::remove_file(scene.path("back.img")).unwrap();
    }
    let plan = scene.ok(&["fetch", &image.id, "back.img", "--dry-run"]);
    let expected = format!("{snapshot} in us-east-1, 1 GiB would be fetched to back.img\n");
    assert_eq!(plan.stdout, expected);
    assert!(!Path::new(&scene.path("back.img")).exists());
}

#[test]
fn deleting_asks_and_takes_only_what_is_the_amis_own() {
    let scene = Scene::new();
    let (one, other) = (scene.disk("one.img"), scene.disk("other.img"));
    let _ = scene.ok(&["create", &one, "--name", "one"]);
    let first = image_in(&scene.server, "us-east-1");
    let shared = first.snapshots().next().unwrap();
    let mapping = format!("/dev/sdb={shared}::gp3");
    let _ = scene.ok(&["create", &other, "--name", "two", "-B", &mapping]);
    let images = scene.server.images().into_iter();
    let second = images.rev().find(|image| image.name == "two").unwrap();
    let own = second.snapshots().next().unwrap();

    // Without an answer, and with no, nothing is done.
    for input in ["", "n\n"] {
        let path = scene.path("input");
        fs::write(&path, input).unwrap();
        let mut command = scene.command(&["delete", &second.id]);
        let result = outcome(command.stdin(File::open(&path).unwrap()));
        assert_eq!(result.code, 5, "{result:?}");
        let shown = format!(
            "  {own} goes with it\n  {shared} stays: used by {}\n",
            first.id
        );
        assert!(result.stdout.contains(&shown), "{result:?}");
    }
    assert_eq!(scene.server.images().len(), 2);
    assert_eq!(scene.fails(1, &["delete", &second.id, "--json"]).stdout, "");
    let plan = scene.ok(&["delete", &second.id, "--dry-run"]);
    assert!(plan.stdout.contains(&format!("  {own} goes with it\n")));

    let result = scene.ok(&["delete", &second.id, "--yes"]);
    let expected = format!("Deregistered {}\nDeleted {own}\n", second.id);
    assert_eq!(result.stdout, expected);
    assert_eq!(
        result.stderr,
        format!("{shared} stays: used by {}.\n", first.id)
    );
    let left = scene.server.snapshots();
    assert_eq!(
        left.iter().map(|found| &*found.id).collect::<Vec<_>>(),
        [shared]
    );
    let gone = scene.fails(2, &["delete", &second.id, "--yes"]);
    assert!(
        gone.stderr.starts_with("ERROR: there is no AMI"),
        "{gone:?}"
    );
}

#[test]
fn what_is_protected_is_not_deleted() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let _ = scene.ok(&["create", &disk, "--name", "web", "--protect"]);
    let image = image_in(&scene.server, "us-east-1").id;
    for more in ["--yes", "--dry-run"] {
        let result = scene.fails(2, &["delete", &image, more]);
        let hint = "disable that first: aws ec2 disable-image-deregistration-protection";
        assert!(result.stderr.contains(hint), "{result:?}");
    }
    assert_eq!(scene.server.images().len(), 1);
}

#[test]
fn what_killed_runs_leave_is_cleaned_unless_they_can_be_gone_on_with() {
    let scene = slow(1.0);
    let disk = scene.disk("disk.img");
    let mut child = scene
        .command(&["create", &disk, "--name", "web", "--parallel", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while scene.server.log().of("PutSnapshotBlock").count() < 3 {
        assert_eq!(child.try_wait().unwrap(), None);
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    let _ = child.wait().unwrap();
    let [snapshot] = &scene.server.snapshots()[..] else {
        panic!("{:?}", scene.server.snapshots());
    };
    let id = &snapshot.id;
    let claimed = scene.ok(&["clean", "--yes"]);
    let expected =
        format!("{id} is pending and stays: the command that began it goes on with it.\n");
    assert!(claimed.stdout.starts_with(&expected), "{claimed:?}");
    assert_eq!(scene.server.snapshots().len(), 1);

    fs::remove_dir_all(scene.journals()).unwrap();
    let asked = scene.run(&["clean"]);
    assert_eq!(asked.code, 5, "{asked:?}");
    assert!(
        asked.stdout.contains(&format!("{id} pending, begun ")),
        "{asked:?}"
    );
    let plan = scene.ok(&["clean", "--dry-run"]);
    assert!(plan.stdout.contains(id), "{plan:?}");
    assert_eq!(scene.server.snapshots().len(), 1);
    let result = scene.ok(&["clean", "--yes"]);
    assert_eq!(result.stdout, format!("Deleted {id}\n"));
    assert_eq!(scene.server.snapshots(), []);
    let again = scene.ok(&["clean"]);
    assert_eq!(again.stdout, "No run has left anything in us-east-1.\n");
}

#[test]
fn an_uploaded_bundle_becomes_an_instance_store_backed_ami() {
    let buckets = Server::start();
    let store = buckets.bucket("bundles.test");
    let bundle = golden("bundles/e-meta");
    let file = "image.img.manifest.xml";
    let _ = shell(
        &format!("mkdir images; cp '{}' images/", bundle.join(file).display()),
        &store,
    );
    let scene = Scene::new();
    let at = format!("bundles.test/images/{file}");
    let run = |more: &[&str]| {
        let mut command = scene.command(&[&["register", &at, "--name", "old"], more].concat());
        outcome(command.env("AWS_ENDPOINT_URL_S3", buckets.url()))
    };
    let plan = run(&["--dry-run"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.stdout.contains("  virtualization: paravirtual\n"),
        "{plan:?}"
    );
    assert_eq!(scene.server.images(), []);
    let result = run(&["--tag", "a=b", "-B", "/dev/sdx=ephemeral3"]);
    let image = image_in(&scene.server, "us-east-1");
    assert_eq!(result.stdout, format!("{}\n", image.id), "{result:?}");
    assert_eq!(image.location.as_deref(), Some(&*at));
    assert_eq!(image.tags["a"], "b");
    assert_eq!(
        (&*image.architecture, &*image.virtualization),
        ("i386", "paravirtual")
    );
    assert_eq!(image.kernel.as_deref(), Some("aki-1a2b3c4d"));
    assert_eq!(image.root_device_name.as_deref(), Some("/dev/sda1"));
    let devices = image.devices.iter();
    let devices: Vec<_> = devices
        .map(|device| (&*device.name, device.virtual_name.as_deref()))
        .collect();
    let expected = [
        ("/dev/sda2", Some("ephemeral0")),
        ("/dev/sdx", Some("ephemeral3")),
    ];
    assert_eq!(devices, expected);
    let again = run(&[]);
    assert_eq!((again.code, again.stdout), (0, format!("{}\n", image.id)));
    assert_eq!(scene.server.images().len(), 1);
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
        let _ = bash.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            let _ = match value {
                Some(value) => bash.env(name, value),
                None => bash.env_remove(name),
            };
        }
        outcome(bash.current_dir(scene.work.path()))
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
    assert_eq!(image_in(&scene.server, "us-east-1").owner, "210987654321");
    for secret in [SECRET_KEY, "agreed-upon"] {
        assert!(!(result.stdout.clone() + &result.stderr).contains(secret));
    }
    assert!(result.stderr.contains("DEBUG"), "{result:?}");
}

#[test]
fn what_fails_for_good_leaves_no_snapshot_that_nothing_goes_on_with() {
    let scene = Scene::new();
    let piped = scene.path("piped");
    let _ = shell("head -c 1074000000 /dev/zero > piped", scene.work.path());
    let mut cat = Command::new("cat")
        .arg(&piped)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut command = scene.command(&["create", "-", "--snapshot-only", "--size", "1"]);
    let result = outcome(command.stdin(cat.stdout.take().unwrap()));
    drop(command);
    let _ = cat.wait();
    assert_eq!(result.code, 2, "{result:?}");
    assert!(
        result
            .stderr
            .contains("is not complete, and was deleted: the source has more than the 1 GiB"),
        "{result:?}"
    );
    assert_eq!(scene.server.snapshots(), []);
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
    let image = image_in(&scene.server, "us-east-1");
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
