//! Copies of what changes meanwhile, of deep trees, and copies that are interrupted. Needs root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Mode;

use super::tests::{copy_all, selection};
use super::{Copied, copy};
use crate::error::Error;

/// A folder with ten files, and what its copy gives when `act` is called as the first one is copied.
fn disturbed(act: impl Fn(&Path) + Sync) -> (Result<Copied, Error>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    for index in 0..10 {
        fs::write(source.join(format!("file{index}")), vec![7; 600_000]).unwrap();
    }
    let is_first = AtomicBool::new(true);
    let progress = |_, _| {
        if is_first.swap(false, Ordering::Relaxed) {
            act(&source);
        }
    };
    let one = 1.try_into().unwrap();
    let copied = copy(
        &source,
        &target,
        &selection(Vec::new()),
        one,
        &progress,
        &AtomicBool::new(false),
    );
    (copied, folder)
}

fn with_first_byte_read(source: &Path) -> PathBuf {
    // The one that is being copied is the one that the copy has begun to write.
    let target = source.with_file_name("target");
    let name = fs::read_dir(target)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    source.join(name)
}

#[test]
fn files_that_vanish_are_named_and_no_error() {
    let (copied, folder) = disturbed(|source| {
        let current = with_first_byte_read(source);
        for entry in fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            if path != current {
                fs::remove_file(path).unwrap();
            }
        }
    });
    let copied = copied.unwrap();
    assert_eq!(copied.vanished.len(), 9);
    assert!(copied.vanished[0].starts_with("/") && copied.vanished.is_sorted());
    assert_eq!(
        fs::read_dir(folder.path().join("target")).unwrap().count(),
        1
    );
}

#[test]
fn a_file_that_changes_is_named_and_has_the_size_that_it_had() {
    for (act, size) in [
        (
            Box::new(|path: &Path| drop(fs::write(path, vec![8; 700_000])))
                as Box<dyn Fn(&Path) + Sync>,
            600_000,
        ),
        (
            Box::new(|path: &Path| {
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(1000)
                    .unwrap()
            }),
            600_000,
        ),
    ] {
        let (copied, folder) = disturbed(|source| act(&with_first_byte_read(source)));
        let copied = copied.unwrap();
        assert_eq!((copied.changed.len(), copied.vanished.len()), (1, 0));
        let name = copied.changed[0].file_name().unwrap();
        assert_eq!(
            fs::metadata(folder.path().join("target").join(name))
                .unwrap()
                .len(),
            size
        );
    }
}

#[test]
fn a_name_that_another_file_takes_is_gone() {
    let (copied, _folder) = disturbed(|source| {
        let current = with_first_byte_read(source);
        fs::write(source.join("other"), "other").unwrap();
        for entry in fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            if path != current && path.file_name().unwrap() != "other" {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
        }
    });
    // What is a folder by now is copied as one.
    assert_eq!(copied.unwrap().vanished, Vec::<PathBuf>::new());
}

#[test]
fn a_deep_tree_needs_no_more_open_files_than_a_flat_one() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    let mut at = rustix::fs::open(&source, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&at, c"x", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, c"x", rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let copied = copy_all(&source, &target, Vec::new(), 2).unwrap();
    assert_eq!(copied.entries, 3001);
}

#[test]
fn an_interruption_ends_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(source.join("a"), "a").unwrap();
    let raised = AtomicBool::new(true);
    let result = copy(
        &source,
        &target,
        &selection(Vec::new()),
        2.try_into().unwrap(),
        &|_, _| {},
        &raised,
    );
    assert!(matches!(result, Err(Error::Interrupted)));
}
