//! `ec2-ami create ami-…`: an instance store-backed AMI becomes an EBS-backed one that takes after it.

use std::process::Command;

use ebs_server::{Device, Launch};
use end_to_end::ebs::{Reading, Scene};
use end_to_end::s3::Server;
use end_to_end::{Outcome, golden, json, key, outcome, sha256, shell, text};

const MANIFEST: &str = "image.img.manifest.xml";

/// A bundle in S3 that is registered as `old`.
struct Old {
    scene: Scene,
    buckets: Server,
    id: String,
}

impl Old {
    fn new() -> Self {
        let buckets = Server::start();
        let store = buckets.bucket("bundles.test");
        let from = golden("bundles/e-meta");
        let _ = shell(
            &format!("mkdir images; cp '{}'/image.img.* images/", from.display()),
            &store,
        );
        let scene = Scene::new();
        let at = format!("bundles.test/images/{MANIFEST}");
        let register = [
            "register",
            &at,
            "--name",
            "old",
            "--description",
            "the old one",
            "--tag",
            "team=a",
            "--tag",
            "stage=test",
        ];
        let mut command = scene.command(&register);
        let result = outcome(command.env("AWS_ENDPOINT_URL_S3", buckets.url()));
        assert_eq!(result.code, 0, "{result:?}");
        let id = result.stdout.trim_end().to_owned();
        Self { scene, buckets, id }
    }

    fn command(&self, more: &[&str]) -> Command {
        let key = key("user2048.key");
        let arguments = ["create", &self.id, "-k", key.to_str().unwrap()];
        let mut command = self.scene.command(&[&arguments, more].concat());
        let _ = command.env("AWS_ENDPOINT_URL_S3", self.buckets.url());
        command
    }

    fn create(&self, more: &[&str]) -> Outcome {
        outcome(&mut self.command(more))
    }

    /// Fails at once, in one line that has this in it.
    fn fails(&self, code: i32, more: &[&str], text: &str) {
        let result = self.create(more);
        assert_eq!((result.code, &*result.stdout), (code, ""), "{result:?}");
        assert!(result.stderr.contains(text), "{result:?}");
        assert_eq!(result.stderr.lines().count(), 1, "{result:?}");
        assert_eq!(self.scene.asked("StartSnapshot"), 0);
    }

    fn change(&self, change: impl FnOnce(&mut ebs_server::ImageRecord)) {
        self.scene.server.change_image(&self.id, change);
    }

    fn new_one(&self) -> ebs_server::ImageRecord {
        let images = self.scene.server.images().into_iter();
        let mut others = images.filter(|image| image.id != self.id);
        others.next().unwrap()
    }
}

#[test]
fn a_new_ami_takes_after_the_old_one() {
    let old = Old::new();
    old.change(|image| {
        let _ = image.tags.insert("aws:stack".to_owned(), "s".to_owned());
        image.launch = [
            Launch::All,
            Launch::Account("222222222222".to_owned()),
            Launch::Organization(
                "arn:aws:organizations::111111111111:organization/o-abcdefghij".to_owned(),
            ),
        ]
        .into();
        image.devices.push(Device {
            name: "sda1".to_owned(),
            virtual_name: Some("ami".to_owned()),
            ..Device::default()
        });
    });
    let result = old.create(&["--tag", "stage=live"]);
    let image = old.new_one();
    let snapshot = image.snapshots().next().unwrap().to_owned();
    let start = format!(
        "aws ec2 run-instances --region us-east-1 --image-id {} --instance-type t3.micro",
        image.id
    );
    assert_eq!(
        result.stdout,
        format!("{snapshot}\n{}\n{start}\n", image.id),
        "{result:?}"
    );
    assert!(result.stderr.contains("everybody may start"), "{result:?}");
    assert_eq!(
        (&*image.name, image.description.as_deref()),
        ("old-ebs", Some("the old one"))
    );
    assert_eq!(
        (&*image.architecture, &*image.virtualization),
        ("i386", "hvm")
    );
    // Instances of the old one may know only version 1 of the metadata service.
    assert_eq!(image.imds_support, None);
    assert_eq!((&image.kernel, &image.ramdisk), (&None, &None));
    let devices = image.devices.iter();
    let devices: Vec<_> = devices
        .map(|device| (&*device.name, device.virtual_name.as_deref()))
        .collect();
    let expected = [("/dev/sda1", None), ("/dev/sda2", Some("ephemeral0"))];
    assert_eq!(devices, expected);
    assert_eq!(image.root_device_name.as_deref(), Some("/dev/sda1"));
    let tags: Vec<&str> = image.tags.keys().map(String::as_str).collect();
    assert_eq!(tags, ["ec2-ami:source", "stage", "team"]);
    assert_eq!((&*image.tags["stage"], &*image.tags["team"]), ("live", "a"));
    let expected = [
        Launch::Account("222222222222".to_owned()),
        Launch::Organization(
            "arn:aws:organizations::111111111111:organization/o-abcdefghij".to_owned(),
        ),
    ];
    assert_eq!(image.launch, expected.into());

    let info = json(&golden("bundles/e-meta/info.json"));
    let size = info["image"]["size"].as_u64().unwrap();
    let path = old.scene.path("exported");
    let export = old
        .scene
        .server
        .export(&snapshot, path.as_ref(), Reading::Zeros);
    export.unwrap();
    let _ = shell(
        &format!("truncate -s {size} exported"),
        old.scene.work.path(),
    );
    assert_eq!(sha256(path.as_ref()), text(&info["image"]["sha256"]));
}

