//! Copies what is selected of a volume: contents with their holes, hard links, links, devices, owners, modes, extended attributes
//! (ACLs and capabilities are such), and times to the nanosecond.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::filter::Rule;
use crate::links::Links;
use crate::selection::Selection;
use crate::walk::{Entry, Place, Trouble, Visitor, as_path, walk};

/// How much is read at a time, in bytes; found by measuring 64 KiB to 4 MiB.
const BUFFER: usize = 256 << 10;

/// linux/limits.h, XATTR_SIZE_MAX and XATTR_LIST_MAX.
const XATTR_MAX: usize = 64 << 10;

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, folders, links and devices.
    pub entries: u64,
    /// Data in bytes.
    pub data: u64,
    /// What went away while it was to be copied, by its path on the volume.
    pub vanished: Vec<PathBuf>,
    /// Files that were written to while they were copied.
    pub changed: Vec<PathBuf>,
    /// Extended attributes that the image's file system does not take, with the files that have them.
    pub without_attributes: Vec<PathBuf>,
}

/// What is told of the copy as it goes on: entries and bytes since the last time.
pub type CopyProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

struct Copy<'a> {
    target: OwnedFd,
    links: Links<CString>,
    progress: CopyProgress<'a>,
    interrupted: &'a AtomicBool,
    entries: AtomicU64,
    data: AtomicU64,
    changed: Mutex<Vec<PathBuf>>,
    without_attributes: Mutex<Vec<PathBuf>>,
}

thread_local! {
    static CONTENT: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
    static ATTRIBUTES: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; XATTR_MAX], vec![0; XATTR_MAX]));
}

/// Copies everything in the folder `source` that is selected into the folder `target`, which is empty but for what mkfs made.
pub(crate) fn copy(
    source: &Path,
    target: &Path,
    selection: &Selection,
    threads: NonZeroUsize,
    progress: CopyProgress<'_>,
    interrupted: &AtomicBool,
) -> Result<Copied, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let copy = Copy {
        target: rustix::fs::open(target, flags, Mode::empty())
            .map_err(Error::io("open", target))?,
        links: Links::default(),
        progress,
        interrupted,
        entries: AtomicU64::new(0),
        data: AtomicU64::new(0),
        changed: Mutex::default(),
        without_attributes: Mutex::default(),
    };
    let vanished = walk(source, selection, threads, interrupted, &copy)?;
    let sorted = |mutex: Mutex<Vec<PathBuf>>| {
        let mut paths = mutex.into_inner().unwrap_or_else(PoisonError::into_inner);
        paths.sort();
        paths
    };
    Ok(Copied {
        entries: copy.entries.into_inner(),
        data: copy.data.into_inner(),
        vanished,
        changed: sorted(copy.changed),
        without_attributes: sorted(copy.without_attributes),
    })
}

/// An error on the image's side; what is full is said as such.
fn writing(path: &[u8]) -> impl FnOnce(Errno) -> Trouble + '_ {
    move |errno| {
        Trouble::Fatal(match errno {
            Errno::NOSPC | Errno::DQUOT => Error::Full {
                path: as_path(path).to_owned(),
            },
            errno => Error::io("copy", as_path(path))(errno),
        })
    }
}

impl Visitor for Copy<'_> {
    type Folder = OwnedFd;

    fn found_folder(&self, parent: &Place<OwnedFd>, entry: &Entry<'_>) -> Result<(), Trouble> {
        // Nobody else looks into it until it has its owner and mode.
        match rustix::fs::mkdirat(&parent.own, entry.name, Mode::RWXU) {
            // mkfs has made lost+found.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(writing(entry.path)(errno)),
        }
    }

    fn open_folder(
        &self,
        parent: Option<(&Place<OwnedFd>, &CStr)>,
        path: &[u8],
    ) -> Result<OwnedFd, Trouble> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match parent {
            Some((parent, name)) => rustix::fs::openat(&parent.own, name, flags, Mode::empty()),
            None => rustix::fs::openat(&self.target, c".", flags, Mode::empty()),
        }
        .map_err(writing(path))
    }

    fn close_folder(&self, folder: &Place<OwnedFd>) -> Result<(), Trouble> {
        self.copy_metadata(&folder.source, &folder.own, &folder.stat, &folder.path)?;
        self.count(0);
        Ok(())
    }

    fn file(&self, parent: &Place<OwnedFd>, entry: &Entry<'_>) -> Result<(), Trouble> {
        if FileType::from_raw_mode(entry.stat.st_mode) == FileType::RegularFile {
            self.regular_file(parent, entry)
        } else if entry.stat.st_nlink > 1 {
            self.links.meet(
                entry.stat,
                || {
                    self.special_file(parent, entry)?;
                    Ok((link_path(entry.path), ()))
                },
                |first| self.link(first, parent, entry),
            )
        } else {
            self.special_file(parent, entry)
        }
    }

    fn left_out(&self, _: &Entry<'_>, _: &Rule) {}
}

