//! A private folder inside the destination, where files are made before they take their names.
//!
//! It is a folder and not a set of odd file names for three reasons: renaming out of it is atomic (same file system), what a
//! killed run leaves is one thing that looks like nothing else, and a lock on it (`flock`, which the kernel drops with the
//! process) tells a later run whether it still has an owner.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::publish;

const PREFIX: &str = ".ec2-ami-tools.";

/// Of folders that outlive their run, for the next one to go on with.
const KEPT_PREFIX: &str = ".ec2-ami-tools-kept.";

/// A locked private folder (mode 0700) in a destination folder; removed with all it holds when dropped.
#[derive(Debug)]
pub struct Staging {
    destination: PathBuf,
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
    is_kept: bool,
}

impl Staging {
    /// Clears away what killed runs left in `destination`, then makes a new folder there.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn new(destination: &Path) -> Result<Self, Error> {
        sweep(destination, FlockOperation::NonBlockingLockExclusive)?;
        loop {
            let path = destination.join(random_name()?);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::io("write to", destination)(e)),
            }
            // Another run's clearing may have locked, and be removing, the folder between these two calls.
            if let Some(lock) = lock(&path, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(Self {
                    destination: destination.to_owned(),
                    path,
                    _lock: lock,
                    is_kept: false,
                });
            }
        }
    }

    /// The private folder in `destination` that is called by `id`, with what an earlier run has left in it. It stays, whatever
    /// happens, until [`remove`](Self::remove). `None`: another run has it now.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn kept(destination: &Path, id: &str) -> Result<Option<Self>, Error> {
        let path = destination.join(format!("{KEPT_PREFIX}{id}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("write to", destination)(e));
            }
            _ => {}
        }
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::InTheWay { path });
        }
        let lock = lock(&path, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock.map(|lock| Self {
            destination: destination.to_owned(),
            path,
            _lock: lock,
            is_kept: true,
        }))
    }

    /// Removes the folder and all that is in it.
    pub fn remove(mut self) {
        self.is_kept = false;
    }

    /// Gives a file of the private folder its name in the destination, where nothing may have that name.
    ///
    /// # Errors
    /// [`Error::Io`], also when the name is taken.
    pub fn give_name(&self, file: &str, name: &str) -> Result<PathBuf, Error> {
        let (from, to) = (self.path.join(file), self.destination.join(name));
        match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            // The file system does not know how: a link does not replace either, and the old name goes with the folder.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(&from, &to).map_err(Error::io("create", &to))?;
            }
            result => result.map_err(|e| Error::io("create", &to)(e.into()))?,
        }
        publish::sync_folder(&self.destination)?;
        Ok(to)
    }

    /// How the paths of private folders in a destination begin, this run's and others'.
    pub fn paths_begin(destination: &Path) -> PathBuf {
        destination.join(PREFIX)
    }

    /// The folder that files are published to.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// The private folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // Nothing to tell anybody here: the next run takes away what could not be removed.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Undoes what killed runs had begun in `destination`, and clears away what they left; waits for the runs that live to end.
///
/// What holds a run's lock can outlive it for a moment: a program that it had just begun to start, or the kernel's own work.
///
/// # Errors
/// The destination cannot be read or written.
pub fn sweep_when_free(destination: &Path) -> Result<(), Error> {
    sweep(destination, FlockOperation::LockExclusive)
}

/// Locks one at a time: two that wait for each other's would wait for ever.
fn sweep(destination: &Path, locking: FlockOperation) -> Result<(), Error> {
    for path in private_folders(destination)? {
        if let Some(lock) = lock(&path, locking)? {
            let stale = Abandoned { path, _lock: lock };
            publish::roll_back(&stale, destination)?;
            fs::remove_dir_all(&stale.path).map_err(Error::io("remove", &stale.path))?;
        }
    }
    Ok(())
}

/// A folder of a run that no longer lives, with its lock taken.
pub(crate) struct Abandoned {
    pub(crate) path: PathBuf,
    _lock: File,
}

fn private_folders(destination: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(destination).map_err(Error::io("read", destination))? {
        let entry = entry.map_err(Error::io("read", destination))?;
        if !is_staging_name(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue; // its owner has just finished
        };
        // The destination may be /tmp: what somebody else put there is not ours to act on.
        if metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Takes the folder's lock; `None` if it is gone, or has an owner that is not waited for.
fn lock(path: &Path, locking: FlockOperation) -> Result<Option<File>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e.into())),
    };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&folder, locking)) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(Error::io("lock", path)(e.into())),
    }
    let links = folder.metadata().map_err(Error::io("read", path))?.nlink();
    Ok((links > 0).then_some(folder))
}