#[test]
fn options_say_otherwise() {
    let old = Old::new();
    old.change(|image| image.launch = [Launch::Account("222222222222".to_owned())].into());
    let options = [
        "--name",
        "mine",
        "--description",
        "d",
        "--arch",
        "x86_64",
        "--imds-v2-only",
        "--root-device-name",
        "/dev/xvda",
        "-B",
        "/dev/sda2=ephemeral7",
    ];
    let result = old.create(&[&options[..], &["--share", "none"]].concat());
    assert_eq!(result.code, 0, "{result:?}");
    assert!(!result.stderr.contains("WARNING"), "{result:?}");
    let image = old.new_one();
    assert_eq!(
        (
            &*image.name,
            image.description.as_deref(),
            &*image.architecture
        ),
        ("mine", Some("d"), "x86_64")
    );
    assert_eq!(image.imds_support.as_deref(), Some("v2.0"));
    assert_eq!(image.root_device_name.as_deref(), Some("/dev/xvda"));
    let devices = image.devices.iter();
    let devices: Vec<_> = devices
        .map(|device| (&*device.name, device.virtual_name.as_deref()))
        .collect();
    let expected = [("/dev/xvda", None), ("/dev/sda2", Some("ephemeral7"))];
    assert_eq!(devices, expected);
    assert_eq!(image.launch, [].into());

    let with_all = Old::new();
    with_all.change(|image| image.launch = [Launch::All].into());
    let result = with_all.create(&["--share", "all", "--share", "333333333333"]);
    assert_eq!(result.code, 0, "{result:?}");
    let expected = [Launch::All, Launch::Account("333333333333".to_owned())];
    assert_eq!(with_all.new_one().launch, expected.into());
}

#[test]
fn what_no_new_ami_can_be_made_of_is_said_at_once() {
    let old = Old::new();
    let cert = key("user2048.crt");
    let without_key = outcome(&mut old.scene.command(&["create", &old.id]));
    assert_eq!(without_key.code, 1, "{without_key:?}");
    assert!(
        without_key.stderr.contains("-k must give"),
        "{without_key:?}"
    );
    old.fails(2, &["-c", key("ec2.crt").to_str().unwrap()], "signature");

    let other = key("user1024.key");
    let other = ["create", &old.id, "-k", other.to_str().unwrap()];
    let mut command = old.scene.command(&other);
    let result = outcome(command.env("AWS_ENDPOINT_URL_S3", old.buckets.url()));
    assert_eq!(result.code, 2, "{result:?}");
    assert_eq!(result.stderr.lines().count(), 1, "{result:?}");

    old.change(|image| image.owner = "333333333333".to_owned());
    old.change(|image| image.launch = [Launch::All].into());
    old.fails(2, &[], "belongs to the account 333333333333");
    old.change(|image| image.owner = ebs_server::ACCOUNT.to_owned());
    old.change(|image| image.launch = [].into());
    old.change(|image| image.platform = Some("windows".to_owned()));
    old.fails(2, &[], "of Windows");
    old.change(|image| image.platform = None);

    old.change(|image| image.product_codes = vec!["abc123".to_owned()]);
    old.fails(2, &[], "would lose: abc123; with --yes");
    let plan = old.create(&["--dry-run", "--json"]);
    assert_eq!(plan.code, 2, "{plan:?}");
    assert!(plan.stdout.contains("would lose: abc123"), "{plan:?}");
    let made = old.create(&["--yes", "-c", cert.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");

    let new = old.new_one().id;
    let key = key("user2048.key");
    let again = [
        "create",
        &new,
        "-k",
        key.to_str().unwrap(),
        "--name",
        "again",
    ];
    let result = outcome(&mut old.scene.command(&again));
    assert_eq!(result.code, 2, "{result:?}");
    assert!(
        result.stderr.contains("is EBS-backed, and starts as it is"),
        "{result:?}"
    );
}

#[test]
fn the_options_of_bundles_are_for_bundles() {
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let key = key("user2048.key");
    let key = key.to_str().unwrap();
    for options in [
        &["-k", key][..],
        &["-c", key],
        &["--requester-pays"],
        &["--yes"],
    ] {
        let arguments = [&["create", &disk, "--name", "web"], options].concat();
        let result = scene.fails(1, &arguments);
        assert!(result.stderr.contains("is for a bundle"), "{result:?}");
    }
    let result = scene.fails(1, &["create", &disk]);
    assert!(result.stderr.contains("--name"), "{result:?}");
    assert_eq!(scene.server.snapshots().len(), 0);
}
