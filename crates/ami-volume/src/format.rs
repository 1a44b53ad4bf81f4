//! Making the image's file system: the twin of the volume's.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::{Error, Package};
use crate::loop_device::LoopDevice;
use crate::superblock::{DEFAULT_BLOCK, Kind, Superblock};
use crate::tools::{Finder, Surroundings, Tool};
use crate::workshop::Workshop;

/// The default of mke2fs.conf: one inode for so many bytes.
const BYTES_PER_INODE: u64 = 16 << 10;

/// mkfs.xfs since xfsprogs 6.0, and mkfs.btrfs (mkfs.btrfs(8), "minimum size"), in MB.
const LEAST: [(&str, u64); 2] = [("xfs", 300), ("btrfs", 110)];

/// The file system that an image gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// What kind it is.
    pub kind: Kind,
    /// Its name: `ext4`.
    pub name: &'static str,
    /// Empty for none.
    pub label: String,
    /// `None` for a new one.
    pub uuid: Option<String>,
    /// On btrfs, the path of the subvolume that holds the root, without a slash at its beginning; empty for the top level.
    pub subvolume: PathBuf,
}

/// The programs that make it.
#[derive(Debug, Clone)]
pub(crate) struct Makers {
    mkfs: Tool,
    /// tune2fs, or btrfs's own command.
    helper: Option<Tool>,
    btrfstune: Option<Tool>,
}

impl Makers {
    /// Whether a program of the volume is among them.
    pub(crate) fn need_volume(&self) -> bool {
        self.mkfs.is_on_volume()
            || [&self.helper, &self.btrfstune]
                .into_iter()
                .flatten()
                .any(Tool::is_on_volume)
    }

    /// btrfs gets another's UUID only after it was made.
    pub(crate) fn can_keep_uuid(&self, twin: &Twin) -> bool {
        !matches!(twin.kind, Kind::Btrfs) || self.btrfstune.is_some()
    }
}

impl Twin {
    /// The twin of an unknown file system is an ext4 with the defaults of mke2fs.
    pub(crate) fn of(source: Option<&Superblock>) -> Self {
        match source {
            Some(superblock) => Self {
                kind: superblock.kind.clone(),
                name: superblock.name(),
                label: superblock.label.clone(),
                uuid: Some(superblock.uuid.clone()),
                subvolume: PathBuf::new(),
            },
            None => Self {
                kind: Kind::Ext {
                    name: "ext4",
                    features: Vec::new(),
                    inode_size: 256,
                    block_size: DEFAULT_BLOCK,
                },
                name: "ext4",
                label: String::new(),
                uuid: None,
                subvolume: PathBuf::new(),
            },
        }
    }

    /// The largest file that it takes, in bytes. A smaller one may still be too large for an ext2 without `huge_file`.
    pub(crate) fn largest_file(&self) -> u64 {
        let Kind::Ext {
            features,
            block_size,
            ..
        } = &self.kind
        else {
            return i64::MAX.cast_unsigned();
        };
        // kernel, fs/ext4/super.c, ext4_max_size and ext4_max_bitmap_size; mke2fs's own choice has extents and huge files.
        let has = |feature| features.is_empty() || features.contains(&feature);
        let block = u64::from(*block_size);
        let blocks = if has("extent") {
            u64::from(u32::MAX)
        } else {
            let pointers = block / 4;
            12 + pointers + pointers.pow(2) + pointers.pow(3)
        };
        let counted = if has("huge_file") {
            (1 << 48) - 1
        } else {
            // In sectors of 512 bytes.
            u64::from(u32::MAX) / (block / 512)
        };
        blocks.min(counted).saturating_mul(block)
    }

    /// Finds the programs, and refuses sizes for which they fail.
    pub(crate) fn makers(&self, finder: &Finder<'_>, length: u64) -> Result<Makers, Error> {
        for (kind, least) in LEAST {
            if self.name == kind && length < least << 20 {
                return Err(Error::Least {
                    kind,
                    least: least + 2,
                });
            }
        }
        let (mkfs, helper, package) = match self.name {
            "xfs" => ("mkfs.xfs", None, "xfsprogs"),
            "btrfs" => ("mkfs.btrfs", Some("btrfs"), "btrfs-progs"),
            _ => ("mke2fs", Some("tune2fs"), "e2fsprogs"),
        };
        let package = Package {
            debian: package,
            red_hat: package,
        };
        let find = |tool| {
            finder
                .find(&[tool], package)?
                .ok_or(Error::MissingTool { tool, package })
        };
        Ok(Makers {
            helper: helper.map(find).transpose()?,
            mkfs: find(mkfs)?,
            // Without it the image gets a new UUID.
            btrfstune: finder.find(&["btrfstune"], package).ok().flatten(),
        })
    }

