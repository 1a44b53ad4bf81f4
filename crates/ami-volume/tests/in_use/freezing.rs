//! Frozen volumes, and that they are thawed whatever happens.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ami_mounts::mounted_from;
use ami_volume::{Error, Event, Freeze, Freezing, InUse};

use crate::other::{Other, while_writing};
use crate::rig::{Volume, btrfs, ext4, fill, image_of, in_image, request, shell};

/// The whole numbers in both files of an image.
fn numbers(root: &Path, first: &str, second: &str) -> (usize, usize) {
    let read = |path: &str| {
        let bytes = fs::read(root.join(path)).unwrap();
        let (numbers, _) = bytes.as_chunks::<4>();
        let in_order = numbers.iter().enumerate();
        assert!(
            in_order
                .into_iter()
                .all(|(index, bytes)| u32::from_le_bytes(*bytes) as usize == index)
        );
        numbers.len()
    };
    (read(first), read(second))
}

fn freezing() -> Freezing {
    Freezing {
        limit: Duration::from_secs(60),
        ours: Vec::new(),
    }
}

pub fn frozen_volumes() {
    for volume in [ext4(), Volume::new("320M", "mkfs.xfs -q"), btrfs()] {
        let destination = tempfile::tempdir().unwrap();
        let path = volume.path();
        fill(&path);
        let in_use = InUse {
            freeze: Some(freezing()),
            second_pass: true,
            ..InUse::default()
        };
        let is_frozen = AtomicBool::new(false);
        let event = |event: Event<'_>| match event {
            Event::Frozen => is_frozen.store(true, Ordering::Relaxed),
            Event::SecondPass => panic!("nothing can have changed"),
            _ => {}
        };
        let (first, second) = (path.join("a/first"), path.join("b/second"));
        let made = while_writing("numbers", &first, &second, || {
            image_of(
                request(&path, destination.path(), in_use),
                &event,
                &|_, _| {},
            )
            .unwrap()
        });
        assert!(is_frozen.into_inner());
        assert_eq!(
            (made.copied.changed, made.copied.vanished),
            (vec![], vec![])
        );
        let (first, second) = in_image(destination.path(), |root| {
            numbers(root, "a/first", "b/second")
        });
        assert!(
            second >= 1000 && (first == second || first == second + 1),
            "{first} {second}"
        );
        // It is thawed.
        fs::write(path.join("after"), "x").unwrap();
    }
}

/// Whether something can be written to a volume; waits until it can.
fn write_to(volume: &Path) {
    fs::write(volume.join("written"), "x").unwrap();
}

/// Whether a volume is frozen, without waiting.
fn is_frozen(volume: &Path) -> bool {
    let child = Command::new("touch").arg(volume.join("tried")).spawn();
    let mut child = child.unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let waits = child.try_wait().unwrap().is_none();
    // If it waits for the volume, a signal ends it only when it is thawed.
    drop(std::thread::spawn(move || child.wait()));
    waits
}

pub fn kill_while_frozen() {
    let volume = ext4();
    let path = volume.path();
    let mut other = Other::start(&["freeze", path.to_str().unwrap(), "600000"]);
    assert_eq!(other.line(), "Ok(())");
    assert!(is_frozen(&path));
    other.signal("KILL");
    write_to(&path);
    // The other way round: without its second process, it still thaws.
    let mut other = Other::start(&["freeze", path.to_str().unwrap(), "600000"]);
    assert_eq!(other.line(), "Ok(())");
    let keepers = other.keepers("thaw");
    assert_eq!(keepers.len(), 1);
    let _ = shell(&format!("kill -KILL {}", keepers[0]));
    assert!(is_frozen(&path));
    // What another program has frozen is not thawed.
    let mut third = Other::start(&["freeze", path.to_str().unwrap(), "600000"]);
    assert!(
        third
            .line()
            .contains("is frozen already, by another program")
    );
    drop(third);
    assert!(is_frozen(&path));
    other.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(other.line(), "Ok(())");
    write_to(&path);
}

