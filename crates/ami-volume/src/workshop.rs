//! The place where an image is made: mounts that nobody else sees and that the kernel takes away with the thread.
//!
//! ```text
//! BASE/           a tmpfs, over a folder that is empty
//!   img-mnt/      the image's file system
//!   volume/       the volume, read-only and without access times, with the mounts that are copied along
//!   tools/        the same again, as the root directory of programs that run from the volume
//!     dev/        a tmpfs with null, zero and what these programs are given
//!     proc/       this machine's
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, makedev};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use tracing::debug;

use crate::error::Error;
use crate::kernel;

/// Folders that may be covered if nothing is in them; with the first one the image is mounted where the older suite mounts it.
const EMPTY_FOLDERS: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];

/// Folders that the kernel makes to be mounted on.
const KERNELS_FOLDERS: [&str; 3] = ["/sys/fs/pstore", "/sys/kernel/debug", "/sys/kernel/config"];

/// Devices of every root directory: name, major and minor number (kernel, Documentation/admin-guide/devices.txt).
pub(crate) const DEVICES: [(&str, u32, u32); 4] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("tty", 5, 0),
    ("console", 5, 1),
];

/// The mounts of one run. They belong to the thread that made them.
#[derive(Debug)]
pub(crate) struct Workshop {
    base: PathBuf,
}

impl Workshop {
    /// Gives the calling thread mounts of its own and sets up the folders.
    pub(crate) fn new() -> Result<Self, Error> {
        kernel::unshare_mounts().map_err(|source| Error::NotAllowed {
            operation: "make mounts of its own (unshare)",
            hint: "a container needs the capability CAP_SYS_ADMIN",
            source,
        })?;
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .map_err(|e| Error::NotAllowed {
            operation: "make mounts private",
            hint: "in a chroot whose root directory is no mount point, bind-mount it onto itself first",
            source: e.into(),
        })?;
        let base = PathBuf::from(base_folder());
        rustix::mount::mount(
            "ec2-bundle-vol",
            &base,
            "tmpfs",
            MountFlags::NOSUID,
            c"mode=0755",
        )
        .map_err(Error::io("mount a tmpfs on", &base))?;
        debug!(base = %base.display(), "private mounts");
        let workshop = Self { base };
        for folder in [workshop.image(), workshop.volume(), workshop.tools()] {
            fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        Ok(workshop)
    }

    /// Where files and device nodes may be made that go away with the run.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Where the image's file system is mounted.
    pub(crate) fn image(&self) -> PathBuf {
        self.base.join("img-mnt")
    }

    /// Where the volume is seen.
    pub(crate) fn volume(&self) -> PathBuf {
        self.base.join("volume")
    }

    /// The root directory of programs that run from the volume.
    pub(crate) fn tools(&self) -> PathBuf {
        self.base.join("tools")
    }

    /// Shows the volume, and the mounts below it that are copied along (paths relative to it), read-only.
    pub(crate) fn show_volume(&self, volume: &Path, along: &[PathBuf]) -> Result<(), Error> {
        let view = self.volume();
        show(volume, &view)?;
        for path in along {
            let target = view.join(path);
            // Below a mount that is not copied there is nothing to mount on.
            if target.is_dir() {
                show(&volume.join(path), &target)?;
            }
        }
        let tools = self.tools();
        rustix::mount::mount_bind_recursive(&view, &tools).map_err(Error::io("mount", volume))?;
        let dev = tools.join("dev");
        if dev.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            rustix::mount::mount(
                "ec2-bundle-vol",
                &dev,
                "tmpfs",
                MountFlags::NOSUID,
                c"mode=0755",
            )
            .map_err(Error::io("mount a tmpfs on", &dev))?;
            for (name, major, minor) in &DEVICES[..2] {
                make_device(
                    &dev.join(name),
                    FileType::CharacterDevice,
                    makedev(*major, *minor),
                )?;
            }
        }
        let proc = tools.join("proc");
        if proc.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            rustix::mount::mount_bind("/proc", &proc).map_err(Error::io("mount", &proc))?;
        }
        Ok(())
    }

    /// Makes a block device known to tools that run from the volume, and gives its path there.
    pub(crate) fn show_device(&self, name: &OsStr, number: u64) -> Result<PathBuf, Error> {
        let path = Path::new("dev").join(name);
        let node = self.tools().join(&path);
        if !node.exists() {
            make_device(&node, FileType::BlockDevice, number)?;
        }
        Ok(Path::new("/").join(path))
    }

    /// Makes a file known to tools that run from the volume, and gives its path there.
    pub(crate) fn show_file(&self, name: &str, file: &Path) -> Result<PathBuf, Error> {
        let path = Path::new("dev").join(name);
        let target = self.tools().join(&path);
        let _ = fs::File::create(&target).map_err(Error::io("create", &target))?;
        rustix::mount::mount_bind(file, &target).map_err(Error::io("mount", &target))?;
        Ok(Path::new("/").join(path))
    }

    /// Takes away what [`Workshop::show_file`] has shown.
    pub(crate) fn hide_file(&self, name: &str) -> Result<(), Error> {
        let target = self.tools().join("dev").join(name);
        rustix::mount::unmount(&target, UnmountFlags::empty())
            .map_err(Error::io("unmount", &target))
    }

    /// Shows programs of this machine no devices but null and this one.
    pub(crate) fn hide_devices_but(
        &self,
        path: &Path,
        number: u64,
    ) -> Result<HiddenDevices, Error> {
        let dev = Path::new("/dev");
        rustix::mount::mount(
            "ec2-bundle-vol",
            dev,
            "tmpfs",
            MountFlags::NOSUID,
            c"mode=0755",
        )
        .map_err(Error::io("mount a tmpfs on", dev))?;
        let hidden = HiddenDevices;
        let (name, major, minor) = DEVICES[0];
        make_device(
            &dev.join(name),
            FileType::CharacterDevice,
            makedev(major, minor),
        )?;
        if path.starts_with(dev) {
            make_device(path, FileType::BlockDevice, number)?;
        }
        Ok(hidden)
    }

    /// Takes the volume away: nothing of this run uses it any longer.
    pub(crate) fn finish(self) -> Result<(), Error> {
        rustix::mount::unmount(&self.base, UnmountFlags::DETACH)
            .map_err(Error::io("unmount", &self.base))
    }
}

