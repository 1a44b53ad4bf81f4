//! What follows when `ec2-ami` has made an AMI: copies in other regions, and to whom they are offered.

use std::path::Path;
use std::time::Duration;

use ebs_server::{ImageRecord, KMS_KEY, Launch};
use end_to_end::ebs::{Fault, Scene, Settings};
use end_to_end::shell;
use serde_json::Value;

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
    let here = scene.image_in("us-east-1");
    let there = scene.image_in("us-west-2");
    let copied = format!("{} us-west-2", there.id);
    let printed: Vec<&str> = result.stdout.lines().collect();
    assert_eq!(printed[1..3], [here.id.clone(), copied]);
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
    let here = scene.image_in("us-east-1");
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
    let mut printed = result.stderr.lines();
    assert!(printed.any(|line| line == command), "{result:?}");

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
    let image = scene.image_in("us-east-1").id;
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
