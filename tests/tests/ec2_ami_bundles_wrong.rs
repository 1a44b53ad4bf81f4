//! Bundles in S3 that are damaged, not all there, or not to be read: one line that names what it is, and nothing left.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use end_to_end::in_s3::Scene;
use end_to_end::proxy::{Action, Rule};
use end_to_end::s3::{BUCKET, Kept, private_key, small_parts};
use end_to_end::{golden, key, names, sha1, sha256, shell, wait_until};

/// Changes the byte in the middle of a file in the bucket.
fn alter(scene: &Scene, name: &str) {
    let path = scene.store().join(name);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn parts() -> Vec<String> {
    let names = names(&small_parts()).into_iter();
    let parts: Vec<String> = names.filter(|name| name.contains(".part.")).collect();
    assert_eq!(parts.len(), 12);
    parts
}

#[test]
fn a_wrong_byte_in_any_part_names_it() {
    for part in parts() {
        let scene = Scene::of(&small_parts());
        let right = sha1(&fs::read(scene.store().join(&part)).unwrap());
        alter(&scene, &part);
        let wrong = sha1(&fs::read(scene.store().join(&part)).unwrap());
        let line = format!(
            "Failed to download \"{part}\": its SHA-1 is {wrong}, the manifest says {right}: what S3 has is damaged"
        );
        scene.fails(&private_key(), &[], 2, &line);
        let checked = scene.run(&["verify", &scene.manifest(), "-k", &private_key()]);
        assert_eq!(checked.code, 2, "{checked:?}");
        let expected = format!("digests    FAILED       {line}\n");
        assert!(checked.stdout.contains(&expected), "{checked:?}");
        assert_eq!(checked.stdout.matches("FAILED").count(), 1, "{checked:?}");
    }
}

/// What unbundling depends on; the rest of a manifest is covered by its signature.
#[test]
fn a_wrong_digit_of_any_number_in_the_manifest_is_found() {
    let text = fs::read_to_string(small_parts().join("image.manifest.xml")).unwrap();
    let certificate = key("user2048.crt");
    let certificate = certificate.to_str().unwrap();
    let mut count = 0;
    for element in [
        "digest",
        "user_encrypted_key",
        "user_encrypted_iv",
        "filename",
    ] {
        for (start, _) in text.match_indices(&format!("<{element}")) {
            let end = start + text[start..].find("</").unwrap();
            let mut bytes = text.clone().into_bytes();
            // The last digit of its text.
            bytes[end - 1] = match bytes[end - 1] {
                b'1' => b'2',
                _ => b'1',
            };
            let scene = Scene::of(&small_parts());
            fs::write(scene.store().join("image.manifest.xml"), bytes).unwrap();
            let result = scene.unbundle(&private_key(), &[]);
            assert_eq!(result.code, 2, "{element}: {result:?}");
            assert_eq!(result.stderr.lines().count(), 1, "{result:?}");
            let signed = scene.unbundle(&private_key(), &["-c", certificate]);
            assert_eq!(signed.code, 2, "{element}: {signed:?}");
            assert!(signed.stderr.contains("signature"), "{signed:?}");
            assert_eq!(scene.files(), [] as [String; 0]);
            count += 1;
        }
    }
    assert_eq!(count, 27);
}

#[test]
fn a_missing_part_is_named_before_any_is_read() {
    let scene = Scene::of(&small_parts());
    fs::remove_file(scene.store().join("image.part.11")).unwrap();
    let line = "Failed to download \"image.part.11\": Server.NotFound(404): not found";
    scene.fails(&private_key(), &[], 2, line);
    let requests = scene.proxy.requests();
    let gets = requests.iter().filter(|request| request.method == "GET");
    assert_eq!(gets.count(), 1, "the manifest");
    let checked = scene.run(&["verify", &scene.manifest()]);
    let expected = format!("parts      FAILED       {line}\n");
    assert!(checked.stdout.contains(&expected), "{checked:?}");
}

#[test]
fn another_key_and_another_certificate_are_refused_at_once() {
    let scene = Scene::of(&small_parts());
    let other = key("user1024.key");
    let line = "the bundle was not made for this private key; give the one whose certificate it was made with";
    scene.fails(other.to_str().unwrap(), &[], 2, line);
    let certificate = key("user1024.crt");
    let result = scene.unbundle(&private_key(), &["-c", certificate.to_str().unwrap()]);
    assert_eq!(result.code, 2, "{result:?}");
    assert!(result.stderr.contains("signature"), "{result:?}");
    let requests = scene.proxy.requests();
    assert!(!requests.iter().any(|request| request.path.contains("part")));
}

#[test]
fn archived_parts_are_named_with_the_command_that_restores_them() {
    let glacier = |restore| Kept {
        class: "GLACIER",
        archive_status: None,
        restore,
    };
    let tier = Kept {
        class: "INTELLIGENT_TIERING",
        archive_status: Some("DEEP_ARCHIVE_ACCESS"),
        restore: None,
    };
    let restoring = glacier(Some(r#"ongoing-request="true""#));
    let restored = glacier(Some(
        r#"ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT""#,
    ));
    let command =
        format!("aws s3api restore-object --bucket {BUCKET} --key image.part.03 --restore-request");
    let one = "\"image.part.03\" cannot be read: it is";
    for (kept, line) in [
        (
            glacier(None),
            format!("{one} in the archive GLACIER; restore it first: {command} Days=7"),
        ),
        (
            tier,
            format!("{one} in the archive DEEP_ARCHIVE_ACCESS; restore it first: {command} '{{}}'"),
        ),
        (
            restoring,
            format!(
                "{one} still being restored from the archive GLACIER; run it again when S3 has restored it, which takes hours"
            ),
        ),
    ] {
        let scene = Scene::of(&small_parts());
        scene.server.rules.keep(BUCKET, "image.part.03", kept);
        scene.fails(&private_key(), &[], 2, &line);
        let checked = scene.run(&["verify", &scene.manifest()]);
        assert_eq!(
            (checked.code, checked.stderr),
            (2, format!("ERROR: {line}\n"))
        );
    }
    let scene = Scene::of(&small_parts());
    for part in parts() {
        scene.server.rules.keep(BUCKET, &part, glacier(None));
    }
    scene.server.rules.keep(BUCKET, "image.part.00", restoring);
    let line = "\"image.part.01\" cannot be read: it is in the archive GLACIER, as are 12 of the 12 parts in all; \
         restore each first: aws s3api restore-object --bucket bundles.test --key image.part.01 --restore-request Days=7";
    scene.fails(&private_key(), &[], 2, line);
    for part in parts() {
        scene.server.rules.keep(BUCKET, &part, restored);
    }
    assert_eq!(scene.unbundle(&private_key(), &[]).code, 0);
}

#[test]
fn an_archived_manifest_is_named() {
    let scene = Scene::of(&small_parts());
    let kept = Kept {
        class: "DEEP_ARCHIVE",
        archive_status: None,
        restore: None,
    };
    scene.server.rules.keep(BUCKET, "image.manifest.xml", kept);
    let line = "\"image.manifest.xml\" cannot be read: it is in an archive; restore it first: \
         aws s3api restore-object --bucket bundles.test --key image.manifest.xml --restore-request Days=7";
    scene.fails(&private_key(), &[], 2, line);
}

#[test]
fn whoever_asks_pays_only_if_told_to() {
    let scene = Scene::of(&small_parts());
    scene.server.rules.requester_pays(BUCKET);
    let result = scene.unbundle(&private_key(), &[]);
    assert_eq!(result.code, 3, "{result:?}");
    assert!(
        result
            .stderr
            .ends_with("or whoever asks must pay: --requester-pays\n"),
        "{result:?}"
    );
    assert_eq!(scene.files(), [] as [String; 0]);
    assert_eq!(
        scene.unbundle(&private_key(), &["--requester-pays"]).code,
        0
    );
    let manifest = scene.manifest();
    let checked = scene.run(&["verify", &manifest, "--requester-pays"]);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn a_part_that_changes_meanwhile_is_refused() {
    let scene = Scene::of(&small_parts());
    let etag = format!("\"{}\"", "0".repeat(32));
    let rule = Rule::new("HEAD", "image.part.07$", None, Action::Header("etag", etag));
    scene.proxy.set_rules(vec![rule]);
    let line = "Failed to download \"image.part.07\": it has changed since it was looked up; \
         run it again when nothing writes to the bundle";
    scene.fails(&private_key(), &[], 2, line);
}

#[test]
fn faults_in_transit_are_not_noticed_but_a_wrong_byte_is() {
    let scene = Scene::of(&golden("bundles/i-ext4"));
    let info = end_to_end::json(&golden("bundles/i-ext4/info.json"));
    let part = "image.img.part.0$";
    for rules in [
        vec![Rule::new("GET", part, Some(2), Action::CutDownload(1000))],
        vec![Rule::error("GET", part, Some(1), 503, "SlowDown")],
        vec![Rule::error("HEAD", part, Some(1), 500, "InternalError")],
        vec![Rule::new(
            "GET",
            "manifest",
            Some(1),
            Action::CutDownload(100),
        )],
    ] {
        scene.proxy.set_rules(rules.clone());
        let result = scene.unbundle(&private_key(), &["--replace"]);
        assert_eq!(result.code, 0, "{rules:?}: {result:?}");
        assert!(scene.proxy.faults() > 0, "{rules:?}");
        let image = scene.work.path().join("image");
        assert_eq!(sha256(&image), end_to_end::text(&info["image"]["sha256"]));
    }
    fs::remove_file(scene.work.path().join("image")).unwrap();
    let rule = Rule::new("GET", part, None, Action::AlterDownload);
    scene.proxy.set_rules(vec![rule]);
    let result = scene.unbundle(&private_key(), &[]);
    assert_eq!(result.code, 2, "{result:?}");
    let expected = "ERROR: Failed to download \"image.img.part.0\": its SHA-1 is ";
    assert!(result.stderr.starts_with(expected), "{result:?}");
    assert_eq!(scene.files(), [] as [String; 0]);
}

#[test]
fn an_interruption_leaves_nothing() {
    for to in ["image", "-"] {
        let scene = Scene::of(&small_parts());
        let hold = Action::Hold { passed_on: false };
        let rule = Rule::new("GET", "image.part.05$", None, hold);
        scene.proxy.set_rules(vec![rule]);
        let manifest = scene.manifest();
        let private_key = private_key();
        let mut command = scene.command(&["unbundle", &manifest, to, "-k", &private_key]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let is_held = || {
            let requests = scene.proxy.requests();
            requests
                .iter()
                .any(|request| request.method == "GET" && request.path.contains("part.05"))
        };
        wait_until(&mut child, "the part was asked for", is_held);
        let _ = shell(&format!("kill -INT {}", child.id()), Path::new("/"));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text, "ec2-ami interrupted.\n");
        assert_eq!(scene.files(), [] as [String; 0]);
    }
}
