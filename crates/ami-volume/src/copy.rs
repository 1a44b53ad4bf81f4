//! Copies what is selected of a volume: contents with their holes, hard links, links, devices, owners, modes, extended attributes
//! (ACLs and capabilities are such), and times to the nanosecond.
//!
//! Others work on the volume meanwhile, and may want to harm this run. So files are opened relative to their folders, never by a
//! path, and are copied only if they are still the files that were looked at. What changes, vanishes or does not fit is reported at the end.

mod files;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use ami_pool::Pool;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::again::{Pass, Record};
use crate::copied::{Copied, CopyProgress, Notes};
use crate::entry_error::EntryError;
use crate::error::Error;
use crate::filter::Rule;
use crate::links::{Identity, Links, link_path};
use crate::metadata;
use crate::removal::remove;
use crate::selection::Selection;
use crate::walk::{Entry, Folder, Visitor, walk};

/// An image with less free space than this, in bytes, counts as full.
const FULL: u64 = 1 << 20;

/// A folder of the image that is being filled.
pub(crate) struct Place {
    pub(crate) folder: OwnedFd,
    /// In a second pass: whether the first pass has copied this very folder to this place.
    pub(crate) is_known: bool,
}

/// What is copied, to where, and how.
#[derive(Clone, Copy)]
pub(crate) struct Copying<'a> {
    /// The folder whose contents are copied.
    pub(crate) source: &'a Path,
    /// The image's root folder, empty before the first pass but for what mkfs and the imager made.
    pub(crate) target: &'a Path,
    pub(crate) selection: &'a Selection,
    pub(crate) pool: &'a Pool,
    pub(crate) progress: CopyProgress<'a>,
    pub(crate) interrupted: &'a AtomicBool,
    /// The volume, and when it will be thawed if it is frozen.
    pub(crate) thawed: Option<(&'a Path, Instant)>,
}

struct Copy<'a> {
    copying: &'a Copying<'a>,
    target: OwnedFd,
    pass: Pass<'a>,
    links: Links<CString>,
    entries: AtomicU64,
    data: AtomicU64,
    changed: Notes,
    without_attributes: Notes,
    unfit: Notes,
    held: Notes,
    file_systems: Mutex<BTreeSet<u64>>,
    /// When waiting for files with a lease ends.
    patience: OnceLock<Instant>,
}

