//! The workshop in which an image is made: mounts that no other process sees, and that the kernel removes when the thread ends.
//!
//! ```text
//! BASE/           a tmpfs, over a folder that is empty
//!   img-mnt/      the image's file system
//!   volume/       the volume, read-only and without access times, with the mounts that are copied along
//!   room/         a tmpfs with null, zero and what a program of the volume is given, while it runs: its /dev
//! ```

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ami_mounts::{Mount, Mounts};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use tracing::debug;

use crate::error::{Error, Need};
use crate::inside;
use crate::kernel;
use crate::snapshots::{Shown, Snapshots};
use crate::tools::Surroundings;

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

/// How often a mount is looked for if its folder is renamed each time.
const MOST_LOOKS: u32 = 1000;

/// The mounts of one run. They belong to the thread that made them.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    base: PathBuf,
    interrupted: &'a AtomicBool,
}

/// Which mounts below the volume are shown.
#[derive(Debug)]
pub(crate) struct ShownMounts {
    /// Those that are not there any more.
    pub(crate) missing: Vec<Mount>,
    /// Those that are folders, with the device number (`st_dev`) of what is in them.
    pub(crate) folders: Vec<(Mount, u64)>,
}

/// What [`Workshop::show_snapshots`] shows.
#[derive(Debug)]
pub(crate) struct SnapshotView {
    pub(crate) snapshots: Vec<Snapshots>,
    /// The device numbers of all snapshots.
    pub(crate) devices: Vec<Shown>,
    pub(crate) mounts: ShownMounts,
}

