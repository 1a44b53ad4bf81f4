//! The second pass over a volume in use: what has changed since the first began is copied again.
//!
//! A file is unchanged if its last change (`st_ctime`, which no program can set) was before the first pass began, and the image has, at the
//! same place in the very same folder, an entry of the same kind, size, device number and time of writing. The image has these; only of
//! folders a record is kept, 8 bytes each: what is in a folder that was moved is not changed by that.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::copied::Copied;
use crate::copy::{Copying, Place};
use crate::entry_error::{EntryError, as_path};
use crate::error::Error;
use crate::filter::Rule;
use crate::links::{SECOND, TICK, duration};
use crate::removal::remove;
use crate::selection::{Decision, Selection};
use crate::walk::{Entry, Folder, Visitor, walk};

/// The most paths that are kept to be named.
const MOST_PATHS: usize = 100_000;

/// What a second pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again {
    /// How many entries were copied again or are new.
    pub entries: u64,
    /// Their data in bytes.
    pub data: u64,
    /// How many names that were not there any more were removed, not counting what was in folders.
    pub removed: u64,
    /// How many entries have changed since the second pass began. [`Copied::changed`] has their paths, up to 100,000.
    pub unsettled: u64,
}

/// Which of the passes a copy is.
#[derive(Clone, Copy)]
pub(crate) enum Pass<'a> {
    /// The first, with what a second one will need, if there is to be one.
    First(Option<&'a Record>),
    Second(&'a Record),
}

impl Pass<'_> {
    pub(crate) fn is_second(&self) -> bool {
        matches!(self, Self::Second(_))
    }
}

/// A time by two clocks.
struct Beginning {
    /// Since 1970, by the clock of file times, which may be set.
    time: Duration,
    instant: Instant,
}

impl Beginning {
    fn now() -> Self {
        Self {
            time: now(),
            instant: Instant::now(),
        }
    }

