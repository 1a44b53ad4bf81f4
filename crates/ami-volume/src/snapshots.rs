//! Read-only snapshots of a btrfs volume, which are deleted when they are not needed any more.
//!
//! ```text
//! ROOT/                               the root of a mounted subvolume
//!   .ec2-ami-tools-snapshot.XXXX/     locked (flock) by the run and its keeper
//!     0                               a snapshot of that subvolume
//!     1 …                             of a subvolume in it, or in one of those
//! ```
//!
//! A folder that nobody has locked was left by a run that was killed together with its keeper. The next run deletes it.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use tracing::debug;

use crate::error::{Error, Need};
use crate::inside;
use crate::keeper::{Duty, Keeper};
use crate::kernel;

/// How the names of folders with snapshots begin; they are never copied.
pub(crate) const HOLDER: &str = ".ec2-ami-tools-snapshot.";

/// include/uapi/linux/magic.h, BTRFS_SUPER_MAGIC.
const MAGIC: u64 = 0x9123_683E;

/// fs/btrfs/btrfs_inode.h and ctree.h: the inode number of a subvolume's root, and of the empty folder that a snapshot has for a subvolume.
const ROOT: u64 = 256;
const STUB: u64 = 2;

/// How often another name is tried.
const TRIES: u32 = 100;

/// Snapshots of one mounted subvolume and those in it.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// The folder that they are in.
    holder: OwnedFd,
    name: OsString,
    made: Vec<Made>,
    is_deleted: bool,
    _keeper: Keeper,
}

#[derive(Debug)]
struct Made {
    /// Below the mounted subvolume; empty for that itself.
    path: PathBuf,
    name: CString,
    /// The device number (`st_dev`) of what it is a snapshot of.
    original: u64,
}

/// Where a snapshot is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Its device number (`st_dev`), and that of its original.
    pub(crate) device: u64,
    pub(crate) original: u64,
}

impl Snapshots {
    /// Makes them of the subvolume whose root is open as `root`, through a mount that shows none of the mounts in it, and of those in it that
    /// are `wanted`. `None` if it is no subvolume's root, or cannot be written to.
    ///
    /// # Errors
    /// [`Error::NotAllowed`].
    pub(crate) fn new(
        root: &OwnedFd,
        wanted: impl Fn(&Path) -> bool,
        interrupted: &AtomicBool,
    ) -> Result<Option<Self>, Error> {
        if !is_subvolume(root).map_err(not_made)? {
            return Ok(None);
        }
        delete_leftovers(root);
        let (holder, name) = match make_holder(root) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(None),
            made => made.map_err(not_made)?,
        };
        // The copy shares the lock.
        let for_keeper = holder.try_clone().map_err(not_made)?;
        let keeper = Keeper::start(Duty::Delete(&name), for_keeper, interrupted);
        if keeper.is_err() {
            let _ = rustix::fs::unlinkat(root, name.as_os_str(), AtFlags::REMOVEDIR);
        }
        let mut snapshots = Self {
            holder,
            name,
            made: Vec::new(),
            is_deleted: false,
            _keeper: keeper?,
        };
        snapshots.make(root, &wanted).map_err(not_made)?;
        Ok(Some(snapshots))
    }

    fn make(&mut self, root: &OwnedFd, wanted: &impl Fn(&Path) -> bool) -> io::Result<()> {
        let mut pending = vec![(PathBuf::new(), root.try_clone()?)];
        while let Some((path, subvolume)) = pending.pop() {
            let name = CString::new(self.made.len().to_string())?;
            kernel::make_snapshot(&self.holder, &name, &subvolume)?;
            debug!(?path, ?name, "snapshot");
            for below in kernel::subvolumes_in(&subvolume)? {
                let below = Path::new(OsStr::from_bytes(below.as_bytes()));
                let whole = path.join(below);
                if !is_holder(below) && wanted(&whole) {
                    // It may have been renamed or deleted since.
                    match open_below(&subvolume, below) {
                        Ok(found) if is_subvolume(&found)? => pending.push((whole, found)),
                        answer => debug!(?whole, ?answer, "no subvolume any more"),
                    }
                }
            }
            let original = rustix::fs::fstat(&subvolume)?.st_dev;
            self.made.push(Made {
                path,
                name,
                original,
            });
        }
        // Those above before those in them.
        self.made.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Shows them on the folder `view`, as the subvolumes are seen below the first. `make_safe` is called with each place.
    pub(crate) fn show(
        &self,
        view: &Path,
        make_safe: impl Fn(&Path) -> rustix::io::Result<()>,
    ) -> Result<Vec<Shown>, Error> {
        let mut shown = Vec::new();
        for made in &self.made {
            let mount = || -> io::Result<Option<u64>> {
                let name = OsStr::from_bytes(made.name.as_bytes());
                let source = inside::path_of(&self.holder).join(name);
                if made.path.as_os_str().is_empty() {
                    rustix::mount::mount_bind(&source, view)?;
                    make_safe(view)?;
                } else {
                    // A subvolume that was moved between two snapshots may have no place in the other one.
                    let Ok(stub) = inside::find(view, &made.path) else {
                        return Ok(None);
                    };
                    if rustix::fs::fstat(&stub)?.st_ino != STUB {
                        return Ok(None);
                    }
                    rustix::mount::mount_bind(&source, inside::path_of(&stub))?;
                    make_safe(&inside::path_of(&inside::find(view, &made.path)?))?;
                }
                Ok(Some(rustix::fs::stat(&source)?.st_dev))
            };
            if let Some(device) = mount().map_err(not_made)? {
                shown.push(Shown {
                    device,
                    original: made.original,
                });
            }
        }
        Ok(shown)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.made.len()
    }

    /// Deletes them.
    pub(crate) fn delete(mut self) -> Result<(), Error> {
        self.is_deleted = true;
        let deleted = delete(&self.holder, &self.name);
        deleted.map_err(Error::io("delete the snapshots in", Path::new(&self.name)))
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        if !self.is_deleted
            && let Err(error) = delete(&self.holder, &self.name)
        {
            debug!(%error, "deleting snapshots");
        }
    }
}

