//! `ec2-ami bundle` that fails or is interrupted: nothing of the bundle stays in S3, and what becomes of an older one.

use std::fs;
use std::time::Duration;

use end_to_end::Outcome;
use end_to_end::proxy::{Action, Rule, Slowness};
use end_to_end::s3::BUCKET;
use end_to_end::straight::{FOLDER, Straight};
use rustix::process::Signal;

/// The size of an image that makes six parts.
const SIZE: usize = 55 << 20;

const MANIFEST: &str = "image.img.manifest.xml";

/// A scene with the image, a bundle of another name in the bucket, and a slow network if that is wanted.
fn scene(rate: u64) -> Straight {
    let scene = Straight::with(Slowness {
        rate,
        ..Slowness::default()
    });
    scene.image(SIZE);
    fs::create_dir(scene.store()).unwrap();
    for name in ["image.manifest.xml", "image.img.part.0.bak", "other"] {
        fs::write(scene.store().join(name), name).unwrap();
    }
    scene
}

/// One line says what failed.
fn assert_failed(result: &Outcome, reason: &str) {
    assert_eq!((result.code, &*result.stdout), (3, ""), "{result:?}");
    let errors = result
        .stderr
        .lines()
        .filter(|line| line.starts_with("ERROR: "));
    let errors: Vec<&str> = errors.collect();
    assert!(
        errors.len() == 1 && errors[0].contains(reason),
        "{result:?}"
    );
}