impl Copy<'_> {
    fn count(&self, data: u64) {
        let _ = self.entries.fetch_add(1, Ordering::Relaxed);
        let _ = self.data.fetch_add(data, Ordering::Relaxed);
        (self.progress)(1, data);
    }

    fn regular_file(&self, parent: &Place<OwnedFd>, entry: &Entry<'_>) -> Result<(), Trouble> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&parent.source, entry.name, flags, Mode::empty())
            .map_err(Trouble::at("read", entry.path))?;
        let stat = rustix::fs::fstat(&source).map_err(Trouble::at("read", entry.path))?;
        if (stat.st_dev, stat.st_ino) != (entry.stat.st_dev, entry.stat.st_ino) {
            // Another file has taken the name since: what it was is gone.
            return Err(Trouble::Gone);
        }
        let create = || {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent.own, entry.name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(writing(entry.path))
        };
        let target = if stat.st_nlink > 1 {
            self.links.meet(
                &stat,
                || Ok((link_path(entry.path), Some(create()?))),
                |first| self.link(first, parent, entry).map(|()| None),
            )?
        } else {
            Some(create()?)
        };
        let Some(target) = target else {
            return Ok(());
        };
        self.contents(&source, &target, &stat, entry.path)?;
        self.copy_metadata(&source, &target, &stat, entry.path)?;
        let after = rustix::fs::fstat(&source).map_err(Trouble::at("read", entry.path))?;
        let state = |s: &Stat| {
            (
                s.st_size,
                s.st_mtime,
                s.st_mtime_nsec,
                s.st_ctime,
                s.st_ctime_nsec,
            )
        };
        if state(&after) != state(&stat) {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            changed.push(as_path(entry.path).to_owned());
        }
        self.count(0);
        Ok(())
    }

    /// Copies the data, up to the size that the file had when it was opened, and leaves its holes.
    fn contents(
        &self,
        source: impl AsFd,
        target: impl AsFd,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), Trouble> {
        let size = stat.st_size.cast_unsigned();
        let mut at = 0;
        while at < size {
            let data = next_data(&source, at, size).map_err(Trouble::at("read", path))?;
            let Some((start, end)) = data else {
                break;
            };
            at = self.region(&source, &target, start, end, path)?;
            if at < end {
                break; // the file has become shorter
            }
        }
        if at < size {
            rustix::fs::ftruncate(&target, size).map_err(writing(path))?;
        }
        Ok(())
    }

    /// Copies from `start` to `end`, and gives where it ended: earlier if the file does.
    fn region(
        &self,
        source: impl AsFd,
        target: impl AsFd,
        start: u64,
        end: u64,
        path: &[u8],
    ) -> Result<u64, Trouble> {
        CONTENT.with_borrow_mut(|buffer| {
            let mut at = start;
            while at < end {
                if self.interrupted.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted.into());
                }
                let wanted = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let count = match rustix::io::pread(&source, &mut buffer[..wanted], at) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(Errno::INTR) => continue,
                    Err(errno) => {
                        return Err(Trouble::Fatal(Error::io("read", as_path(path))(errno)));
                    }
                };
                let mut written = 0;
                while written < count {
                    match rustix::io::pwrite(&target, &buffer[written..count], at + written as u64)
                    {
                        Ok(more) => written += more,
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(writing(path)(errno)),
                    }
                }
                at += count as u64;
                let _ = self.data.fetch_add(count as u64, Ordering::Relaxed);
                (self.progress)(0, count as u64);
            }
            Ok(at)
        })
    }

    /// A symbolic link, device, FIFO or socket.
    fn special_file(&self, parent: &Place<OwnedFd>, entry: &Entry<'_>) -> Result<(), Trouble> {
        let (name, path, stat) = (entry.name, entry.path, entry.stat);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            let aim = rustix::fs::readlinkat(&parent.source, name, Vec::new())
                .map_err(Trouble::at("read", path))?;
            rustix::fs::symlinkat(&aim, &parent.own, name).map_err(writing(path))?;
        } else {
            rustix::fs::mknodat(
                &parent.own,
                name,
                kind,
                Mode::RUSR | Mode::WUSR,
                stat.st_rdev,
            )
            .map_err(writing(path))?;
        }
        let (uid, gid) = owner(stat);
        rustix::fs::chownat(
            &parent.own,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(writing(path))?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(
                &parent.own,
                name,
                Mode::from_raw_mode(stat.st_mode),
                AtFlags::empty(),
            )
            .map_err(writing(path))?;
        }
        let (from, to) = (
            by_descriptor(&parent.source, name),
            by_descriptor(&parent.own, name),
        );
        self.copy_attributes(
            path,
            |list| rustix::fs::llistxattr(&from, list),
            |name, value| rustix::fs::lgetxattr(&from, name, value),
            |name, value| rustix::fs::lsetxattr(&to, name, value, XattrFlags::empty()),
        )?;
        rustix::fs::utimensat(&parent.own, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(writing(path))?;
        self.count(0);
        Ok(())
    }

    fn link(
        &self,
        first: &CStr,
        parent: &Place<OwnedFd>,
        entry: &Entry<'_>,
    ) -> Result<(), Trouble> {
        rustix::fs::linkat(
            &self.target,
            first,
            &parent.own,
            entry.name,
            AtFlags::empty(),
        )
        .map_err(writing(entry.path))?;
        (self.progress)(1, 0);
        Ok(())
    }

    fn copy_metadata(
        &self,
        source: impl AsFd,
        target: impl AsFd,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), Trouble> {
        // In this order: a new owner takes away set-user-ID and capabilities, an ACL is set with the mode's group bits.
        let (uid, gid) = owner(stat);
        rustix::fs::fchown(&target, Some(uid), Some(gid)).map_err(writing(path))?;
        rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode)).map_err(writing(path))?;
        self.copy_attributes(
            path,
            |list| rustix::fs::flistxattr(&source, list),
            |name, value| rustix::fs::fgetxattr(&source, name, value),
            |name, value| rustix::fs::fsetxattr(&target, name, value, XattrFlags::empty()),
        )?;
        rustix::fs::futimens(&target, &times(stat)).map_err(writing(path))
    }

    fn copy_attributes(
        &self,
        path: &[u8],
        list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
        get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
        set: impl Fn(&CStr, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Trouble> {
        ATTRIBUTES.with_borrow_mut(|(names, value)| {
            let length = match list(names) {
                Ok(length) => length,
                // The volume's file system has none.
                Err(Errno::NOTSUP) => return Ok(()),
                Err(errno) => return Err(Trouble::at("read the attributes of", path)(errno)),
            };
            for name in names[..length].split_inclusive(|&b| b == 0) {
                let Ok(name) = CStr::from_bytes_with_nul(name) else {
                    continue;
                };
                let length = match get(name, value) {
                    Ok(length) => length,
                    // Removed meanwhile.
                    Err(Errno::NODATA) => continue,
                    Err(errno) => return Err(Trouble::at("read the attributes of", path)(errno)),
                };
                match set(name, &value[..length]) {
                    Ok(()) => {}
                    Err(Errno::NOTSUP) => {
                        let list = &self.without_attributes;
                        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                        list.push(as_path(path).to_owned());
                    }
                    Err(errno) => return Err(writing(path)(errno)),
                }
            }
            Ok(())
        })
    }
}

/// Where the next data begins and ends; `None` if there is none up to `size`.
fn next_data(file: impl AsFd, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // The file system does not say.
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno),
    };
    let end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(size))))
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

/// A path below the volume without the slash at its beginning, as calls relative to a folder take it.
fn link_path(path: &[u8]) -> CString {
    // A name from the kernel has no zero byte.
    CString::new(&path[1..]).unwrap_or_default()
}

#[cfg(test)]
#[path = "copy_test.rs"]
mod tests;

#[cfg(test)]
#[path = "copy_disturbed_test.rs"]
mod disturbed_tests;
