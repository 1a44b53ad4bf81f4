//! Visits every entry of a volume that is selected, on the threads of a pool.
//!
//! The work consists of jobs: folders to enter, and batches of a large folder's entries. A thread takes the job that it spawned last
//! (rayon's order within a scope), so it goes down before it goes on, few folders are open at a time, and memory does not grow with
//! the volume. Idle threads steal the oldest job, which is the one nearest the top. Where enough jobs are waiting, a thread visits its
//! batches itself. No job waits for another.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ami_pool::{Pool, Scope};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::entry_error::{EntryError, as_path};
use crate::error::Error;
use crate::filter::Rule;
use crate::selection::{Decision, Selection};

/// How many entries are given to another thread at a time.
const BATCH: usize = 128;

/// For names, in bytes.
const NAMES_BUFFER: usize = 32 << 10;

/// How often a name is looked at that another file takes each time.
const MOST_LOOKS: u32 = 16;

/// A folder that is being visited.
pub(crate) struct Folder<C> {
    /// The folder itself, open.
    pub(crate) source: OwnedFd,
    /// Its path below the volume; empty for the volume itself, else with a slash at the beginning.
    pub(crate) path: Vec<u8>,
    /// As it was when it was opened.
    pub(crate) stat: Stat,
    /// What the visitor has for it.
    pub(crate) counterpart: C,
    /// The listing, the batches that are not done, and the folders in it that have not been opened.
    unfinished: AtomicUsize,
}

/// An entry of a folder, no folder itself unless said so.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a CStr,
    /// Below the volume, with a slash at the beginning.
    pub(crate) path: &'a [u8],
    pub(crate) stat: &'a Stat,
}

/// What is done on the way.
pub(crate) trait Visitor: Sync {
    /// What the visitor keeps for a folder while it is visited: the image's folder that it is copied into.
    type Counterpart: Send + Sync;

    /// A folder has been found; it is opened later.
    fn found_folder(
        &self,
        parent: &Folder<Self::Counterpart>,
        entry: &Entry<'_>,
    ) -> Result<(), EntryError>;

    /// A folder that was found is none any more, or has gone away, before it was opened.
    fn lost_folder(&self, _parent: &Folder<Self::Counterpart>, _name: &CStr) {}

