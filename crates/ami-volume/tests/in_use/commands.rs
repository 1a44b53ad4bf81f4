//! The commands before and after the copy.

use std::fs;
use std::path::Path;

use ami_volume::InUse;

use crate::rig::{ext4, fill, image_of, in_image, request};

pub fn commands() {
    let volume = ext4();
    let path = volume.path();
    fill(&path);
    let run = |before: &str, after: &str, image: &Path| {
        let in_use = InUse {
            before: Some(before.into()),
            after: Some(after.into()),
            ..InUse::default()
        };
        image_of(request(&path, image, in_use), &|_| {}, &|_, _| {})
    };
    let at = path.display();
    let good = tempfile::tempdir().unwrap();
    let _ = run(
        &format!("echo 1 > '{at}/flushed'"),
        &format!("rm '{at}/flushed'"),
        good.path(),
    )
    .unwrap();
    assert!(!path.join("flushed").exists());
    let flushed = in_image(good.path(), |root| {
        fs::read_to_string(root.join("flushed")).unwrap()
    });
    assert_eq!(flushed, "1\n");
    let bad = tempfile::tempdir().unwrap();
    let error = run(
        "echo cannot flush >&2; exit 7",
        &format!("touch '{at}/after'"),
        bad.path(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the command before the copy failed (exit status: 7): cannot flush"
    );
    assert!(path.join("after").exists());
    let late = tempfile::tempdir().unwrap();
    let error = run("true", "exit 9", late.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the command after the copy failed (exit status: 9)"
    );
}