impl<'a> Workshop<'a> {
    /// Acts in a new workshop, on a thread of its own, with which the mounts end. `interrupted` ends the programs that are run there.
    ///
    /// Whatever other threads `act` starts keep the mounts too, so they must end with it.
    pub(crate) fn enter<T: Send>(
        interrupted: &'a AtomicBool,
        act: impl FnOnce(&Self) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        std::thread::scope(|scope| {
            let work = || {
                let workshop = Self::new(interrupted)?;
                let result = act(&workshop)?;
                workshop.finish()?;
                Ok(result)
            };
            let thread = std::thread::Builder::new().spawn_scoped(scope, work);
            match thread.map_err(Error::NoThreads)?.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Gives the calling thread mounts of its own and sets up the folders.
    fn new(interrupted: &'a AtomicBool) -> Result<Self, Error> {
        let not_allowed = |need| move |source| Error::NotAllowed { need, source };
        kernel::unshare_mounts().map_err(not_allowed(Need::Mounts))?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)
            .map_err(|errno| not_allowed(Need::PrivateMounts)(errno.into()))?;
        let base = PathBuf::from(base_folder());
        mount_tmpfs(&base, c"mode=0755")?;
        debug!(base = %base.display(), "private mounts");
        let workshop = Self { base, interrupted };
        for folder in [workshop.image(), workshop.volume(), workshop.room()] {
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

    /// What programs of the volume see as /dev.
    fn room(&self) -> PathBuf {
        self.base.join("room")
    }

    /// What programs of this machine run with.
    pub(crate) fn surroundings(&self) -> Surroundings<'a> {
        Surroundings {
            place: None,
            folder: None,
            interrupted: self.interrupted,
        }
    }

    /// Shows the volume and the mounts below it that are copied along, read-only.
    ///
    /// Folders may be renamed meanwhile. So all mounts are shown in one step, each where it belongs whatever its folder is called,
    /// and then those that are not wanted are taken away.
    pub(crate) fn show_volume(&self, volume: &Path, along: &[Mount]) -> Result<ShownMounts, Error> {
        let view = self.volume();
        rustix::mount::mount_bind_recursive(volume, &view).map_err(Error::io("mount", volume))?;
        make_safe(&view).map_err(Error::io("mount read-only", volume))?;
        let mut shown = ShownMounts {
            missing: along.to_vec(),
            folders: Vec::new(),
        };
        let mut done = Vec::new();
        let mut looks = 0;
        while looks < MOST_LOOKS {
            let mounts = Mounts::of_thread()?;
            let mut below = mounts
                .below(&view)
                .filter(|mount| !done.contains(&mount.id));
            let Some(mount) = below.next() else {
                return Ok(shown);
            };
            // Its path was right a moment ago.
            let Some(root) = open_mount(mount) else {
                looks += 1;
                continue;
            };
            let path = inside::path_of(&root);
            if let Some(wanted) = along.iter().find(|wanted| wanted.shows_the_same(mount)) {
                make_safe(&path).map_err(Error::io("mount read-only", &mount.mount_point))?;
                shown.missing.retain(|wanted| !wanted.shows_the_same(mount));
                let stat = rustix::fs::fstat(&root)
                    .map_err(|errno| Error::io("read", &mount.mount_point)(errno))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    shown.folders.push((wanted.clone(), stat.st_dev));
                }
                done.push(mount.id);
            } else if let Err(error) = rustix::mount::unmount(&path, UnmountFlags::DETACH) {
                // One that belongs to the container around this one; its folder is made empty.
                debug!(path = %mount.mount_point.display(), %error, "cannot be unmounted");
                done.push(mount.id);
            }
        }
        let busy = std::io::ErrorKind::ResourceBusy;
        Err(Error::io("find the mounts of", volume)(busy))
    }

    /// Shows snapshots of the volume in place of it until [`Workshop::hide_snapshots`], as far as it is on btrfs, with the same mounts. `take`
    /// makes them of a subvolume, given open and by its path below the volume. Returns what is shown then.
    pub(crate) fn show_snapshots(
        &self,
        volume: &Path,
        shown: &ShownMounts,
        mut take: impl FnMut(&OwnedFd, &Path) -> Result<Option<Snapshots>, Error>,
    ) -> Result<Option<SnapshotView>, Error> {
        let view = self.volume();
        // Through mounts that show nothing that is mounted in them, and can be written to.
        let plain = |number: usize, source: &Path| -> Result<OwnedFd, Error> {
            let path = self.base.join(format!("plain{number}"));
            fs::create_dir(&path).map_err(Error::io("create", &path))?;
            rustix::mount::mount_bind(source, &path).map_err(Error::io("mount", source))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::io("open", source))
        };
        let mut snapshots = Vec::new();
        let first = take(&plain(0, volume)?, Path::new(""))?;
        let mounts = Mounts::of_thread()?;
        let mut below = Vec::new();
        for mount in mounts.below(&view) {
            let place = mount
                .mount_point
                .strip_prefix(&view)
                .unwrap_or(&view)
                .to_owned();
            let Some(root) = open_mount(mount) else {
                continue;
            };
            let original = mounts
                .all()
                .filter(|other| mount.fs_type == "btrfs" && other.shows_the_same(mount))
                .filter(|other| !other.mount_point.starts_with(&self.base))
                .find_map(open_mount);
            let taken = match original {
                Some(original) => take(
                    &plain(below.len() + 1, &inside::path_of(&original))?,
                    &place,
                )?,
                None => None,
            };
            below.push((place, mount.clone(), root, taken));
        }
        if first.is_none() && below.iter().all(|(_, _, _, taken)| taken.is_none()) {
            return Ok(None);
        }
        let mut devices = Vec::new();
        // Over what is shown now.
        match first {
            Some(first) => {
                devices.extend(first.show(&view, make_safe)?);
                snapshots.push(first);
            }
            None => {
                rustix::mount::mount_bind(&view, &view).map_err(Error::io("mount", volume))?;
                make_safe(&view).map_err(Error::io("mount read-only", volume))?;
            }
        }
        let mut now = ShownMounts {
            missing: shown.missing.clone(),
            folders: Vec::new(),
        };
        below.sort_by(|a, b| a.0.cmp(&b.0));
        for (place, mount, root, taken) in below {
            let wanted = shown.folders.iter().map(|(wanted, _)| wanted);
            let wanted = wanted
                .into_iter()
                .find(|wanted| wanted.shows_the_same(&mount));
            let Ok(aim) = inside::find(&view, &place) else {
                now.missing.extend(wanted.cloned());
                continue;
            };
            let aim = inside::path_of(&aim);
            let device = match taken {
                Some(taken) => {
                    let places = taken.show(&aim, make_safe)?;
                    let device = places.first().map(|place| place.device);
                    devices.extend(places);
                    snapshots.push(taken);
                    device
                }
                None => {
                    rustix::mount::mount_bind(inside::path_of(&root), &aim)
                        .map_err(Error::io("mount", &mount.mount_point))?;
                    rustix::fs::fstat(&root).ok().map(|stat| stat.st_dev)
                }
            };
            if let (Some(wanted), Some(device)) = (wanted, device) {
                now.folders.push((wanted.clone(), device));
            }
        }
        Ok(Some(SnapshotView {
            snapshots,
            devices,
            mounts: now,
        }))
    }

    /// Shows the volume itself again.
    pub(crate) fn hide_snapshots(&self) -> Result<(), Error> {
        let view = self.volume();
        rustix::mount::unmount(&view, UnmountFlags::DETACH).map_err(Error::io("unmount", &view))
    }

    /// Makes a /dev for one program of the volume, without anything that another one has left.
    pub(crate) fn make_room(&self) -> Result<Room<'_>, Error> {
        let path = self.room();
        mount_tmpfs(&path, c"mode=0755,size=64m")?;
        let room = Room {
            path,
            workshop: self,
        };
        for (name, major, minor) in &DEVICES[..2] {
            make_device(
                &room.path.join(name),
                FileType::CharacterDevice,
                makedev(*major, *minor),
            )?;
        }
        Ok(room)
    }