    /// A folder is entered; the volume itself has no parent.
    fn open_folder(
        &self,
        parent: Option<(&Folder<Self::Counterpart>, &CStr)>,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Self::Counterpart, EntryError>;

    /// All that is directly in a folder has been visited or left out, though not what is in folders below it.
    fn close_folder(&self, folder: &Folder<Self::Counterpart>) -> Result<(), EntryError>;

    /// Anything but a folder.
    fn file(&self, parent: &Folder<Self::Counterpart>, entry: &Entry<'_>)
    -> Result<(), EntryError>;

    /// An entry is left out by a rule.
    fn left_out(&self, entry: &Entry<'_>, rule: &Rule);

    /// A name of a file that is never copied ([`Selection::secrets`]).
    fn secret(&self, _entry: &Entry<'_>) {}

    /// What may not be looked at: whether to go on without it.
    fn may_pass_over(&self, _path: &[u8]) -> bool {
        false
    }
}

enum Job<C> {
    Folder {
        parent: Option<Arc<Folder<C>>>,
        name: CString,
        is_entered: bool,
        /// How often the name was looked at.
        looks: u32,
    },
    Batch(Arc<Folder<C>>, Vec<CString>),
}

struct Walk<'a, V: Visitor> {
    visitor: &'a V,
    selection: &'a Selection,
    interrupted: &'a AtomicBool,
    threads: usize,
    root: &'a Path,
    /// Jobs that no thread has begun.
    waiting: AtomicUsize,
    /// The first one ends the walk.
    error: OnceLock<Error>,
    gone: Mutex<Vec<PathBuf>>,
}

/// Visits everything in the folder `root` that is selected, and returns the sorted paths of what disappeared meanwhile.
///
/// # Errors
/// The first error of the visitor or of reading the volume; [`Error::Interrupted`].
pub(crate) fn walk<V: Visitor>(
    root: &Path,
    selection: &Selection,
    pool: &Pool,
    interrupted: &AtomicBool,
    visitor: &V,
) -> Result<Vec<PathBuf>, Error> {
    let walk = Walk {
        visitor,
        selection,
        interrupted,
        threads: pool.threads().get(),
        root,
        waiting: AtomicUsize::new(0),
        error: OnceLock::new(),
        gone: Mutex::default(),
    };
    pool.scope(|scope| {
        let job = Job::Folder {
            parent: None,
            name: CString::default(),
            is_entered: true,
            looks: 0,
        };
        walk.spawn(scope, job);
    });
    match walk.error.into_inner() {
        Some(error) => Err(error),
        None => {
            let mut gone = walk
                .gone
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            gone.sort();
            Ok(gone)
        }
    }
}

impl<'s, V: Visitor> Walk<'s, V> {
    fn spawn<'w>(&'w self, scope: &Scope<'_, 'w>, job: Job<V::Counterpart>)
    where
        's: 'w,
    {
        let _ = self.waiting.fetch_add(1, Ordering::Relaxed);
        scope.spawn(move |scope| {
            let _ = self.waiting.fetch_sub(1, Ordering::Relaxed);
            if self.error.get().is_some() {
                return;
            }
            if let Err(error) = self.run(scope, job) {
                // Of several errors the first one is reported.
                let _ = self.error.set(error);
            }
        });
    }

    fn run<'w>(&'w self, scope: &Scope<'_, 'w>, job: Job<V::Counterpart>) -> Result<(), Error> {
        match job {
            Job::Folder {
                parent,
                name,
                is_entered,
                looks,
            } => {
                let path = match &parent {
                    Some(parent) => child_path(&parent.path, &name),
                    None => Vec::new(),
                };
                let opened = self.open(parent.as_deref(), &name, &path);
                if let Some(parent) = parent {
                    if matches!(opened, Err(EntryError::Gone | EntryError::Replaced)) {
                        self.visitor.lost_folder(&parent, &name);
                    }
                    if matches!(opened, Err(EntryError::Replaced)) {
                        self.look(scope, &parent, &name, &path, looks)?;
                        return self.done(&parent);
                    }
                    self.done(&parent)?;
                }
                match self.note_gone(&path, opened)? {
                    Some(folder) => self.list(scope, folder, is_entered),
                    None => Ok(()),
                }
            }
            Job::Batch(folder, names) => {
                for name in names {
                    self.visit(scope, &folder, &name)?;
                }
                self.done(&folder)
            }
        }
    }

    fn open(
        &self,
        parent: Option<&Folder<V::Counterpart>>,
        name: &CStr,
        path: &[u8],
    ) -> Result<Folder<V::Counterpart>, EntryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let source = match parent {
            Some(parent) => {
                let flags = flags | OFlags::NOFOLLOW;
                match rustix::fs::openat(&parent.source, name, flags, Mode::empty()) {
                    Err(Errno::NOTDIR | Errno::LOOP) => return Err(EntryError::Replaced),
                    source => self.passing_over(path, source)?,
                }
            }
            None => rustix::fs::open(self.root, flags, Mode::empty())
                .map_err(Error::io("read", self.root))?,
        };
        let stat = rustix::fs::fstat(&source).map_err(EntryError::at("read", path))?;
        let parent = parent.map(|parent| (parent, name));
        let counterpart = self.visitor.open_folder(parent, path, &stat)?;
        Ok(Folder {
            source,
            path: path.to_vec(),
            stat,
            counterpart,
            unfinished: AtomicUsize::new(1),
        })
    }

