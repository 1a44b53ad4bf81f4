//! The other verbs of `ec2-ami`: fetch, delete, clean, register.

use std::fs::{self, File};
use std::path::Path;

use end_to_end::ebs::Scene;
use end_to_end::kills::slow;
use end_to_end::s3::Server;
use end_to_end::{golden, outcome, shell};

#[test]
fn a_snapshot_comes_back_as_the_disk_it_was() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let _ = scene.ok(&["create", &disk, "--name", "web", "--size", "1"]);
    let image = scene.image_in("us-east-1");
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
    let first = scene.image_in("us-east-1");
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
    let image = scene.image_in("us-east-1").id;
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
    let arguments = ["create", &disk, "--name", "web", "--parallel", "1"];
    scene.kill_after("PutSnapshotBlock", 3, &arguments);
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
    let image = scene.image_in("us-east-1");
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
