//! Where a volume lies: its mount, its device, what is on that, the disk's partition table, and the mounts below it.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ami_mounts::{Mount, Mounts};
use rustix::fs::{FileType, major, makedev, minor};
use tracing::debug;

use crate::error::Error;
use crate::format::Twin;
use crate::partition::{PartitionType, SourcePartition, parent_disk, read_table};
use crate::selection::ALWAYS_EMPTY;
use crate::superblock::{Kind, Superblock};
use crate::workshop::{Workshop, make_device};

/// File systems whose mounts below the volume are copied along.
const LOCAL: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "jfs", "reiserfs", "btrfs"];

/// File systems of the kernel, without contents of their own: never copied, not even if all mounts are (kernel, /proc/filesystems, "nodev").
const MADE_UP: [&str; 22] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// A mount below the volume that is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutMount {
    /// Below the volume, with a slash at its beginning.
    pub path: PathBuf,
    /// Its type.
    pub fs_type: String,
}

/// What was found before the volume's contents are looked at.
pub(crate) struct Source {
    pub(crate) volume: PathBuf,
    pub(crate) mount: Mount,
    pub(crate) is_mount_point: bool,
    pub(crate) device: Option<(u32, u32)>,
}

impl Source {
    pub(crate) fn find(volume: &Path, mounts: &Mounts) -> Result<Self, Error> {
        let volume = fs::canonicalize(volume).map_err(Error::io("read", volume))?;
        let mount = mounts
            .of(&volume)
            .cloned()
            .ok_or_else(|| Error::io("find the mount of", &volume)(std::io::ErrorKind::NotFound))?;
        // btrfs mounts have a device number of their own without a device. What was mounted is the device.
        let device = match mount.device {
            (0, _) => fs::metadata(&mount.source)
                .ok()
                .filter(|m| m.file_type().is_block_device())
                .map(|m| (major(m.rdev()), minor(m.rdev()))),
            device => Some(device),
        };
        Ok(Self {
            is_mount_point: mount.mount_point == volume,
            volume,
            mount,
            device,
        })
    }

    pub(crate) fn superblock(&self, workshop: Option<&Workshop<'_>>) -> Option<Superblock> {
        let device = open_device(self.device?, workshop, "volume-device")?;
        match Superblock::read(device) {
            Ok(superblock) => superblock,
            Err(error) => {
                debug!(%error, "superblock");
                None
            }
        }
    }

    pub(crate) fn twin(&self, superblock: Option<&Superblock>) -> Twin {
        let mut twin = Twin::of(superblock);
        if superblock.is_none() {
            let kind = match self.mount.fs_type.as_str() {
                "xfs" => Some((
                    "xfs",
                    Kind::Xfs {
                        features: Vec::new(),
                    },
                )),
                "btrfs" => Some(("btrfs", Kind::Btrfs)),
                _ => None,
            };
            if let Some((name, kind)) = kind {
                twin = Twin { name, kind, ..twin };
            }
        }
        if self.is_mount_point && matches!(twin.kind, Kind::Btrfs) {
            let root = &self.mount.root;
            twin.subvolume = root.strip_prefix("/").unwrap_or(root).to_owned();
        }
        if !self.is_mount_point {
            // A folder of a file system is not that file system.
            twin.label.clear();
            twin.uuid = None;
        }
        twin
    }

    pub(crate) fn partition(&self, workshop: Option<&Workshop<'_>>) -> Option<SourcePartition> {
        if !self.is_mount_point {
            return None;
        }
        let sys = Path::new("/sys");
        let (disk, number) = parent_disk(sys, self.device?)?;
        let numbers = fs::read_to_string(sys.join("class/block").join(&disk).join("dev")).ok()?;
        let (major, minor) = numbers.trim().split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        match open_device(device, workshop, "volume-disk") {
            Some(mut disk) => read_table(&mut disk, number).ok().flatten(),
            None => Some(SourcePartition {
                kind: partition_by_udev(self.device?),
                id: None,
            }),
        }
    }