/// What [`Workshop::hide_devices_but`] has covered; the kernel uncovers it with the thread.
#[derive(Debug)]
pub(crate) struct HiddenDevices;

impl HiddenDevices {
    /// Uncovers it.
    pub(crate) fn finish(self) -> Result<(), Error> {
        rustix::mount::unmount("/dev", UnmountFlags::empty())
            .map_err(Error::io("unmount", Path::new("/dev")))
    }
}

/// Mounts a folder a second time, read-only and without access times.
fn show(folder: &Path, target: &Path) -> Result<(), Error> {
    rustix::mount::mount_bind(folder, target).map_err(Error::io("mount", folder))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOATIME;
    rustix::mount::mount_remount(target, flags, c"").map_err(Error::io("mount read-only", folder))
}

/// Makes a device node that its owner may read and write.
pub(crate) fn make_device(path: &Path, kind: FileType, number: u64) -> Result<(), Error> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, number)
        .map_err(Error::io("create the device", path))
}

fn base_folder() -> &'static str {
    let is_empty = |path: &&str| {
        fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
            && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    };
    EMPTY_FOLDERS
        .into_iter()
        .find(|path| is_empty(path))
        .or_else(|| {
            KERNELS_FOLDERS
                .into_iter()
                .find(|path| Path::new(path).is_dir())
        })
        .unwrap_or(EMPTY_FOLDERS[0])
}