fn is_staging_name(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

fn random_name() -> Result<String, Error> {
    let mut bytes = [0u8; 8];
    let source = Path::new("/dev/urandom");
    io::Read::read_exact(
        &mut File::open(source).map_err(Error::io("open", source))?,
        &mut bytes,
    )
    .map_err(Error::io("read", source))?;
    Ok(format!("{PREFIX}{:016x}", u64::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn leaves_nothing_when_dropped() {
        let destination = tempfile::tempdir().unwrap();
        let staging = Staging::new(destination.path()).unwrap();
        fs::write(staging.path().join("x"), "x").unwrap();
        assert_eq!(entries(destination.path()).len(), 1);
        drop(staging);
        assert!(entries(destination.path()).is_empty());
    }

    #[test]
    fn clears_what_a_killed_run_left_and_nothing_that_lives() {
        let destination = tempfile::tempdir().unwrap();
        let abandoned = destination.path().join(".ec2-ami-tools.0123456789abcdef");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("part.0"), "half").unwrap();
        fs::write(destination.path().join("precious"), "kept").unwrap();

        let first = Staging::new(destination.path()).unwrap();
        assert!(!abandoned.exists());
        let second = Staging::new(destination.path()).unwrap();
        assert!(first.path().is_dir() && second.path().is_dir());
        assert_ne!(first.path(), second.path());
        drop((first, second));
        assert_eq!(entries(destination.path()), ["precious"]);
    }

    #[test]
    fn what_still_has_an_owner_is_waited_for() {
        let destination = tempfile::tempdir().unwrap();
        let staging = Staging::new(destination.path()).unwrap();
        // A killed run whose lock is still held: nothing removes the folder but the one that waits.
        let lock = staging._lock.try_clone().unwrap();
        let path = staging.path().to_owned();
        std::mem::forget(staging);
        std::thread::scope(|scope| {
            let sweeper = scope.spawn(|| sweep_when_free(destination.path()));
            drop(Staging::new(destination.path()).unwrap());
            assert!(path.is_dir());
            rustix::fs::flock(&lock, FlockOperation::Unlock).unwrap();
            sweeper.join().unwrap().unwrap();
        });
        assert!(entries(destination.path()).is_empty());
    }

    #[test]
    fn what_is_kept_is_found_again_by_one_at_a_time() {
        let destination = tempfile::tempdir().unwrap();
        let kept = || Staging::kept(destination.path(), "id").unwrap();
        let first = kept().unwrap();
        fs::write(first.path().join("x"), "x").unwrap();
        assert!(kept().is_none());
        drop(first);
        drop(Staging::new(destination.path()).unwrap());
        let second = kept().unwrap();
        assert_eq!(entries(second.path()), ["x"]);
        second.remove();
        assert!(entries(destination.path()).is_empty());
    }

    #[test]
    fn a_name_that_is_taken_is_not_given() {
        let destination = tempfile::tempdir().unwrap();
        let staging = Staging::new(destination.path()).unwrap();
        for (content, name, is_given) in [("new", "image", true), ("newer", "image", false)] {
            fs::write(staging.path().join("x"), content).unwrap();
            assert_eq!(staging.give_name("x", name).is_ok(), is_given);
        }
        assert_eq!(
            fs::read_to_string(destination.path().join("image")).unwrap(),
            "new"
        );
        drop(staging);
        assert_eq!(entries(destination.path()), ["image"]);
    }

    #[test]
    fn a_link_with_such_a_name_is_not_followed() {
        let destination = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("precious"), "kept").unwrap();
        let link = destination.path().join(".ec2-ami-tools.link");
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        drop(Staging::new(destination.path()).unwrap());
        assert_eq!(entries(elsewhere.path()), ["precious"]);
        assert_eq!(entries(destination.path()), [".ec2-ami-tools.link"]);
    }

    #[test]
    fn a_destination_that_is_not_there_is_an_error_that_names_it() {
        let error = Staging::new(Path::new("/nonexistent/folder")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/folder");
    }
}
