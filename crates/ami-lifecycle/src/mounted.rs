//! Whether a block device, or a file behind a loop device, is mounted so that it can be written to.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// How deep devices lie upon each other at most: partitions, RAID, LUKS, LVM.
const DEEPEST: usize = 8;

/// The folder that a disk, or something on it, is mounted on so that it can be written to.
pub(crate) fn mounted_for_writing(path: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(path).ok()?;
    let loops = Loop::all();
    let first = match metadata.file_type().is_block_device() {
        true => vec![number(metadata.rdev())],
        false => {
            let is_it = |found: &&Loop| found.behind.is_file() && same(&found.behind, &metadata);
            let of_it = loops.iter().filter(is_it);
            of_it.map(|found| found.device.clone()).collect()
        }
    };
    let mut devices = BTreeSet::new();
    for device in first {
        add_with_users(&device, &loops, DEEPEST, &mut devices);
    }
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let is_on = |mount: &Mount<'_>| {
        devices.contains(mount.device)
            // btrfs shows devices of its own.
            || fs::metadata(mount.source).is_ok_and(|source| {
                source.file_type().is_block_device() && devices.contains(&number(source.rdev()))
            })
    };
    writable(&mounts, is_on)
}

/// The folder of the first writable mount that is on the device. Names of other mounts may be any bytes.
fn writable(mounts: &[u8], is_on: impl Fn(&Mount<'_>) -> bool) -> Option<PathBuf> {
    let mounts = String::from_utf8_lossy(mounts);
    mounts.lines().find_map(|line| {
        let mount = Mount::parse(line)?;
        (mount.is_writable && is_on(&mount)).then(|| PathBuf::from(mount.folder))
    })
}

fn number(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A loop device (kernel, Documentation/ABI/testing/sysfs-block-loop).
struct Loop {
    /// `MAJOR:MINOR`.
    device: String,
    /// The file or device whose contents it has.
    behind: Metadata,
}

impl Loop {
    fn all() -> Vec<Self> {
        let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let loops = entries.filter_map(|entry| {
            let behind = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            let behind = fs::metadata(behind.trim_end_matches('\n')).ok()?;
            let device = fs::read_to_string(entry.path().join("dev")).ok()?;
            let device = device.trim().to_owned();
            Some(Self { device, behind })
        });
        loops.collect()
    }

    fn is_of(&self, device: &str) -> bool {
        self.behind.file_type().is_block_device() && number(self.behind.rdev()) == device
    }
}

/// A device, its partitions, and what is made of them (kernel, Documentation/ABI/testing/sysfs-block).
fn add_with_users(device: &str, loops: &[Loop], deepest: usize, devices: &mut BTreeSet<String>) {
    if deepest == 0 || !devices.insert(device.to_owned()) {
        return;
    }
    let folder = Path::new("/sys/dev/block").join(device);
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let holders = entries(&folder.join("holders"));
    let partitions = entries(&folder).filter(|entry| entry.path().join("partition").is_file());
    for user in holders.chain(partitions) {
        if let Ok(number) = fs::read_to_string(user.path().join("dev")) {
            add_with_users(number.trim(), loops, deepest - 1, devices);
        }
    }
    for user in loops.iter().filter(|found| found.is_of(device)) {
        add_with_users(&user.device, loops, deepest - 1, devices);
    }
}

/// A line of mountinfo (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    /// `MAJOR:MINOR`.
    device: &'a str,
    folder: &'a str,
    source: &'a str,
    /// Whether the file system is, whatever this one mount is.
    is_writable: bool,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let device = mount.nth(2)?;
        let folder = mount.nth(1)?;
        let mut file_system = file_system.split(' ');
        let source = file_system.nth(1)?;
        let is_writable = file_system.next()?.split(',').any(|option| option == "rw");
        Some(Self {
            device,
            folder,
            source,
            is_writable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_writable_if_its_file_system_is() {
        let line =
            "36 35 98:0 /mnt1 /mnt/a ro,noatime master:1 - ext4 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        let expected = Mount {
            device: "98:0",
            folder: "/mnt/a",
            source: "/dev/root",
            is_writable: true,
        };
        assert_eq!(mount, expected);
        assert!(
            !Mount::parse(&line.replace("rw,", "ro,"))
                .unwrap()
                .is_writable
        );
        assert_eq!(Mount::parse("36 35 98:0 /mnt1"), None);
    }

    #[test]
    fn a_mount_is_found_beside_others_with_names_that_are_no_text() {
        let mounts = b"35 1 8:1 / /mnt/caf\xE9 rw - vfat /dev/sda1 rw\n36 1 98:0 / /mnt/a rw - ext4 /dev/sdb rw\n";
        let found = writable(mounts, |mount| mount.device == "98:0");
        assert_eq!(found, Some(PathBuf::from("/mnt/a")));
        assert_eq!(writable(mounts, |mount| mount.device == "98:1"), None);
    }

    #[test]
    fn a_plain_file_is_not_mounted() {
        assert_eq!(mounted_for_writing(Path::new("/proc/self/exe")), None);
    }
}