    /// The mounts below the volume that are copied, and those that are not.
    pub(crate) fn mounts_below(
        &self,
        mounts: &Mounts,
        all: bool,
    ) -> (Vec<Mount>, Vec<LeftOutMount>) {
        let mut along = Vec::new();
        let mut left_out = Vec::new();
        for mount in mounts.below(&self.volume) {
            let absolute = self.path_of(mount);
            if ALWAYS_EMPTY.iter().any(|empty| absolute.starts_with(empty)) {
                continue;
            }
            let fs_type = mount.fs_type.as_str();
            if LOCAL.contains(&fs_type) || (all && !MADE_UP.contains(&fs_type)) {
                along.push(mount.clone());
            } else if !left_out
                .iter()
                .any(|other: &LeftOutMount| absolute.starts_with(&other.path))
            {
                left_out.push(LeftOutMount {
                    path: absolute,
                    fs_type: fs_type.to_owned(),
                });
            }
        }
        // Below a mount that is not copied there is nothing.
        along.retain(|mount| {
            let path = self.path_of(mount);
            !left_out.iter().any(|other| path.starts_with(&other.path))
        });
        along.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        left_out.sort_by(|a, b| a.path.cmp(&b.path));
        (along, left_out)
    }

    /// Where a mount is below the volume, with a slash at the beginning.
    pub(crate) fn path_of(&self, mount: &Mount) -> PathBuf {
        let below = mount.mount_point.strip_prefix(&self.volume);
        Path::new("/").join(below.unwrap_or(&mount.mount_point))
    }
}

/// Opens a block device by its number; containers may not have its node, and root can make one.
fn open_device(device: (u32, u32), workshop: Option<&Workshop<'_>>, name: &str) -> Option<File> {
    let number = makedev(device.0, device.1);
    let uevent = fs::read_to_string(format!("/sys/dev/block/{}:{}/uevent", device.0, device.1))
        .unwrap_or_default();
    let node = uevent
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="));
    let mut path = Path::new("/dev").join(node.unwrap_or_default());
    let is_it = |m: fs::Metadata| m.file_type().is_block_device() && m.rdev() == number;
    if !path.metadata().is_ok_and(is_it) {
        path = workshop?.base().join(name);
        make_device(&path, FileType::BlockDevice, number).ok()?;
    }
    match File::open(&path) {
        Ok(file) => Some(file),
        Err(error) => {
            debug!(path = %path.display(), %error, "cannot open the device");
            None
        }
    }
}

/// What udev knows of a partition's table, for those who may not read the disk; gpt where nothing is known.
fn partition_by_udev(device: (u32, u32)) -> PartitionType {
    let path = format!("/run/udev/data/b{}:{}", device.0, device.1);
    let known = fs::read_to_string(path).unwrap_or_default();
    if known
        .lines()
        .any(|line| line == "E:ID_PART_ENTRY_SCHEME=dos")
    {
        PartitionType::Mbr
    } else {
        PartitionType::Gpt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let text = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n";
        Source {
            volume: "/".into(),
            mount: Mounts::parse(text).of(Path::new("/")).unwrap().clone(),
            is_mount_point: true,
            device: None,
        }
    }

    #[test]
    fn mounts_below_are_copied_by_their_type() {
        let text = b"\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 8:2 / /home rw - xfs /dev/sda2 rw
3 1 0:9 / /run rw - tmpfs tmpfs rw
4 3 0:8 / /run/lock rw - tmpfs tmpfs rw
5 1 0:7 / /srv/nfs rw - nfs4 host:/x rw
6 1 0:6 / /proc rw - proc proc rw
7 1 8:3 / /mnt/data rw - ext4 /dev/sda3 rw
8 1 0:5 / /srv/chroot/proc rw - proc proc rw
9 3 8:4 / /run/media/disk rw - ext4 /dev/sda4 rw
";
        let mounts = Mounts::parse(text);
        let names = |all| {
            let (along, left_out) = source().mounts_below(&mounts, all);
            let along: Vec<_> = along.iter().map(|m| source().path_of(m)).collect();
            let left_out: Vec<_> = left_out.into_iter().map(|m| m.path).collect();
            (along, left_out)
        };
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            names(false),
            (
                paths(&["/home"]),
                paths(&["/run", "/srv/chroot/proc", "/srv/nfs"])
            )
        );
        assert_eq!(
            names(true),
            (
                paths(&["/home", "/run", "/run/lock", "/run/media/disk", "/srv/nfs"]),
                paths(&["/srv/chroot/proc"])
            )
        );
    }

    #[test]
    fn an_unknown_file_system_becomes_ext4() {
        let twin = source().twin(None);
        assert_eq!((twin.name, twin.uuid), ("ext4", None));
    }
}