/// Whether a path leads to or through a folder with snapshots.
pub(crate) fn is_holder(path: &Path) -> bool {
    path.iter()
        .any(|name| name.as_bytes().starts_with(HOLDER.as_bytes()))
}

/// Deletes the snapshots in an open folder of that name, and the folder.
pub(crate) fn delete(holder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    for entry in Dir::read_from(holder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            kernel::delete_subvolume(holder, entry.file_name())?;
        }
    }
    let root = open_folder(holder, c"..")?;
    Ok(rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR)?)
}

/// Deletes what runs left that were killed together with their keepers.
fn delete_leftovers(root: &OwnedFd) {
    let Ok(entries) = Dir::read_from(root) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_bytes().starts_with(HOLDER.as_bytes())
            && let Ok(holder) = open_folder(root, name)
            && lock(&holder).is_ok()
        {
            let deleted = delete(&holder, OsStr::from_bytes(name.to_bytes()));
            debug!(?name, ?deleted, "a killed run's snapshots");
        }
    }
}

/// Makes a folder for snapshots, which only root looks into, and locks it.
fn make_holder(root: &OwnedFd) -> io::Result<(OwnedFd, OsString)> {
    for _ in 0..TRIES {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{HOLDER}{:016x}", u64::from_ne_bytes(random));
        match rustix::fs::mkdirat(root, &name, Mode::RWXU) {
            Err(Errno::EXIST) => continue,
            made => made?,
        }
        let c_name = CString::new(name.as_str())?;
        let Ok(holder) = open_folder(root, &c_name) else {
            continue;
        };
        // Another run may have taken it for a leftover before it was locked.
        let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
        let is_there = || {
            rustix::fs::statat(root, &name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| rustix::fs::fstat(&holder).map(identity) == Ok(identity(stat)))
        };
        if lock(&holder).is_ok() && is_there() {
            return Ok((holder, name.into()));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn lock(holder: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::flock(holder, FlockOperation::NonBlockingLockExclusive)
}

fn open_folder(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

/// Opens a folder below another one without following links.
fn open_below(folder: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut found = folder.try_clone()?;
    for name in path {
        found = open_folder(&found, &CString::new(name.as_bytes())?)?;
    }
    Ok(found)
}

fn is_subvolume(folder: &OwnedFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(folder)?;
    let kind = rustix::fs::fstatfs(folder)?.f_type;
    Ok(kind.cast_unsigned() & 0xFFFF_FFFF == MAGIC
        && stat.st_ino == ROOT
        && FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn not_made(source: io::Error) -> Error {
    let need = Need::Snapshots;
    Error::NotAllowed { need, source }
}
