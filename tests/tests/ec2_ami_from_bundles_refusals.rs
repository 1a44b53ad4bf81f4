//! Bundles that `ec2-ami create` refuses: at once, in one line, with what to do about it; and what a plan says of them.

use std::fs;

use end_to_end::bundles::forge_in_parts;
use end_to_end::from_bundles::{Scene, create, key_file, manifest_in, words};
use end_to_end::images::incompressible;
use end_to_end::s3::{BUCKET, Kept, private_key, small_parts};
use end_to_end::{folder, golden, names};
use serde_json::{Value, json};

/// It is refused with this exit code and line, before EBS or EC2 is asked for anything that changes something.
fn refused(scene: &Scene, code: i32, arguments: &[&str]) -> String {
    scene.aws.server.clear_log();
    let result = scene.run(arguments);
    assert_eq!((result.code, &*result.stdout), (code, ""), "{result:?}");
    for action in ["StartSnapshot", "PutSnapshotBlock", "RegisterImage"] {
        assert_eq!(scene.aws.asked(action), 0, "{result:?}");
    }
    scene.assert_nothing_made();
    scene.assert_no_file_but(&[]);
    let line = result.stderr.strip_suffix('\n').unwrap().to_owned();
    assert!(!line.contains('\n'), "{result:?}");
    line
}

/// The end of a line that is refused.
fn assert_ends(line: &str, end: &str) {
    assert!(line.starts_with("ERROR: ") && line.ends_with(end), "{line}");
}

#[test]
fn keys_and_certificates_that_are_not_the_bundles_are_refused() {
    let scene = Scene::new();
    let in_s3 = scene.put(&small_parts());
    let on_disk = manifest_in(&small_parts()).to_str().unwrap().to_owned();
    for manifest in [in_s3, on_disk] {
        let with = |key: &str| {
            let key = key_file(key);
            refused(
                &scene,
                2,
                &["create", &manifest, "--name", "web", "-k", &key],
            )
        };
        let wrong = with("user4096.key");
        assert_ends(&wrong, "; give the one whose certificate it was made with");
        let none = with("garbage.pem");
        assert!(none.contains("garbage.pem"), "{none}");
        let of_other = key_file("other.crt");
        let arguments = create(&manifest, "user2048");
        let unsigned = refused(&scene, 2, &words(&arguments, &["-c", &of_other]));
        assert!(unsigned.contains("signature"), "{unsigned}");
        let without = scene.run(&["create", &manifest, "--name", "web"]);
        assert_eq!(without.code, 1, "{without:?}");
        let expected =
            format!("{manifest} is a bundle: -k must give the private key that it was made for\n");
        assert!(without.stderr.starts_with(&expected), "{without:?}");
    }
}

