//! What is no folder: opened on the volume, made in the image.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Copy, Place};
use crate::contents::copy_contents;
use crate::entry_error::EntryError;
use crate::links::{Identity, link_path, within_reach};
use crate::metadata;
use crate::removal::remove;
use crate::walk::{Entry, Folder};

/// Sizes below this fit into every file system (2 GiB less one byte, ext2 without large_file).
const SURELY_FITS: u64 = (2 << 30) - 1;

/// How long a run waits in all for files that others have a lease on. The kernel takes a lease away sooner
/// (/proc/sys/fs/lease-break-time, 45 seconds).
const LEASE_PATIENCE: Duration = Duration::from_secs(60);

/// The time between two attempts to open such a file.
const MOMENT: Duration = Duration::from_millis(10);

impl Copy<'_> {
    /// What the first pass has copied as it is. If it has several names, they must still be those of one file in the image.
    pub(super) fn unchanged(
        &self,
        parent: &Folder<Place>,
        entry: &Entry<'_>,
    ) -> Result<(), EntryError> {
        if entry.stat.st_nlink < 2 {
            return Ok(());
        }
        let file = Identity::of(&parent.source, entry.name, entry.stat);
        self.links.meet(
            &file.ok_or(EntryError::Replaced)?,
            || Ok((link_path(entry.path), ())),
            |first| self.link(first, parent, entry),
        )
    }

    /// Makes something in the image that is not a folder.
    fn anew<T>(
        &self,
        parent: &Folder<Place>,
        entry: &Entry<'_>,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, EntryError> {
        let made = match make() {
            // There is an empty folder: made by mkfs, or when the entry was still a folder.
            Err(Errno::EXIST)
                if rustix::fs::unlinkat(
                    &parent.counterpart.folder,
                    entry.name,
                    AtFlags::REMOVEDIR,
                )
                .is_ok() =>
            {
                make()
            }
            // What the first pass has copied.
            Err(Errno::EXIST) if self.pass.is_second() => {
                remove(&parent.counterpart.folder, entry.name).and_then(|()| make())
            }
            made => made,
        };
        made.map_err(|errno| self.not_made(entry.path, errno))
    }

    /// Opens what was a plain file a moment ago.
    fn open(&self, parent: &Folder<Place>, entry: &Entry<'_>) -> Result<OwnedFd, EntryError> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        loop {
            match rustix::fs::openat(&parent.source, entry.name, flags, Mode::empty()) {
                Ok(source) => return Ok(source),
                // Another process has a lease on it. Opening the file asks for it; after a time the kernel takes it away.
                Err(Errno::AGAIN) => {
                    let end = self
                        .patience
                        .get_or_init(|| Instant::now() + LEASE_PATIENCE);
                    if Instant::now() > *end {
                        self.held.add(entry.path);
                        return Err(EntryError::Noted);
                    }
                    self.copying.check()?;
                    std::thread::sleep(MOMENT);
                }
                // What only a link, a socket or a device answers: it had the name at that moment, whatever has it now.
                Err(Errno::LOOP | Errno::NXIO) => return Err(EntryError::Replaced),
                Err(errno) => {
                    let now =
                        rustix::fs::statat(&parent.source, entry.name, AtFlags::SYMLINK_NOFOLLOW);
                    let now = now.map_err(EntryError::at("read", entry.path))?;
                    if is_same(&now, entry.stat) {
                        return Err(EntryError::at("read", entry.path)(errno));
                    }
                    return Err(EntryError::Replaced);
                }
            }
        }
    }

    pub(super) fn regular_file(
        &self,
        parent: &Folder<Place>,
        entry: &Entry<'_>,
    ) -> Result<(), EntryError> {
        let source = self.open(parent, entry)?;
        let stat = rustix::fs::fstat(&source).map_err(EntryError::at("read", entry.path))?;
        if !is_same(&stat, entry.stat) {
            return Err(EntryError::Replaced);
        }
        let create = || self.create(parent, entry, stat.st_size.cast_unsigned());
        let target = if stat.st_nlink > 1 {
            let file = Identity::of(&source, c"", &stat);
            self.links.meet(
                &file.ok_or(EntryError::Replaced)?,
                || Ok((link_path(entry.path), Some(create()?))),
                |first| {
                    let linked = self.link(first, parent, entry)?;
                    Ok::<_, EntryError>(linked.map(|()| None))
                },
            )?
        } else {
            Some(create()?)
        };
        let Some(target) = target else {
            return Ok(());
        };
        let size = stat.st_size.cast_unsigned();
        copy_contents(&source, &target, size, entry.path, |count| {
            let _ = self.data.fetch_add(count, Ordering::Relaxed);
            (self.copying.progress)(0, count);
            Ok(self.copying.check()?)
        })?;
        self.copy_metadata(&source, &target, &stat, entry.path)?;
        let after = rustix::fs::fstat(&source).map_err(EntryError::at("read", entry.path))?;
        // A program that writes can reset the time of writing, but not the time of the last change.
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
            self.changed.add(entry.path);
        }
        self.count(0);
        Ok(())
    }

    /// Makes an empty file in the image that can get so many bytes.
    fn create(
        &self,
        parent: &Folder<Place>,
        entry: &Entry<'_>,
        size: u64,
    ) -> Result<OwnedFd, EntryError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = self.anew(parent, entry, || {
            rustix::fs::openat(
                &parent.counterpart.folder,
                entry.name,
                flags,
                Mode::RUSR | Mode::WUSR,
            )
        })?;
        if size > SURELY_FITS
            && let Err(errno) = rustix::fs::ftruncate(&target, size)
        {
            rustix::fs::unlinkat(&parent.counterpart.folder, entry.name, AtFlags::empty())
                .map_err(EntryError::writing(entry.path))?;
            return Err(self.not_made(entry.path, errno));
        }
        Ok(target)
    }

    /// Copies a symbolic link, device, FIFO or socket. It is never opened, because that alone can have effects.
    pub(super) fn special_file(
        &self,
        parent: &Folder<Place>,
        entry: &Entry<'_>,
    ) -> Result<(), EntryError> {
        let (name, path) = (entry.name, entry.path);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&parent.source, name, flags, Mode::empty())
            .map_err(EntryError::at("read", path))?;
        let stat = rustix::fs::fstat(&source).map_err(EntryError::at("read", path))?;
        if !is_same(&stat, entry.stat) {
            return Err(EntryError::Replaced);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            let aim = rustix::fs::readlinkat(&source, c"", Vec::new())
                .map_err(EntryError::at("read", path))?;
            self.anew(parent, entry, || {
                rustix::fs::symlinkat(&aim, &parent.counterpart.folder, name)
            })?;
        } else {
            self.anew(parent, entry, || {
                let mode = Mode::RUSR | Mode::WUSR;
                rustix::fs::mknodat(&parent.counterpart.folder, name, kind, mode, stat.st_rdev)
            })?;
        }
        let to = (&parent.counterpart.folder, name);
        let is_complete = metadata::of_named(&source, to, &stat, path, || self.is_full())?;
        self.note_attributes(path, is_complete);
        self.count(0);
        Ok(())
    }

    /// Gives a file of the image another name; `None` if it cannot have more.
    pub(super) fn link(
        &self,
        first: &CStr,
        parent: &Folder<Place>,
        entry: &Entry<'_>,
    ) -> Result<Option<()>, EntryError> {
        let (folder, rest) =
            within_reach(&self.target, first).map_err(EntryError::writing(entry.path))?;
        let folder = folder.as_ref().unwrap_or(&self.target);
        let flags = AtFlags::empty();
        let place = &parent.counterpart.folder;
        let link = || rustix::fs::linkat(folder, rest, place, entry.name, flags);
        let linked = match link() {
            Err(Errno::EXIST) if self.pass.is_second() => {
                let number = |folder: &OwnedFd, name: &CStr| {
                    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                        .map(|stat| stat.st_ino)
                };
                if number(folder, rest) == number(place, entry.name) {
                    return Ok(Some(()));
                }
                remove(place, entry.name).and_then(|()| link())
            }
            linked => linked,
        };
        match linked {
            Ok(()) => {}
            Err(Errno::MLINK) => return Ok(None),
            Err(errno) => return Err(self.not_made(entry.path, errno)),
        }
        (self.copying.progress)(1, 0);
        Ok(Some(()))
    }
}

/// Whether two looks at a name found one and the same file.
fn is_same(a: &Stat, b: &Stat) -> bool {
    let identity = |s: &Stat| (s.st_dev, s.st_ino, FileType::from_raw_mode(s.st_mode));
    identity(a) == identity(b)
}
