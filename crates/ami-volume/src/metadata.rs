//! Owner, mode, extended attributes and times of what is copied.
//!
//! They are set in this order: a new owner takes away set-user-ID and capabilities, an ACL changes the mode's group bits, and everything
//! changes times.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};

use crate::attributes::Access;
use crate::entry_error::EntryError;

/// Gives an open file or folder of the image what `source` has. Returns whether it got all attributes; see [`Access::copy`].
pub(crate) fn of_open(
    source: impl AsFd,
    target: impl AsFd,
    stat: &Stat,
    path: &[u8],
    is_full: impl Fn() -> bool,
) -> Result<bool, EntryError> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(&target, Some(uid), Some(gid)).map_err(EntryError::writing(path))?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode))
        .map_err(EntryError::writing(path))?;
    let access = Access {
        list: |list: &mut [u8]| rustix::fs::flistxattr(&source, list),
        get: |name: &CStr, value: &mut [u8]| rustix::fs::fgetxattr(&source, name, value),
        set: |name: &CStr, value: &[u8]| {
            rustix::fs::fsetxattr(&target, name, value, XattrFlags::empty())
        },
    };
    let is_complete = access.copy(path, is_full, EntryError::writing(path))?;
    rustix::fs::futimens(&target, &times(stat)).map_err(EntryError::writing(path))?;
    Ok(is_complete)
}

/// The same for a symbolic link, device, FIFO or socket, which is named in the image and open by `O_PATH` on the volume.
pub(crate) fn of_named(
    source: &OwnedFd,
    (folder, name): (&OwnedFd, &CStr),
    stat: &Stat,
    path: &[u8],
    is_full: impl Fn() -> bool,
) -> Result<bool, EntryError> {
    let (uid, gid) = owner(stat);
    let itself = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(folder, name, Some(uid), Some(gid), itself)
        .map_err(EntryError::writing(path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        let mode = Mode::from_raw_mode(stat.st_mode);
        rustix::fs::chmodat(folder, name, mode, AtFlags::empty())
            .map_err(EntryError::writing(path))?;
    }
    // For calls that take neither a descriptor of such a file nor a folder.
    let from = format!("/proc/self/fd/{}", source.as_raw_fd());
    let to = by_descriptor(folder, name);
    let access = Access {
        list: |list: &mut [u8]| rustix::fs::listxattr(&from, list),
        get: |name: &CStr, value: &mut [u8]| rustix::fs::getxattr(&from, name, value),
        set: |name: &CStr, value: &[u8]| {
            rustix::fs::lsetxattr(&to, name, value, XattrFlags::empty())
        },
    };
    let is_complete = access.copy(path, is_full, EntryError::writing(path))?;
    rustix::fs::utimensat(folder, name, &times(stat), itself).map_err(EntryError::writing(path))?;
    Ok(is_complete)
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec.cast_signed(),
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        },
    }
}

/// A name in an open folder as a path, for calls that take no folder.
fn by_descriptor(folder: &OwnedFd, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}