#[test]
fn bundles_that_cannot_be_read_are_refused_with_what_to_do() {
    let scene = Scene::new();
    let manifest = scene.put(&small_parts());
    let arguments = create(&manifest, "user2048");
    let refused_by = |code: i32, more: &[&str]| refused(&scene, code, &words(&arguments, more));

    // Whoever asks pays.
    scene.server.rules.requester_pays(BUCKET);
    let unpaid = refused_by(3, &[]);
    assert_ends(&unpaid, "--requester-pays");
    let id = scene.snapshot(&manifest, "user2048", &["--requester-pays"]);
    assert_eq!(scene.aws.server.snapshot(&id).unwrap().state, "completed");

    let scene = Scene::new();
    let manifest = scene.put(&small_parts());
    let refused_by = |code: i32, more: &[&str]| refused(&scene, code, &words(&arguments, more));
    let keep = |part: &str, restore: Option<&'static str>| {
        let class = "GLACIER";
        let archive_status = None;
        let kept = Kept {
            class,
            archive_status,
            restore,
        };
        scene.server.rules.keep(BUCKET, part, kept);
    };
    keep("image.part.03", None);
    assert_eq!(
        refused_by(2, &[]),
        format!(
            "ERROR: \"image.part.03\" cannot be read: it is in the archive GLACIER; restore it first: aws s3api restore-object \
             --bucket {BUCKET} --key image.part.03 --restore-request Days=7"
        )
    );
    keep("image.part.04", Some("ongoing-request=\"true\""));
    let both = refused_by(2, &[]);
    assert!(
        both.contains(", as are 2 of the 12 parts in all; restore each first: "),
        "{both}"
    );
    keep("image.part.03", Some("ongoing-request=\"true\""));
    assert_ends(
        &refused_by(2, &[]),
        "; run it again when S3 has restored it, which takes hours",
    );
    for part in ["image.part.03", "image.part.04"] {
        keep(part, Some("ongoing-request=\"false\""));
    }
    let _ = scene.snapshot(&manifest, "user2048", &[]);

    let scene = Scene::new();
    let manifest = scene.put(&small_parts());
    let refused_by = |code: i32, more: &[&str]| refused(&scene, code, &words(&arguments, more));
    fs::remove_file(scene.store().join("image.part.07")).unwrap();
    let missing = refused_by(2, &[]);
    assert!(missing.contains("\"image.part.07\""), "{missing}");
    fs::write(scene.store().join("image.manifest.xml"), "no manifest").unwrap();
    let none = refused_by(2, &[]);
    assert!(
        none.contains(&format!("{BUCKET}/image.manifest.xml")),
        "{none}"
    );
    fs::remove_file(scene.store().join("image.manifest.xml")).unwrap();
    let gone = refused_by(2, &[]);
    assert!(gone.contains("image.manifest.xml"), "{gone}");
    assert!(manifest.ends_with("image.manifest.xml"));

    // The same on disk.
    let copy = folder();
    for name in names(&small_parts()) {
        let _ = fs::copy(small_parts().join(&name), copy.path().join(&name)).unwrap();
    }
    let manifest = manifest_in(copy.path());
    let on_disk = create(manifest.to_str().unwrap(), "user2048");
    let refused_on_disk = || refused(&scene, 2, &words(&on_disk, &[]));
    fs::remove_file(copy.path().join("image.part.07")).unwrap();
    let missing = refused_on_disk();
    assert!(missing.ends_with("image.part.07 is missing"), "{missing}");
    fs::write(&manifest, "no manifest").unwrap();
    assert!(refused_on_disk().contains("image.manifest.xml"));
    fs::remove_file(&manifest).unwrap();
    assert!(refused_on_disk().contains("image.manifest.xml"));
}

#[test]
fn devices_that_are_none_end_an_ami_and_not_a_snapshot() {
    let scene = Scene::new();
    let source = golden("bundles/e2-meta-special");
    let manifest = scene.put(&source);
    let key = private_key();
    let line = refused(
        &scene,
        2,
        &["create", &manifest, "-k", &key, "--name", "web"],
    );
    assert!(line.ends_with("which is no device"), "{line}");
    let _ = scene.snapshot(&manifest, "user2048", &[]);
}

#[test]
fn the_plan_of_a_bundle_says_what_would_be_made_and_all_that_is_in_the_way() {
    let scene = Scene::new();
    let (work, bundled) = (folder(), folder());
    let image = work.path().join("image");
    incompressible(&image, (3 << 20) + 5);
    let _ = forge_in_parts(bundled.path(), "user2048", &image, 1 << 20);
    let manifest = scene.put(bundled.path());
    let key = private_key();
    let arguments = [
        "create",
        &manifest,
        "-k",
        &key,
        "--name",
        "web",
        "--dry-run",
    ];
    let plan = |more: &[&str]| scene.run(&[&arguments[..], &["--json"], more].concat());
    let good = plan(&[]);
    assert_eq!(good.code, 0, "{good:?}");
    let told: Value = serde_json::from_str(&good.stdout).unwrap();
    assert_eq!(told["problems"], json!([]), "{told}");
    assert_eq!(
        (&told["blocks"], &told["volume_size"]),
        (&json!(7), &json!(1))
    );
    assert!(good.stdout.contains("x86_64"), "{told}");
    let in_words = scene.run(&arguments);
    assert_eq!(in_words.code, 0, "{in_words:?}");
    assert!(in_words.stdout.contains("x86_64"), "{in_words:?}");
    scene.assert_nothing_made();

    // All problems, not the first alone.
    let _ = scene
        .aws
        .ok(&["create", &scene.aws.disk("disk.img"), "--name", "web"]);
    fs::remove_file(scene.store().join("forged.part.2")).unwrap();
    let bad = plan(&[]);
    assert_eq!(bad.code, 2, "{bad:?}");
    let told: Value = serde_json::from_str(&bad.stdout).unwrap();
    let problems: Vec<&str> = told["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap())
        .collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("forged.part.2"), "{problems:?}");
    assert!(problems[1].contains("\"web\""), "{problems:?}");
}