impl Copying<'_> {
    /// Copies everything that is selected. What is needed for a second pass is kept in `record`.
    pub(crate) fn first(&self, record: Option<&Record>) -> Result<Copied, Error> {
        self.run(Pass::First(record))
    }

    /// Copies again what has changed since the first pass began, and removes what is not there any more.
    pub(crate) fn second(&self, record: &Record) -> Result<Copied, Error> {
        self.run(Pass::Second(record))
    }

    fn run(&self, pass: Pass<'_>) -> Result<Copied, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let copy = Copy {
            copying: self,
            target: rustix::fs::open(self.target, flags, Mode::empty())
                .map_err(Error::io("open", self.target))?,
            pass,
            links: Links::default(),
            entries: AtomicU64::new(0),
            data: AtomicU64::new(0),
            changed: Notes::default(),
            without_attributes: Notes::default(),
            unfit: Notes::default(),
            held: Notes::default(),
            file_systems: Mutex::default(),
            patience: OnceLock::new(),
        };
        let vanished = walk(
            self.source,
            self.selection,
            self.pool,
            self.interrupted,
            &copy,
        )?;
        Ok(Copied {
            entries: copy.entries.into_inner(),
            data: copy.data.into_inner(),
            vanished,
            changed: copy.changed.sorted(),
            without_attributes: copy.without_attributes.sorted(),
            unfit: copy.unfit.sorted(),
            held: copy.held.sorted(),
            file_systems: copy
                .file_systems
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            again: None,
        })
    }

    /// Whether to go on.
    fn check(&self) -> Result<(), Error> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        match self.thawed {
            Some((volume, end)) if Instant::now() >= end => Err(Error::Thawed {
                volume: volume.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Visitor for Copy<'_> {
    type Counterpart = Place;

    fn found_folder(&self, parent: &Folder<Place>, entry: &Entry<'_>) -> Result<(), EntryError> {
        // Nobody else looks into it until it has its owner and mode.
        let make = || rustix::fs::mkdirat(&parent.counterpart.folder, entry.name, Mode::RWXU);
        match make() {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) if self.pass.is_second() => {
                if !is_folder(&parent.counterpart.folder, entry.name) {
                    remove(&parent.counterpart.folder, entry.name)
                        .and_then(|()| make())
                        .map_err(|errno| self.not_made(entry.path, errno))?;
                }
                Ok(())
            }
            // mkfs has made lost+found, and the imager some others.
            Err(Errno::EXIST)
                if parent.path.is_empty() && is_folder(&parent.counterpart.folder, entry.name) =>
            {
                Ok(())
            }
            Err(errno) => Err(self.not_made(entry.path, errno)),
        }
    }

    fn lost_folder(&self, parent: &Folder<Place>, name: &CStr) {
        // The folders at the top exist in every image. A folder that is in use is not empty, and stays.
        if !parent.path.is_empty() {
            let _ = rustix::fs::unlinkat(&parent.counterpart.folder, name, AtFlags::REMOVEDIR);
        }
    }

    fn open_folder(
        &self,
        parent: Option<(&Folder<Place>, &CStr)>,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Place, EntryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match parent {
            Some((parent, name)) => {
                rustix::fs::openat(&parent.counterpart.folder, name, flags, Mode::empty())
            }
            None => rustix::fs::openat(&self.target, c".", flags, Mode::empty()),
        };
        let folder = folder.map_err(|errno| match errno {
            // Its name came twice, the other time as that of a file.
            Errno::NOTDIR | Errno::LOOP | Errno::NOENT => EntryError::Replaced,
            errno => EntryError::writing(path)(errno),
        })?;
        let is_known = match self.pass {
            Pass::First(record) => {
                if let Some(record) = record {
                    record.add(path, stat);
                }
                false
            }
            Pass::Second(record) => {
                // Its ACL would be handed down to what is made in it, and what the volume's does not have any more has to go.
                crate::attributes::remove_all(&folder);
                record.has(path, stat)
            }
        };
        Ok(Place { folder, is_known })
    }

    fn close_folder(&self, folder: &Folder<Place>) -> Result<(), EntryError> {
        if let Pass::Second(record) = self.pass {
            record
                .prune(folder, self.copying.selection)
                .map_err(EntryError::writing(&folder.path))?;
        }
        self.copy_metadata(
            &folder.source,
            &folder.counterpart.folder,
            &folder.stat,
            &folder.path,
        )?;
        let seen = self.file_systems.lock();
        let _ = seen
            .unwrap_or_else(PoisonError::into_inner)
            .insert(folder.stat.st_dev);
        if !folder.counterpart.is_known {
            self.count(0);
        }
        Ok(())
    }

    fn file(&self, parent: &Folder<Place>, entry: &Entry<'_>) -> Result<(), EntryError> {
        self.copying.check()?;
        if let Pass::Second(record) = self.pass
            && parent.counterpart.is_known
            && record.is_unchanged(entry, &parent.counterpart.folder)
        {
            return self.unchanged(parent, entry);
        }
        if FileType::from_raw_mode(entry.stat.st_mode) == FileType::RegularFile {
            self.regular_file(parent, entry)
        } else if entry.stat.st_nlink > 1 {
            let file = Identity::of(&parent.source, entry.name, entry.stat);
            self.links.meet(
                &file.ok_or(EntryError::Replaced)?,
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
        (self.copying.progress)(1, data);
    }

    /// Why something was not made in the image. What another entry can do without is noted, and the copy goes on.
    fn not_made(&self, path: &[u8], errno: Errno) -> EntryError {
        match errno {
            // The listing of a folder that changes may have a name twice.
            Errno::EXIST => self.changed.add(path),
            Errno::FBIG | Errno::NAMETOOLONG | Errno::MLINK => self.unfit.add(path),
            errno => return EntryError::writing(path)(errno),
        }
        EntryError::Noted
    }

    fn copy_metadata(
        &self,
        source: impl AsFd,
        target: impl AsFd,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), EntryError> {
        let is_complete = metadata::of_open(source, target, stat, path, || self.is_full())?;
        self.note_attributes(path, is_complete);
        Ok(())
    }

    fn note_attributes(&self, path: &[u8], is_complete: bool) {
        if !is_complete {
            self.without_attributes.add(path);
        }
    }

    /// Whether the image has no space left.
    fn is_full(&self) -> bool {
        let space = rustix::fs::fstatvfs(&self.target);
        space.is_ok_and(|space| space.f_bfree * space.f_frsize < FULL)
    }
}

fn is_folder(parent: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
#[path = "copy_test.rs"]
mod tests;

#[cfg(test)]
#[path = "copy_disturbed_test.rs"]
mod disturbed_tests;