    /// Makes it on a device, for so many entries.
    pub(crate) fn make(
        &self,
        makers: &Makers,
        device: &LoopDevice,
        workshop: &Workshop<'_>,
        length: u64,
        entries: u64,
    ) -> Result<(), Error> {
        match &self.kind {
            Kind::Ext {
                name,
                features,
                inode_size,
                block_size,
            } => {
                let mut arguments = words(&["-q", "-F", "-t", name, "-I"]);
                arguments.push(inode_size.to_string().into());
                // A small image would get small blocks, and with them less room for large files and attributes.
                arguments.extend(words(&["-b", &block_size.to_string()]));
                // Inode tables are zeros already, so that nothing needs to be written, now or later.
                arguments.extend(words(&[
                    "-E",
                    "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                ]));
                if !features.is_empty() {
                    arguments.push("-O".into());
                    arguments.push(format!("none,{}", features.join(",")).into());
                }
                if !self.label.is_empty() {
                    arguments.extend(words(&["-L", &self.label]));
                }
                if let Some(uuid) = &self.uuid {
                    arguments.extend(words(&["-U", uuid]));
                }
                let inodes = entries + entries / 4 + 1000;
                if inodes > length / BYTES_PER_INODE && entries > length / BYTES_PER_INODE / 2 {
                    arguments.extend(words(&["-N", &inodes.to_string()]));
                }
                run_on(&makers.mkfs, arguments, device, workshop)?;
                if let Some(tune2fs) = &makers.helper {
                    // No checks by count or time: they would come unexpectedly at a boot.
                    run_on(tune2fs, words(&["-c", "0", "-i", "0"]), device, workshop)?;
                }
                Ok(())
            }
            Kind::Xfs { features } => self.make_xfs(&makers.mkfs, features, device, workshop),
            Kind::Btrfs => {
                let mut arguments = words(&["-q", "-f", "-K"]);
                if !self.label.is_empty() {
                    arguments.extend(words(&["-L", &self.label]));
                }
                run_on(&makers.mkfs, arguments, device, workshop)?;
                self.make_subvolume(makers, device, workshop)
            }
        }
    }

    fn make_xfs(
        &self,
        mkfs: &Tool,
        features: &[(&'static str, &'static str, bool)],
        device: &LoopDevice,
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        // A mkfs.xfs refuses options for features that are newer than itself, even to switch them off.
        let mut result = Ok(());
        for told in (0..=features.len()).rev() {
            let mut arguments = words(&["-q", "-f", "-K"]);
            if !self.label.is_empty() {
                arguments.extend(words(&["-L", &self.label]));
            }
            if let Some(uuid) = &self.uuid {
                arguments.extend(words(&["-m", &format!("uuid={uuid}")]));
            }
            for (index, (option, name, has)) in features.iter().enumerate() {
                if *has || index < told {
                    arguments.extend(words(&[option, &format!("{name}={}", u8::from(*has))]));
                }
            }
            result = run_on(mkfs, arguments, device, workshop);
            if !matches!(result, Err(Error::Tool { .. })) {
                break;
            }
        }
        result
    }

    fn make_subvolume(
        &self,
        makers: &Makers,
        device: &LoopDevice,
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        let Some(btrfs) = &makers.helper else {
            return Ok(());
        };
        if self.subvolume.as_os_str().is_empty() {
            return Ok(());
        }
        let root = workshop.image();
        rustix::mount::mount(device.path(), &root, "btrfs", MountFlags::empty(), c"")
            .map_err(Error::io("mount", &root))?;
        let path = root.join(&self.subvolume);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        // A program of the volume's does not see the workshop, and cannot do it.
        let run = |arguments: &[&OsStr]| {
            btrfs
                .run(&workshop.surroundings(), arguments, b"")
                .map(drop)
        };
        let result =
            run(&["subvolume".as_ref(), "create".as_ref(), path.as_os_str()]).and_then(|()| {
                run(&[
                    "subvolume".as_ref(),
                    "set-default".as_ref(),
                    path.as_os_str(),
                ])
            });
        rustix::mount::unmount(&root, UnmountFlags::empty())
            .map_err(Error::io("unmount", &root))?;
        result
    }

    /// Mounts it where the image is made.
    pub(crate) fn mount(&self, device: &LoopDevice, workshop: &Workshop<'_>) -> Result<(), Error> {
        let root = workshop.image();
        // An image that is not finished is thrown away: nothing needs to reach the disk in order before that. Kernels differ
        // in the options that they take.
        let attempts: &[(&str, &std::ffi::CStr)] = match self.name {
            "xfs" => &[("xfs", c"nouuid")],
            "btrfs" => &[("btrfs", c"nobarrier"), ("btrfs", c"")],
            name => &[
                (name, c"noinit_itable,barrier=0"),
                ("ext4", c"noinit_itable,barrier=0"),
                (name, c""),
            ],
        };
        let mut result = Ok(());
        for (fs_type, options) in attempts {
            result = rustix::mount::mount(
                device.path(),
                &root,
                *fs_type,
                MountFlags::NOATIME,
                *options,
            );
            if result.is_ok() {
                break;
            }
        }
        result.map_err(Error::io("mount the image on", &root))
    }

    /// Gives a btrfs the volume's UUID. This comes after its last use, because two mounted ones with one UUID would be mixed up.
    pub(crate) fn finish(
        &self,
        makers: &Makers,
        device: &LoopDevice,
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        match (&self.kind, &self.uuid, &makers.btrfstune) {
            (Kind::Btrfs, Some(uuid), Some(btrfstune)) => {
                // It refuses a UUID that another device has, and the volume has this one: so the other devices are hidden from it.
                let hidden = workshop.hide_devices_but(device.path(), device.number()?)?;
                let result = run_on(btrfstune, words(&["-f", "-U", uuid]), device, workshop);
                hidden.finish()?;
                result
            }
            _ => Ok(()),
        }
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Runs a program with a device as its last argument.
fn run_on(
    tool: &Tool,
    mut arguments: Vec<OsString>,
    device: &LoopDevice,
    workshop: &Workshop<'_>,
) -> Result<(), Error> {
    let mut run = |path: PathBuf, surroundings: &Surroundings<'_>| {
        arguments.push(path.into());
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        tool.run(surroundings, &arguments, b"").map(drop)
    };
    if !tool.is_on_volume() {
        return run(device.path().to_owned(), &workshop.surroundings());
    }
    let room = workshop.make_room()?;
    let name = device.path().file_name().unwrap_or_default();
    let path = room.show_device(name, device.number()?)?;
    room.run(|surroundings| run(path, surroundings))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    /// Needs root and loop devices.
    #[test]
    fn the_largest_file_is_what_the_kernel_takes() {
        for mkfs in [
            "mke2fs -t ext4 -b 1024",
            "mke2fs -t ext4 -b 4096",
            "mke2fs -t ext4 -b 1024 -O ^extent,^64bit",
            "mke2fs -t ext2 -b 1024",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let script = format!(
                "truncate -s 16M fs; export PATH=$PATH:/usr/sbin:/sbin; {mkfs} -q -F fs; mkdir mnt; mount -o loop fs mnt"
            );
            let status = Command::new("sh")
                .args(["-euc", &script])
                .current_dir(folder.path())
                .status();
            assert!(
                status.unwrap().success(),
                "this test needs root and loop devices"
            );
            let superblock =
                Superblock::read(File::open(folder.path().join("fs")).unwrap()).unwrap();
            let largest = Twin::of(superblock.as_ref()).largest_file();
            let file = File::create(folder.path().join("mnt/large")).unwrap();
            let results = [largest, largest + 1].map(|size| file.set_len(size));
            drop(file);
            let unmounted = Command::new("umount")
                .arg(folder.path().join("mnt"))
                .status();
            assert!(unmounted.unwrap().success());
            assert!(
                results[0].is_ok() && results[1].is_err(),
                "{mkfs} {largest} {results:?}"
            );
        }
    }
}