pub fn limit_of_freeze() {
    let volume = ext4();
    let path = volume.path();
    let mut other = Other::start(&["freeze", path.to_str().unwrap(), "1000"]);
    assert_eq!(other.line(), "Ok(())");
    other.signal("STOP");
    write_to(&path);
    other.signal("CONT");
    other.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(
        other.line(),
        format!(
            "Err(\"{} was thawed before its copy was complete: it may be frozen for a limited time only\")",
            path.display()
        )
    );
    // A copy ends with an error then.
    fill(&path);
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        freeze: Some(Freezing {
            limit: Duration::from_millis(300),
            ours: Vec::new(),
        }),
        ..InUse::default()
    };
    let event = |event: Event<'_>| {
        if matches!(event, Event::Frozen) {
            std::thread::sleep(Duration::from_millis(400));
        }
    };
    let made = image_of(
        request(&path, destination.path(), in_use),
        &event,
        &|_, _| {},
    );
    assert!(matches!(made, Err(Error::Thawed { volume }) if volume == path));
}

pub fn needed_volumes() {
    let volume = ext4();
    let path = volume.path();
    let freeze = |ours: &[PathBuf]| {
        let limit = Duration::from_secs(60);
        Freeze::new(
            std::slice::from_ref(&path),
            ours,
            limit,
            &AtomicBool::new(false),
        )
    };
    let needed = |result: Result<Freeze, Error>| match result {
        Err(Error::Needed { needed, .. }) => needed,
        other => panic!("{other:?}"),
    };
    // What does not exist yet.
    let log = path.join("log/file");
    assert_eq!(needed(freeze(std::slice::from_ref(&log))), log);
    // A file that is open to write, a read-only one.
    let open = File::create(path.join("open")).unwrap();
    assert_eq!(needed(freeze(&[])), path.join("open"));
    drop(open);
    let open = File::open(path.join("open")).unwrap();
    freeze(&[]).unwrap().thaw().unwrap();
    drop(open);
    // A file system in a file on it; and an overlay that writes to it.
    let _ = shell(&format!(
        "cd '{}'; mkdir inner upper work over; truncate -s 8M fs; mke2fs -q -F fs; mount -o loop fs inner
        mount -t overlay -o lowerdir=inner,upperdir=$PWD/upper,workdir=$PWD/work overlay over",
        path.display()
    ));
    let found = [path.join("inner"), path.join("over")]
        .map(|ours| (needed(freeze(std::slice::from_ref(&ours))), ours));
    let _ = shell(&format!(
        "cd '{}'; umount over; umount inner",
        path.display()
    ));
    for (found, expected) in found {
        assert_eq!(found, expected);
    }
    // The one that we run from.
    let root = Freeze::new(
        &["/".into()],
        &[],
        Duration::from_secs(60),
        &AtomicBool::new(false),
    );
    assert_eq!(needed(root), Path::new("/"));
    freeze(&[]).unwrap().thaw().unwrap();
}

pub fn frozen_device() {
    for volume in [ext4(), btrfs()] {
        let device = volume.device();
        assert_eq!(mounted_from(&device).unwrap(), [volume.path()]);
        let limit = Duration::from_secs(60);
        let freeze = Freeze::of_device(&device, &[], limit, &AtomicBool::new(false)).unwrap();
        assert!(is_frozen(&volume.path()));
        freeze.thaw().unwrap();
        write_to(&volume.path());
    }
    // By way of a loop device over the device.
    let mount =
        "below=$(losetup --find --show file); mount -o loop $below mnt; losetup --detach $below";
    let volume = Volume::mounted("64M", "mke2fs -q -F -t ext4", mount);
    let over = volume.device();
    let below = shell(&format!(
        "losetup --noheadings --output BACK-FILE '{}'",
        over.display()
    ));
    assert_eq!(mounted_from(Path::new(&below)).unwrap(), [volume.path()]);
}
