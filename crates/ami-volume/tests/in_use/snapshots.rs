//! Snapshots of btrfs, and that they go whatever happens.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ami_volume::{Event, InUse, Request};

use crate::other::{Other, while_writing};
use crate::rig::{btrfs, fill, image_of, in_image, request, shell};

pub fn one_moment() {
    let volume = btrfs();
    let path = volume.path();
    fill(&path);
    let _ = shell(&format!(
        "cd '{0}'; btrfs -q subvolume create a/inner; btrfs -q subvolume create a/inner/most; btrfs -q subvolume create left-out;
        echo most > a/inner/most/file; echo inner > a/inner/file; echo no > left-out/file; ln a/inner/file a/inner/link",
        path.display()
    ));
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        snapshots: true,
        second_pass: true,
        ..InUse::default()
    };
    let request = Request {
        excludes: vec!["/left-out".to_owned()],
        ..request(&path, destination.path(), in_use)
    };
    let count = Mutex::new(0);
    let event = |event: Event<'_>| {
        if let Event::Snapshots(number) = event {
            *count.lock().unwrap() = number;
        }
    };
    // What is written to files is in a snapshot only as far as it had reached the disk, of each file by itself; names are of one moment.
    let (first, second) = (path.join("a/first"), path.join("b/second"));
    let made = while_writing("names", &first, &second, || {
        image_of(request, &event, &|_, _| {}).unwrap()
    });
    assert_eq!(count.into_inner().unwrap(), 3);
    assert_eq!(
        (made.copied.changed, made.copied.vanished),
        (vec![], vec![])
    );
    in_image(destination.path(), |root| {
        let [first, second] = ["a/first", "b/second"].map(|folder| {
            let names: Vec<_> = fs::read_dir(root.join(folder)).unwrap().collect();
            let [Ok(only)] = &names[..] else {
                panic!("{names:?}")
            };
            let number = only.file_name().into_string().unwrap();
            number.parse::<u32>().unwrap()
        });
        assert!(
            second >= 1000 && (first == second || first == second + 1),
            "{first} {second}"
        );
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(
            (read("a/inner/most/file"), read("a/inner/file")),
            ("most\n".into(), "inner\n".into())
        );
        let number = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
        assert_eq!(number("a/inner/file"), number("a/inner/link"));
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a", "b", "dev", "etc", "mnt", "proc", "sys"]);
    });
    assert_eq!(subvolumes(&path), 3);
    assert!(!has_holder(&path));
}

fn subvolumes(path: &Path) -> usize {
    shell(&format!("btrfs subvolume list '{}'", path.display()))
        .lines()
        .count()
}

fn has_holder(path: &Path) -> bool {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .into_iter()
        .any(|name| name.to_string_lossy().starts_with(".ec2-ami-tools"))
}

pub fn key_in_snapshot() {
    let volume = btrfs();
    let path = volume.path();
    fill(&path);
    fs::hard_link(path.join("key"), path.join("etc/other-name")).unwrap();
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        snapshots: true,
        ..InUse::default()
    };
    let _ = image_of(
        request(&path, destination.path(), in_use),
        &|_| {},
        &|_, _| {},
    )
    .unwrap();
    in_image(destination.path(), |root| {
        assert!(root.join("etc/much").exists());
        assert!(!root.join("key").exists() && !root.join("etc/other-name").exists());
    });
}

pub fn kill_with_snapshots() {
    let volume = btrfs();
    let path = volume.path();
    fill(&path);
    let _ = shell(&format!(
        "btrfs -q subvolume create '{}/a/inner'",
        path.display()
    ));
    let destination = tempfile::tempdir().unwrap();
    let copy = |arguments: &Path| {
        let mut other =
            Other::start(&["copy", path.to_str().unwrap(), arguments.to_str().unwrap()]);
        assert_eq!(other.line(), "2");
        assert_eq!(subvolumes(&path), 3);
        other
    };
    let other = copy(destination.path());
    other.signal("KILL");
    while has_holder(&path) || !destination.path().join("after").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(subvolumes(&path), 1);
    // Killed together with its second process: the next run deletes them.
    let second = tempfile::tempdir().unwrap();
    let other = copy(second.path());
    other.signal("STOP");
    for keeper in other.keepers("") {
        let _ = shell(&format!("kill -KILL {keeper}"));
    }
    drop(other);
    assert_eq!((subvolumes(&path), has_holder(&path)), (3, true));
    let third = tempfile::tempdir().unwrap();
    let in_use = InUse {
        snapshots: true,
        ..InUse::default()
    };
    let _ = image_of(request(&path, third.path(), in_use), &|_| {}, &|_, _| {}).unwrap();
    assert_eq!((subvolumes(&path), has_holder(&path)), (1, false));
}
