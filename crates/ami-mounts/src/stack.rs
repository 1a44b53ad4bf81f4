//! What a file system stands on, as sysfs says (kernel, Documentation/ABI/testing/sysfs-block and stable/sysfs-block).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ami_files::Identity;
use rustix::fs::{major, minor};

use crate::mounts::{Mount, Mounts};

/// Block devices, the files whose contents loop devices have, and the file systems that these files, or what an overlay keeps, lie on.
#[derive(Debug)]
pub struct Stack<'m> {
    mounts: &'m Mounts,
    file_systems: HashSet<(u32, u32)>,
    blocks: HashSet<(u32, u32)>,
    files: HashSet<Identity>,
}

impl<'m> Stack<'m> {
    /// What a mount of these stands on. What cannot be read is passed over.
    pub fn of(mount: &Mount, mounts: &'m Mounts) -> Self {
        let mut stack = Self {
            mounts,
            file_systems: HashSet::new(),
            blocks: HashSet::new(),
            files: HashSet::new(),
        };
        stack.add_mount(mount);
        stack
    }

    /// Whether the file system with this number ([`Mount::device`]) is among them, which may be the mount's own.
    pub fn has_file_system(&self, device: (u32, u32)) -> bool {
        self.file_systems.contains(&device)
    }

    /// Whether the block device, or the file that a loop device shows, is among them.
    pub fn has_disk(&self, disk: &Metadata) -> bool {
        match disk.file_type().is_block_device() {
            true => self.blocks.contains(&number(disk.rdev())),
            false => self.files.contains(&(disk.dev(), disk.ino())),
        }
    }

    fn add_mount(&mut self, mount: &Mount) {
        if !self.file_systems.insert(mount.device) {
            return;
        }
        // btrfs has a device number of its own; what was mounted is the device.
        let block = match mount.device {
            (0, _) => fs::metadata(&mount.source)
                .ok()
                .filter(|source| source.file_type().is_block_device())
                .map(|source| number(source.rdev())),
            device => Some(device),
        };
        if let Some(block) = block {
            self.add_block(block);
        }
        if let Some(upper) = &mount.upper {
            self.add_mount_of(upper);
        }
    }

    fn add_mount_of(&mut self, path: &Path) {
        if let Some(mount) = self.mounts.of(path) {
            self.add_mount(mount);
        }
    }

    fn add_block(&mut self, block: (u32, u32)) {
        if !self.blocks.insert(block) {
            return;
        }
        let Ok(folder) = fs::canonicalize(format!("/sys/dev/block/{}:{}", block.0, block.1)) else {
            return;
        };
        if folder.join("partition").exists()
            && let Some(disk) = folder.parent().and_then(number_of)
        {
            self.add_block(disk);
        }
        for slave in fs::read_dir(folder.join("slaves")).into_iter().flatten() {
            if let Some(number) = slave.ok().and_then(|slave| number_of(&slave.path())) {
                self.add_block(number);
            }
        }
        if let Ok(behind) = fs::read(folder.join("loop/backing_file")) {
            let behind = behind.strip_suffix(b"\n").unwrap_or(&behind);
            self.add_backing(Path::new(OsStr::from_bytes(behind)));
        }
    }

    /// The file or device whose contents a loop device has.
    fn add_backing(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(device) if device.file_type().is_block_device() => {
                self.add_block(number(device.rdev()));
            }
            found => {
                self.files
                    .extend(found.map(|file| (file.dev(), file.ino())));
                // Also of a file whose name is gone: it is still there.
                self.add_mount_of(path);
            }
        }
    }
}

fn number(device: u64) -> (u32, u32) {
    (major(device), minor(device))
}

/// The number of the device that a folder of /sys describes.
fn number_of(folder: &Path) -> Option<(u32, u32)> {
    let text = fs::read_to_string(folder.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
