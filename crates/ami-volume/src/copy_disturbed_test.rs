//! Copies of what changes meanwhile, of deep trees, and copies that are interrupted. Needs root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Mode;

use super::Copied;
use super::tests::{copy, copy_all, pool, selection};
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
    let copied = copy(
        &source,
        &target,
        &selection(Vec::new()),
        &pool(1),
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
fn finding_07_a_folder_that_is_removed_while_it_is_listed_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(source.join("other"), "other").unwrap();
    for index in 0..2000 {
        // So that the names need several reads.
        fs::write(source.join(format!("sub/{index:0100}")), "x").unwrap();
    }
    let removed = AtomicBool::new(false);
    let progress = |_, _| {
        let has_begun = target
            .join("sub")
            .read_dir()
            .is_ok_and(|mut names| names.next().is_some());
        if has_begun && !removed.swap(true, Ordering::Relaxed) {
            fs::remove_dir_all(source.join("sub")).unwrap();
        }
    };
    let copied = copy(
        &source,
        &target,
        &selection(Vec::new()),
        &pool(1),
        &progress,
        &AtomicBool::new(false),
    );
    let copied = copied.unwrap();
    assert!(removed.load(Ordering::Relaxed));
    assert!(
        copied.vanished.contains(&PathBuf::from("/sub")),
        "{:?}",
        &copied.vanished[..3]
    );
    assert_eq!(fs::read_to_string(target.join("other")).unwrap(), "other");
}

#[test]
fn finding_07_a_name_that_is_replaced_all_the_time_is_never_missing() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("name"), "a").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let new = folder.path().join("new");
                fs::write(&new, "a").unwrap();
                fs::rename(&new, source.join("name")).unwrap();
            }
        });
        for round in 0..300 {
            let target = folder.path().join(format!("target{round}"));
            fs::create_dir(&target).unwrap();
            let copied = copy_all(&source, &target, Vec::new(), 1).unwrap();
            assert_eq!(copied.vanished, Vec::<PathBuf>::new());
            assert_eq!(fs::read_to_string(target.join("name")).unwrap(), "a");
        }
        done.store(true, Ordering::Relaxed);
        replacing.join().unwrap();
    });
}

#[test]
fn finding_07_a_name_that_is_now_a_file_and_now_something_else_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("folder/inner")).unwrap();
    fs::write(source.join("file"), "a").unwrap();
    std::os::unix::fs::symlink("file", source.join("link")).unwrap();
    let fifo = source.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let names = ["folder", "file", "link", "fifo", "socket"];
            for turn in 0.. {
                let [a, b] = [turn % 5, (turn / 5) % 5].map(|at: usize| source.join(names[at]));
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let copied: Result<Vec<Copied>, Error> = (0..300)
            .map(|round| {
                let target = folder.path().join(format!("target{round}"));
                fs::create_dir(&target).unwrap();
                copy_all(&source, &target, Vec::new(), 2)
            })
            .collect();
        // Before anything is asserted: the other thread does not end by itself.
        done.store(true, Ordering::Relaxed);
        swapping.join().unwrap();
        let _ = copied.unwrap();
    });
}

#[test]
fn finding_07_paths_longer_than_a_system_call_takes_are_copied_with_their_links() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    let open = |at: &rustix::fd::OwnedFd, name: &str| {
        rustix::fs::openat(at, name, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let root = |path: &Path| rustix::fs::open(path, rustix::fs::OFlags::DIRECTORY, Mode::empty());
    let name = "n".repeat(200);
    let mut at = root(&source).unwrap();
    for _ in 0..50 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = open(&at, &name);
    }
    // More names than one folder has, so that whichever is met first, others are links to it.
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&at, "a", flags, Mode::RUSR).unwrap();
    let _ = rustix::io::write(&file, b"deep").unwrap();
    for name in ["b", "c"] {
        rustix::fs::linkat(&at, "a", &at, name, rustix::fs::AtFlags::empty()).unwrap();
    }
    let copied = copy_all(&source, &target, Vec::new(), 2).unwrap();
    assert_eq!(copied.vanished, Vec::<PathBuf>::new());
    let mut at = root(&target).unwrap();
    for _ in 0..50 {
        at = open(&at, &name);
    }
    let stats = ["a", "b", "c"]
        .map(|name| rustix::fs::statat(&at, name, rustix::fs::AtFlags::empty()).unwrap());
    assert_eq!(stats.map(|stat| (stat.st_size, stat.st_nlink)), [(4, 3); 3]);
    assert_eq!(stats[0].st_ino, stats[2].st_ino);
}

#[test]
fn finding_22_a_writer_that_sets_the_time_of_writing_back_is_named() {
    let (copied, _folder) = disturbed(|source| {
        let path = with_first_byte_read(source);
        let before = path.metadata().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let changed = |m: &fs::Metadata| std::os::unix::fs::MetadataExt::ctime_nsec(m);
        while changed(&path.metadata().unwrap()) == changed(&before) {
            std::os::unix::fs::FileExt::write_all_at(&file, b"another", 5000).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
    });
    let copied = copied.unwrap();
    assert_eq!((copied.changed.len(), copied.vanished.len()), (1, 0));
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
        &pool(2),
        &|_, _| {},
        &raised,
    );
    assert!(matches!(result, Err(Error::Interrupted)));
}

#[test]
fn names_of_a_file_that_was_made_just_now_stay_one_file() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let [source, target] =
            ["source", "target"].map(|name| folder.path().join(format!("{name}{round}")));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(source.join("a"), "a").unwrap();
        fs::hard_link(source.join("a"), source.join("b")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, source.join("c"), Mode::RWXU).unwrap();
        fs::hard_link(source.join("c"), source.join("d")).unwrap();
        let _ = copy_all(&source, &target, Vec::new(), 2).unwrap();
        let number = |name: &str| {
            let metadata = fs::symlink_metadata(target.join(name)).unwrap();
            std::os::unix::fs::MetadataExt::ino(&metadata)
        };
        assert_eq!(number("a"), number("b"), "{round}");
        assert_eq!(number("c"), number("d"), "{round}");
    }
}
