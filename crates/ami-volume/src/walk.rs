//! Visits every entry of a volume that is selected, on several threads.
//!
//! The work is a stack of jobs: folders to enter, and batches of a large folder's entries. The last one pushed is taken first, so
//! that few folders are open at a time and memory does not grow with the volume. A thread that finds enough jobs waiting does its
//! batches itself.

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::error::Error;
use crate::filter::Rule;
use crate::selection::{Decision, Selection};

/// How many entries are given to another thread at a time.
const BATCH: usize = 128;

/// For names, in bytes.
const NAMES_BUFFER: usize = 32 << 10;

/// How often a name is looked at that another file takes each time.
const MOST_LOOKS: u32 = 16;

/// Why an entry could not be dealt with.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It has gone away since its name was read.
    Gone,
    /// Another file has taken the name since it was looked at.
    Replaced,
    /// It is left out, and the visitor has noted why.
    Noted,
    /// Everything ends.
    Fatal(Error),
}

impl Trouble {
    /// Returns a function for `map_err`: what is not there any more is no error.
    pub(crate) fn at<'p>(
        operation: &'static str,
        path: &'p [u8],
    ) -> impl FnOnce(Errno) -> Self + 'p {
        move |errno| match errno {
            Errno::NOENT | Errno::STALE => Self::Gone,
            errno => Self::Fatal(Error::io(operation, as_path(path))(errno)),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// A path on the volume, to be told of; that of the volume itself is empty where it is walked.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    match bytes {
        b"" => Path::new("/"),
        _ => Path::new(OsStr::from_bytes(bytes)),
    }
}

/// A folder that is being visited.
pub(crate) struct Place<F> {
    /// The folder itself, open.
    pub(crate) source: OwnedFd,
    /// Its path below the volume; empty for the volume itself, else with a slash at the beginning.
    pub(crate) path: Vec<u8>,
    /// As it was when it was opened.
    pub(crate) stat: Stat,
    /// The visitor's own.
    pub(crate) own: F,
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
    /// What belongs to a folder while it is visited.
    type Folder: Send + Sync;