#[test]
fn a_part_or_manifest_that_cannot_be_stored_leaves_nothing() {
    let scene = scene(0);
    let before = scene.stored();
    for (file, status, code) in [
        (r"image\.img\.part\.0", 403, "AccessDenied"),
        (r"image\.img\.part\.4", 403, "AccessDenied"),
        (r"image\.img\.manifest\.xml", 403, "AccessDenied"),
        (r"image\.img\.part\.5", 501, "NotImplemented"),
    ] {
        let rule = Rule::error("PUT", file, None, status, code);
        scene.proxy.set_rules(vec![rule]);
        assert_failed(&scene.run(&[]), &format!("Server.{code}({status})"));
        assert!(scene.stored() == before, "{file}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let scene = scene(0);
    let resets = Rule::new("PUT", r"part\.2", Some(1), Action::ResetUpload(1 << 20));
    let errors = Rule::error("PUT", r"part\.1", Some(2), 500, "InternalError");
    let late = Rule::error("PUT", "manifest", Some(1), 503, "SlowDown");
    scene.proxy.set_rules(vec![resets, errors, late]);
    let result = scene.ok(&[]);
    assert_eq!(result.stderr.matches(": trying again ...\n").count(), 4);
    let to = end_to_end::folder();
    let back = scene.back("image.img", to.path());
    let sha256 = end_to_end::sha256;
    assert_eq!(sha256(&back), sha256(&scene.path("image.img")));
}

#[test]
fn a_signal_at_any_moment_leaves_nothing() {
    // Six parts at a time take some two seconds.
    let scene = scene(5_000_000);
    let before = scene.stored();
    for (puts, signal) in [(1, Signal::INT), (4, Signal::TERM)] {
        scene.proxy.set_rules(Vec::new());
        let result = scene.signalled(puts, signal);
        assert_eq!((result.code, &*result.stdout), (255, ""), "{result:?}");
        assert!(
            result.stderr.ends_with("ec2-ami interrupted.\n"),
            "{result:?}"
        );
        assert!(scene.stored() == before, "{puts}");
    }
    // What does not get on does not hold it up.
    let stalls = Rule::new("PUT", r"part\.1", None, Action::StallUpload(4096));
    scene.proxy.set_rules(vec![stalls]);
    let result = scene.signalled(6, Signal::INT);
    assert_eq!(result.code, 255, "{result:?}");
    assert!(scene.stored() == before);
}

#[test]
fn a_part_that_s3_stores_after_its_request_was_given_up_is_deleted() {
    let scene = scene(0);
    let before = scene.stored();
    let late = Rule::new(
        "PUT",
        r"part\.1",
        Some(1),
        Action::Late(Duration::from_secs(4)),
    );
    scene.proxy.set_rules(vec![late]);
    let result = scene.signalled(6, Signal::INT);
    assert_eq!(result.code, 255, "{result:?}");
    assert_eq!(scene.proxy.late(), 1);
    assert!(scene.stored() == before);
}

#[test]
fn what_cannot_be_deleted_is_named() {
    let scene = scene(0);
    let before = scene.stored();
    let denied = |method, path| Rule::error(method, path, None, 403, "AccessDenied");
    let rules = vec![
        denied("PUT", "manifest"),
        denied("POST", "delete"),
        denied("DELETE", ""),
    ];
    scene.proxy.set_rules(rules);
    let result = scene.run(&[]);
    assert_failed(&result, "Failed to upload \"image.img.manifest.xml\"");
    let parts: Vec<String> = (0..6)
        .map(|part| format!("{BUCKET}/{FOLDER}/image.img.part.{part}"))
        .collect();
    let named = format!(
        "WARNING: 6 files of the unfinished bundle could not be deleted, and may still be there: {} (",
        parts.join(", ")
    );
    assert!(result.stderr.contains(&named), "{result:?}");
    assert_eq!(scene.stored().len(), before.len() + 6);
}

#[test]
fn an_older_bundle_of_the_name_makes_way_as_for_an_upload() {
    let scene = scene(0);
    let _ = scene.ok(&[]);
    let older = scene.stored();
    // Its manifest goes before its first part is replaced.
    scene.proxy.set_rules(Vec::new());
    let again = scene.ok(&[]);
    assert!(!again.stderr.contains("WARNING"), "{again:?}");
    let requests = scene.proxy.requests();
    let place = |method: &str, file: &str| {
        let is_it = |request: &end_to_end::proxy::Request| {
            request.method == method && request.path.contains(file)
        };
        requests.iter().position(is_it).unwrap()
    };
    assert!(place("DELETE", MANIFEST) < place("PUT", "image.img.part."));
    let newer = scene.stored();
    assert!(newer.keys().eq(older.keys()));
    assert!(newer["image.img.part.0"] != older["image.img.part.0"]);

    // A run that fails before that has changed nothing.
    let denied = Rule::error("DELETE", MANIFEST, None, 400, "ExpiredToken");
    scene.proxy.set_rules(vec![denied]);
    assert_failed(
        &scene.run(&[]),
        "Failed to delete \"image.img.manifest.xml\"",
    );
    assert!(scene.stored() == newer);

    // One that fails after that leaves no manifest, and none of its own parts.
    let denied = Rule::error("PUT", r"part\.5", None, 403, "AccessDenied");
    scene.proxy.set_rules(vec![denied]);
    let result = scene.run(&[]);
    let gone = format!("The manifest {BUCKET}/{FOLDER}/{MANIFEST} of an older bundle is deleted");
    assert!(result.stderr.contains(&gone), "{result:?}");
    let left = scene.stored();
    assert!(!left.contains_key(MANIFEST));
    assert!(left.iter().all(|(name, bytes)| newer[name] == *bytes));
    assert!(left.contains_key("image.img.part.5"));
}

#[test]
fn an_older_manifest_that_cannot_be_deleted_is_replaced_at_the_end() {
    let scene = scene(0);
    let _ = scene.ok(&[]);
    let older = scene.stored();
    let denied = Rule::error("DELETE", MANIFEST, None, 403, "AccessDenied");
    scene.proxy.set_rules(vec![denied]);
    let result = scene.ok(&[]);
    let stays =
        format!("The manifest {BUCKET}/{FOLDER}/{MANIFEST}, if there is an older one, stays");
    assert!(result.stderr.contains(&stays), "{result:?}");
    assert!(scene.stored()[MANIFEST] != older[MANIFEST]);
}

#[test]
fn a_manifest_whose_answer_was_lost_is_found() {
    let scene = scene(0);
    // S3 has stored it, and says so in a way that is not understood.
    let etag = "\"00000000000000000000000000000000\"".to_owned();
    let lost = Rule::new("PUT", MANIFEST, None, Action::Header("etag", etag));
    scene.proxy.set_rules(vec![lost]);
    let result = scene.ok(&[]);
    assert_eq!(
        result.stdout,
        format!("s3://{BUCKET}/{FOLDER}/{MANIFEST}\n")
    );
    assert!(scene.stored().contains_key(MANIFEST));
}