    /// What was changed at this time or later was perhaps changed since. If the clock was set back meanwhile, so is this.
    fn limit(&self) -> Duration {
        let by_today = now().saturating_sub(self.instant.elapsed());
        self.time.min(by_today)
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// What the second pass knows of the first.
pub(crate) struct Record {
    beginning: Beginning,
    /// When the second pass began: the limit is set then.
    limit: Mutex<Duration>,
    hashes: RandomState,
    /// Of the path and identity of each folder.
    folders: Mutex<HashSet<u64>>,
    /// What was at the top of the image before.
    made: HashSet<CString>,
    removed: AtomicU64,
}

impl Record {
    /// Begins a first pass into the folder `target`.
    pub(crate) fn new(target: &Path) -> Result<Self, Error> {
        let mut made = HashSet::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut note_names = || -> rustix::io::Result<()> {
            let folder = rustix::fs::open(target, flags, Mode::empty())?;
            for entry in Dir::new(folder)? {
                let _ = made.insert(entry?.file_name().to_owned());
            }
            Ok(())
        };
        note_names().map_err(Error::io("read", target))?;
        Ok(Self {
            beginning: Beginning::now(),
            limit: Mutex::default(),
            hashes: RandomState::new(),
            folders: Mutex::default(),
            made,
            removed: AtomicU64::new(0),
        })
    }

    fn folder(&self, path: &[u8], stat: &Stat) -> u64 {
        self.hashes.hash_one((path, stat.st_dev, stat.st_ino))
    }

    pub(crate) fn add(&self, path: &[u8], stat: &Stat) {
        let folder = self.folder(path, stat);
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = folders.insert(folder);
    }

    pub(crate) fn has(&self, path: &[u8], stat: &Stat) -> bool {
        let folder = self.folder(path, stat);
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.contains(&folder)
    }

    fn is_before(&self, stat: &Stat) -> bool {
        latest(changed(stat)) < *self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the image has an entry of a known folder as it is now.
    pub(crate) fn is_unchanged(&self, entry: &Entry<'_>, image: &OwnedFd) -> bool {
        let stat = entry.stat;
        let Ok(copy) = rustix::fs::statat(image, entry.name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
        // The image's file system may keep whole seconds only.
        let is_same_time = stat.st_mtime == copy.st_mtime
            && (stat.st_mtime_nsec == copy.st_mtime_nsec || copy.st_mtime_nsec == 0);
        self.is_before(stat)
            && kind(stat) == kind(&copy)
            && stat.st_rdev == copy.st_rdev
            && stat.st_size == copy.st_size
            && is_same_time
    }

    /// Removes from a folder of the image what the volume's does not have any more, or what is to be left out by now.
    pub(crate) fn prune(&self, folder: &Folder<Place>, selection: &Selection) -> Result<(), Errno> {
        let Place {
            folder: image,
            is_known,
        } = &folder.counterpart;
        let is_top = folder.path.is_empty();
        if *is_known && self.is_before(&folder.stat) {
            return Ok(());
        }
        if !is_top && selection.decide(&folder.path, true) != Decision::Take {
            return Ok(());
        }
        for entry in Dir::read_from(image)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." || (is_top && self.made.contains(name)) {
                continue;
            }
            let is_wanted =
                match rustix::fs::statat(&folder.source, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => {
                        let is_folder =
                            FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                        let path = [&folder.path, &b"/"[..], name.to_bytes()].concat();
                        let decision = selection.decide(&path, is_folder);
                        !matches!(decision, Decision::LeaveOut(_))
                            && (is_folder || !selection.is_secret(&stat))
                    }
                    Err(Errno::NOENT) => false,
                    // What cannot be looked at now was copied before.
                    Err(_) => true,
                };
            if !is_wanted {
                remove(image, name)?;
                let _ = self.removed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// When something was changed last, since 1970.
fn changed(stat: &Stat) -> Duration {
    duration(stat.st_ctime, stat.st_ctime_nsec)
}

/// The latest moment that has a time of change.
fn latest(changed: Duration) -> Duration {
    changed
        + match changed.subsec_nanos() {
            0 => SECOND,
            _ => TICK,
        }
}

impl Copying<'_> {
    /// Copies in two passes. `is_second` is called between them.
    pub(crate) fn twice(&self, is_second: impl FnOnce()) -> Result<Copied, Error> {
        let record = Record::new(self.target)?;
        let first = self.first(Some(&record))?;
        is_second();
        *record.limit.lock().unwrap_or_else(PoisonError::into_inner) = record.beginning.limit();
        let beginning = Beginning::now();
        let second = self.second(&record)?;
        let look = Look {
            limit: beginning.limit(),
            now: now(),
            count: AtomicU64::new(0),
            paths: Mutex::default(),
        };
        let _ = walk(
            self.source,
            self.selection,
            self.pool,
            self.interrupted,
            &look,
        )?;
        let mut paths = look
            .paths
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // What was written to while it was copied is among them, unless the clock is not to be trusted.
        paths.extend(second.changed);
        let without_attributes = first.without_attributes.into_iter();
        Ok(Copied {
            entries: first.entries,
            data: first.data,
            vanished: second.vanished,
            changed: sorted(paths),
            without_attributes: sorted(without_attributes.chain(second.without_attributes)),
            unfit: second.unfit,
            held: second.held,
            file_systems: second.file_systems,
            again: Some(Again {
                entries: second.entries,
                data: second.data,
                removed: record.removed.into_inner(),
                unsettled: look.count.into_inner(),
            }),
        })
    }
}

fn sorted(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = paths.into_iter().collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Finds what has changed since the second pass began.
struct Look {
    limit: Duration,
    now: Duration,
    count: AtomicU64,
    paths: Mutex<Vec<PathBuf>>,
}

impl Look {
    fn look(&self, path: &[u8], stat: &Stat) {
        // What is later than now has its time from a clock that was wrong.
        let changed = changed(stat);
        if latest(changed) >= self.limit && changed <= self.now {
            let _ = self.count.fetch_add(1, Ordering::Relaxed);
            let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
            if paths.len() < MOST_PATHS {
                paths.push(as_path(path).to_owned());
            }
        }
    }
}

impl Visitor for Look {
    type Counterpart = ();

    fn found_folder(&self, _: &Folder<()>, _: &Entry<'_>) -> Result<(), EntryError> {
        Ok(())
    }

    fn open_folder(
        &self,
        _: Option<(&Folder<()>, &CStr)>,
        _: &[u8],
        _: &Stat,
    ) -> Result<(), EntryError> {
        Ok(())
    }

    fn close_folder(&self, folder: &Folder<()>) -> Result<(), EntryError> {
        self.look(&folder.path, &folder.stat);
        Ok(())
    }

    fn file(&self, _: &Folder<()>, entry: &Entry<'_>) -> Result<(), EntryError> {
        self.look(entry.path, entry.stat);
        Ok(())
    }

    fn left_out(&self, _: &Entry<'_>, _: &Rule) {}
}