    /// A folder has been found; it is opened later.
    fn found_folder(&self, parent: &Place<Self::Folder>, entry: &Entry<'_>) -> Result<(), Trouble>;

    /// A folder that was found is none any more, or has gone away, before it was opened.
    fn lost_folder(&self, _parent: &Place<Self::Folder>, _name: &CStr) {}

    /// A folder is entered; the volume itself has no parent.
    fn open_folder(
        &self,
        parent: Option<(&Place<Self::Folder>, &CStr)>,
        path: &[u8],
    ) -> Result<Self::Folder, Trouble>;

    /// All that is directly in a folder has been visited or left out, though not what is in folders below it.
    fn close_folder(&self, folder: &Place<Self::Folder>) -> Result<(), Trouble>;

    /// Anything but a folder.
    fn file(&self, parent: &Place<Self::Folder>, entry: &Entry<'_>) -> Result<(), Trouble>;

    /// An entry is left out by a rule.
    fn left_out(&self, entry: &Entry<'_>, rule: &Rule);

    /// A name of a file that is never copied ([`Selection::secrets`]).
    fn secret(&self, _entry: &Entry<'_>) {}

    /// What may not be looked at: whether to go on without it.
    fn may_pass_over(&self, _path: &[u8]) -> bool {
        false
    }
}

enum Job<F> {
    Folder {
        parent: Option<Arc<Place<F>>>,
        name: CString,
        is_entered: bool,
        /// How often the name was looked at.
        looks: u32,
    },
    Batch(Arc<Place<F>>, Vec<CString>),
}

struct State<F> {
    jobs: Vec<Job<F>>,
    /// Threads that are at a job, and so may push more.
    active: usize,
    error: Option<Error>,
    gone: Vec<PathBuf>,
}

struct Walk<'a, V: Visitor> {
    visitor: &'a V,
    selection: &'a Selection,
    interrupted: &'a AtomicBool,
    threads: usize,
    root: &'a Path,
    state: Mutex<State<V::Folder>>,
    changed: Condvar,
}

/// Visits everything in the folder `root` that is selected, and gives the paths of what went away meanwhile.
pub(crate) fn walk<V: Visitor>(
    root: &Path,
    selection: &Selection,
    threads: NonZeroUsize,
    interrupted: &AtomicBool,
    visitor: &V,
) -> Result<Vec<PathBuf>, Error> {
    let walk = Walk {
        visitor,
        selection,
        interrupted,
        threads: threads.get(),
        root,
        state: Mutex::new(State {
            jobs: vec![Job::Folder {
                parent: None,
                name: CString::default(),
                is_entered: true,
                looks: 0,
            }],
            active: 0,
            error: None,
            gone: Vec::new(),
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.get() {
            let helper = std::thread::Builder::new();
            // Where there are no more threads to be had, those that are there do all the work.
            if helper.spawn_scoped(scope, || walk.work()).is_err() {
                break;
            }
        }
        walk.work();
    });
    let mut state = walk
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => {
            state.gone.sort();
            Ok(state.gone)
        }
    }
}

impl<V: Visitor> Walk<'_, V> {
    fn state(&self) -> MutexGuard<'_, State<V::Folder>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if state.error.is_some() {
                return;
            }
            let Some(job) = state.jobs.pop() else {
                if state.active == 0 {
                    return;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.active += 1;
            drop(state);
            let result = self.run(job);
            state = self.state();
            state.active -= 1;
            if let Err(error) = result {
                let _ = state.error.get_or_insert(error);
            }
            if state.error.is_some() || (state.active == 0 && state.jobs.is_empty()) {
                self.changed.notify_all();
            }
        }
    }

    fn push(&self, job: Job<V::Folder>) {
        self.state().jobs.push(job);
        self.changed.notify_one();
    }

    fn run(&self, job: Job<V::Folder>) -> Result<(), Error> {
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
                    if matches!(opened, Err(Trouble::Gone | Trouble::Replaced)) {
                        self.visitor.lost_folder(&parent, &name);
                    }
                    if matches!(opened, Err(Trouble::Replaced)) {
                        self.look(&parent, &name, &path, looks)?;
                        return self.done(&parent);
                    }
                    self.done(&parent)?;
                }
                match self.note_gone(&path, opened)? {
                    Some(place) => self.list(place, is_entered),
                    None => Ok(()),
                }
            }
            Job::Batch(place, names) => {
                for name in names {
                    self.visit(&place, &name)?;
                }
                self.done(&place)
            }
        }
    }

    fn open(
        &self,
        parent: Option<&Place<V::Folder>>,
        name: &CStr,
        path: &[u8],
    ) -> Result<Place<V::Folder>, Trouble> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let source = match parent {
            Some(parent) => {
                let flags = flags | OFlags::NOFOLLOW;
                match rustix::fs::openat(&parent.source, name, flags, Mode::empty()) {
                    Err(Errno::NOTDIR | Errno::LOOP) => return Err(Trouble::Replaced),
                    source => self.passing_over(path, source)?,
                }
            }
            None => rustix::fs::open(self.root, flags, Mode::empty())
                .map_err(Error::io("read", self.root))?,
        };
        let stat = rustix::fs::fstat(&source).map_err(Trouble::at("read", path))?;
        let own = self
            .visitor
            .open_folder(parent.map(|parent| (parent, name)), path)?;
        Ok(Place {
            source,
            path: path.to_vec(),
            stat,
            own,
            unfinished: AtomicUsize::new(1),
        })
    }

    fn list(&self, place: Place<V::Folder>, is_entered: bool) -> Result<(), Error> {
        let place = Arc::new(place);
        if is_entered {
            let listed = self.visit_all(&place);
            let _ = self.note_gone(&place.path, listed)?;
        }
        self.done(&place)
    }

    fn visit_all(&self, place: &Arc<Place<V::Folder>>) -> Result<(), Trouble> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); NAMES_BUFFER];
        let mut entries = RawDir::new(&place.source, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            // A folder that is removed meanwhile has no more names, and says so by an error.
            let entry = entry.map_err(Trouble::at("read", &place.path))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            names.push(name.to_owned());
            if names.len() == BATCH {
                self.hand_over(place, std::mem::take(&mut names))?;
            }
        }
        for name in names {
            self.visit(place, &name)?;
        }
        Ok(())
    }

    fn hand_over(&self, place: &Arc<Place<V::Folder>>, names: Vec<CString>) -> Result<(), Error> {
        if self.threads > 1 && self.state().jobs.len() < self.threads {
            let _ = place.unfinished.fetch_add(1, Ordering::Relaxed);
            self.push(Job::Batch(Arc::clone(place), names));
            return Ok(());
        }
        names.iter().try_for_each(|name| self.visit(place, name))
    }

    fn done(&self, place: &Place<V::Folder>) -> Result<(), Error> {
        if place.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            let closed = self.visitor.close_folder(place);
            let _ = self.note_gone(&place.path, closed)?;
        }
        Ok(())
    }

    fn visit(&self, place: &Arc<Place<V::Folder>>, name: &CStr) -> Result<(), Error> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let path = child_path(&place.path, name);
        self.look(place, name, &path, 0)
    }

    /// Looks at a name until nothing else takes it meanwhile.
    fn look(
        &self,
        place: &Arc<Place<V::Folder>>,
        name: &CStr,
        path: &[u8],
        looks: u32,
    ) -> Result<(), Error> {
        let mut visited = Err(Trouble::Replaced);
        for look in looks..MOST_LOOKS {
            visited = self.visit_entry(place, name, path, look + 1);
            if !matches!(visited, Err(Trouble::Replaced)) {
                break;
            }
        }
        self.note_gone(path, visited).map(drop)
    }

    fn visit_entry(
        &self,
        place: &Arc<Place<V::Folder>>,
        name: &CStr,
        path: &[u8],
        looks: u32,
    ) -> Result<(), Trouble> {
        let stat = rustix::fs::statat(&place.source, name, AtFlags::SYMLINK_NOFOLLOW);
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
                self.visitor.found_folder(place, &entry)?;
                let _ = place.unfinished.fetch_add(1, Ordering::Relaxed);
                self.push(Job::Folder {
                    parent: Some(Arc::clone(place)),
                    name: name.to_owned(),
                    is_entered: decision == Decision::Take,
                    looks,
                });
                Ok(())
            }
            _ if self.selection.is_secret(stat) => {
                self.visitor.secret(&entry);
                Ok(())
            }
            _ => self.visitor.file(place, &entry),
        }
    }

    fn passing_over<T>(&self, path: &[u8], result: Result<T, Errno>) -> Result<T, Trouble> {
        match result {
            Err(Errno::ACCESS) if self.visitor.may_pass_over(path) => Err(Trouble::Gone),
            result => result.map_err(Trouble::at("read", path)),
        }
    }

    fn note_gone<T>(&self, path: &[u8], result: Result<T, Trouble>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Trouble::Noted) => Ok(None),
            Err(Trouble::Gone | Trouble::Replaced) => {
                self.state().gone.push(as_path(path).to_owned());
                Ok(None)
            }
            Err(Trouble::Fatal(error)) => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_24_the_volume_itself_has_a_name_in_errors() {
        let told = |path| match Trouble::at("copy", path)(Errno::PERM) {
            Trouble::Fatal(error) => error.to_string(),
            trouble => format!("{trouble:?}"),
        };
        assert_eq!(told(b""), "cannot copy /");
        assert_eq!(told(b"/srv/a"), "cannot copy /srv/a");
    }
}