    fn list<'w>(
        &'w self,
        scope: &Scope<'_, 'w>,
        folder: Folder<V::Counterpart>,
        is_entered: bool,
    ) -> Result<(), Error> {
        let folder = Arc::new(folder);
        if is_entered {
            let listed = self.visit_all(scope, &folder);
            let _ = self.note_gone(&folder.path, listed)?;
        }
        self.done(&folder)
    }

    fn visit_all<'w>(
        &'w self,
        scope: &Scope<'_, 'w>,
        folder: &Arc<Folder<V::Counterpart>>,
    ) -> Result<(), EntryError> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); NAMES_BUFFER];
        let mut entries = RawDir::new(&folder.source, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            // A folder that is removed meanwhile has no more names, and says so by an error.
            let entry = entry.map_err(EntryError::at("read", &folder.path))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            names.push(name.to_owned());
            if names.len() == BATCH {
                self.hand_over(scope, folder, std::mem::take(&mut names))?;
            }
        }
        for name in names {
            self.visit(scope, folder, &name)?;
        }
        Ok(())
    }

    fn hand_over<'w>(
        &'w self,
        scope: &Scope<'_, 'w>,
        folder: &Arc<Folder<V::Counterpart>>,
        names: Vec<CString>,
    ) -> Result<(), Error> {
        if self.threads > 1 && self.waiting.load(Ordering::Relaxed) < self.threads {
            let _ = folder.unfinished.fetch_add(1, Ordering::Relaxed);
            self.spawn(scope, Job::Batch(Arc::clone(folder), names));
            return Ok(());
        }
        names
            .iter()
            .try_for_each(|name| self.visit(scope, folder, name))
    }

    fn done(&self, folder: &Folder<V::Counterpart>) -> Result<(), Error> {
        if folder.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            let closed = self.visitor.close_folder(folder);
            let _ = self.note_gone(&folder.path, closed)?;
        }
        Ok(())
    }

    fn visit<'w>(
        &'w self,
        scope: &Scope<'_, 'w>,
        folder: &Arc<Folder<V::Counterpart>>,
        name: &CStr,
    ) -> Result<(), Error> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let path = child_path(&folder.path, name);
        self.look(scope, folder, name, &path, 0)
    }

    /// Looks at a name until nothing else takes it meanwhile.
    fn look<'w>(
        &'w self,
        scope: &Scope<'_, 'w>,
        folder: &Arc<Folder<V::Counterpart>>,
        name: &CStr,
        path: &[u8],
        looks: u32,
    ) -> Result<(), Error> {
        let mut visited = Err(EntryError::Replaced);
        for look in looks..MOST_LOOKS {
            visited = self.visit_entry(scope, folder, name, path, look + 1);
            if !matches!(visited, Err(EntryError::Replaced)) {
                break;
            }
        }
        self.note_gone(path, visited).map(drop)
    }

    fn visit_entry<'w>(
        &'w self,
        scope: &Scope<'_, 'w>,
        folder: &Arc<Folder<V::Counterpart>>,
        name: &CStr,
        path: &[u8],
        looks: u32,
    ) -> Result<(), EntryError> {
        let stat = rustix::fs::statat(&folder.source, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = self.passing_over(path, stat)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let stat = &stat;
        let entry = Entry { name, path, stat };
        match self.selection.decide(path, is_folder) {
            Decision::LeaveOut(rule) => {
                if let Some(rule) = rule {
                    self.visitor.left_out(&entry, rule);
                }
                Ok(())
            }
            decision if is_folder => {
                self.visitor.found_folder(folder, &entry)?;
                let _ = folder.unfinished.fetch_add(1, Ordering::Relaxed);
                self.spawn(
                    scope,
                    Job::Folder {
                        parent: Some(Arc::clone(folder)),
                        name: name.to_owned(),
                        is_entered: decision == Decision::Take,
                        looks,
                    },
                );
                Ok(())
            }
            _ if self.selection.is_secret(stat) => {
                self.visitor.secret(&entry);
                Ok(())
            }
            _ => self.visitor.file(folder, &entry),
        }
    }

    fn passing_over<T>(&self, path: &[u8], result: Result<T, Errno>) -> Result<T, EntryError> {
        match result {
            Err(Errno::ACCESS) if self.visitor.may_pass_over(path) => Err(EntryError::Gone),
            result => result.map_err(EntryError::at("read", path)),
        }
    }

    fn note_gone<T>(&self, path: &[u8], result: Result<T, EntryError>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(EntryError::Noted) => Ok(None),
            Err(EntryError::Gone | EntryError::Replaced) => {
                let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
                gone.push(as_path(path).to_owned());
                Ok(None)
            }
            Err(EntryError::Fatal(error)) => Err(error),
        }
    }
}

fn child_path(parent: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.count_bytes());
    path.extend_from_slice(parent);
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    path
}