    /// Hides all devices from programs of this machine, except null and this one.
    pub(crate) fn hide_devices_but(
        &self,
        path: &Path,
        number: u64,
    ) -> Result<HiddenDevices, Error> {
        let dev = Path::new("/dev");
        mount_tmpfs(dev, c"mode=0755")?;
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

    /// Unmounts everything, which releases the volume.
    fn finish(self) -> Result<(), Error> {
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

/// A /dev for one program of the volume. What the program leaves there is removed with it.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    path: PathBuf,
    workshop: &'a Workshop<'a>,
}

impl Room<'_> {
    /// What the program runs with.
    pub(crate) fn run<T>(
        &self,
        act: impl FnOnce(&Surroundings<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        act(&Surroundings {
            place: Some((&self.workshop.volume(), &self.path)),
            ..self.workshop.surroundings()
        })
    }

    /// Shows the program a block device. Returns the device's path as the program sees it.
    pub(crate) fn show_device(&self, name: &OsStr, number: u64) -> Result<PathBuf, Error> {
        make_device(&self.path.join(name), FileType::BlockDevice, number)?;
        Ok(Path::new("/dev").join(name))
    }

    /// Shows the program a file. Returns the file's path as the program sees it.
    pub(crate) fn show_file(&self, name: &str, file: &Path) -> Result<PathBuf, Error> {
        let target = self.path.join(name);
        let _ = fs::File::create_new(&target).map_err(Error::io("create", &target))?;
        rustix::mount::mount_bind(file, &target).map_err(Error::io("mount", &target))?;
        Ok(Path::new("/dev").join(name))
    }

    /// The path of something in it for a program of this machine.
    pub(crate) fn path_here(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a plain file that the program has made.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        inside::read_needed(&self.path, Path::new(name))
            .map_err(Error::io("read", &Path::new("/dev").join(name)))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // A mount that stays is removed when the thread ends.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
    }
}

fn mount_tmpfs(path: &Path, options: &std::ffi::CStr) -> Result<(), Error> {
    rustix::mount::mount("ec2-bundle-vol", path, "tmpfs", MountFlags::NOSUID, options)
        .map_err(Error::io("mount a tmpfs on", path))
}

/// Makes a mount read-only, without access times and without devices.
fn make_safe(path: &Path) -> rustix::io::Result<()> {
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOATIME
        | MountFlags::NODEV
        | MountFlags::NOSUID;
    rustix::mount::mount_remount(path, flags, c"")
}

/// The root of a mount, if it is what its path leads to.
fn open_mount(mount: &Mount) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(&mount.mount_point, flags, Mode::empty()).ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", root.as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    (id.trim().parse() == Ok(mount.id)).then_some(root)
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
