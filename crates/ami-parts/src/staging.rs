//! A private folder inside the destination, in which files are made before they get their names.
//!
//! A folder is better than temporary file names for three reasons: renaming out of it is atomic (same file system), what a killed run
//! leaves is one thing that cannot be mistaken for anything else, and a lock on it (`flock`, which the kernel releases with the
//! process) tells a later run whether it still has an owner.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::asking::{self, lock, look};
use crate::dir::Dir;
use crate::error::Error;
use crate::folder::{Folder, place};
use crate::journal::{JOURNAL, PRIVATE};
use crate::private::{DOWNLOAD, Private, SAVED, WORK, open_ours};
use crate::publish::{self, NewFile};
use crate::recovery;
use crate::wait::{Waiter, Waiting};
use crate::{legacy, private, turn};

/// A private folder that is still to be made, so that a sweeper can be told about it before there is anything to sweep.
#[derive(Debug)]
pub struct Prepared {
    destination: Dir,
    name: String,
    is_kept: bool,
}

/// A locked private folder (mode 0700) in a destination folder; removed with its contents when dropped.
#[derive(Debug)]
pub struct Staging {
    private: Private<Dir>,
    is_kept: bool,
}

impl Prepared {
    /// Opens the destination, and chooses the folder's name.
    ///
    /// # Errors
    /// The destination cannot be opened.
    pub fn new(destination: &Path) -> Result<Self, Error> {
        Ok(Self {
            destination: Dir::named(destination).map_err(Error::io("read", destination))?,
            name: random_name(WORK)?,
            is_kept: false,
        })
    }

    /// The same for a folder that outlives its run, so that the next one with this `id` can resume; finds an existing one. `None`: another
    /// run is using it.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn kept(destination: &Path, id: &str) -> Result<Option<Self>, Error> {
        let Self {
            destination, name, ..
        } = Self::new(destination)?;
        let own = Private::try_make(destination, &name)?;
        let own = own.map_err(|destination| Error::Busy {
            path: destination.path().to_owned(),
        })?;
        let chosen = choose_kept(&own, id);
        own.clear();
        Ok(chosen?.map(|name| Self {
            destination: own.destination,
            name,
            is_kept: true,
        }))
    }

    /// The folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A descriptor of the destination.
    ///
    /// # Errors
    /// There are too many.
    pub fn destination(&self) -> Result<File, Error> {
        let path = self.destination.path();
        self.destination
            .descriptor()
            .map_err(Error::io("open", path))
    }

    /// Makes the folder, or opens the existing one, and removes what killed runs left in the destination.
    ///
    /// # Errors
    /// The destination cannot be read or written; [`Error::Interrupted`].
    pub fn make(self, waiting: Waiting<'_>) -> Result<Staging, Error> {
        let mut waiter = Waiter::new(waiting);
        let mut destination = self.destination;
        // Another run's sweep may have locked the new folder and be removing it.
        let private = loop {
            match Private::try_make(destination, &self.name)? {
                Ok(private) => break private,
                Err(again) => {
                    waiter.pause(again.path())?;
                    destination = again;
                }
            }
        };
        let staging = Staging {
            private,
            is_kept: self.is_kept,
        };
        staging.settle(waiting)?;
        staging.private.sweep()?;
        legacy::sweep(&staging.private)?;
        Ok(staging)
    }
}

/// The folder of an earlier run with this `id`, or a new name.
fn choose_kept(own: &Private<Dir>, id: &str) -> Result<Option<String>, Error> {
    let begin = format!("{DOWNLOAD}{id}.");
    let mut names = own.names()?;
    names.retain(|name| name.starts_with(&begin));
    names.sort();
    for name in names {
        if let Some(folder) = own.open(&name)? {
            return Ok(lock(&folder)?.then_some(name));
        }
    }
    random_name(&begin).map(Some)
}

impl Staging {
    /// Removes what killed runs left in `destination`, then makes a new folder there.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn new(destination: &Path) -> Result<Self, Error> {
        Prepared::new(destination)?.make(Waiting::silent())
    }

    /// Settles an earlier run's unfinished publication from this folder.
    fn settle(&self, waiting: Waiting<'_>) -> Result<(), Error> {
        let folder = &self.private.folder;
        let journal = folder
            .look(JOURNAL)
            .map_err(Error::io("read", folder.path()))?;
        if journal.is_some() {
            let _turn = turn::take_turn(&self.private, self.wait(waiting))?;
            let (destination, name) = (&self.private.destination, &self.private.name);
            let _ = recovery::settle(destination, folder, name)?;
        }
        Ok(())
    }

    fn wait<'a>(&'a self, waiting: Waiting<'a>) -> impl FnMut() -> Result<(), Error> + 'a {
        let mut waiter = Waiter::new(waiting);
        move || waiter.pause(self.destination())
    }

    /// Removes the folder and its contents.
    pub fn remove(mut self) {
        self.is_kept = false;
    }

    /// Creates a new file in the private folder, with `mode` and the umask.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(&self, name: &str, mode: u32) -> Result<File, Error> {
        let folder = &self.private.folder;
        folder
            .create(name, mode)
            .map_err(Error::io("create", &folder.path().join(name)))
    }

    /// Writes a new file in the private folder and syncs it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let path = self.path().join(name);
        let mut file = self.create(name, mode)?;
        io::Write::write_all(&mut file, bytes).map_err(Error::io("write", &path))?;
        file.sync_all().map_err(Error::io("sync", &path))
    }

    /// Removes a file of the private folder, if it exists.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn discard(&self, name: &str) -> Result<(), Error> {
        match self.private.folder.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.path().join(name))(e))
            }
            _ => Ok(()),
        }
    }

    /// Gives a plain file of the destination that belongs to this user alone a second name in the private folder. `false`: it is not such a
    /// file, or the file system does not support hard links.
    pub fn adopt(&self, target: &str, name: &str) -> bool {
        self.try_adopt(target, name).unwrap_or(false)
    }

    fn try_adopt(&self, target: &str, name: &str) -> io::Result<bool> {
        let file = self.private.destination.open_file(target)?;
        let metadata = file.metadata()?;
        // A file that others can write to, or have a link to, could be changed after it was checked.
        let is_own = metadata.uid() == self.private.access.0
            && metadata.mode() & 0o022 == 0
            && metadata.nlink() == 1;
        if is_own {
            self.private.folder.link_file(file.as_fd(), name)?;
        }
        Ok(is_own)
    }

    /// Gives a file of the private folder its name in the destination, which must be free.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::File`]; [`Error::NotSynced`], in which case the file has its name.
    pub fn give_name(&self, file: &str, name: &str) -> Result<PathBuf, Error> {
        let (folder, destination) = (&self.private.folder, &self.private.destination);
        let path = destination.path().join(name);
        match place(folder, file, destination, name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists { path }),
            result => {
                result.map_err(Error::io("create", &path))?;
                self.synced(path)
            }
        }
    }

    /// Gives a file of the private folder its name in the destination, replacing a file or empty folder.
    ///
    /// # Errors
    /// [`Error::InTheWay`] for a folder that is not empty; [`Error::File`]; [`Error::NotSynced`], in which case the file has its name.
    pub fn replace(&self, file: &str, name: &str) -> Result<PathBuf, Error> {
        let (folder, destination) = (&self.private.folder, &self.private.destination);
        let path = destination.path().join(name);
        let old = look(destination, name)?;
        if old.is_some_and(|old| old.is_folder) {
            destination
                .remove_folder(name)
                .map_err(|e| match e.kind() {
                    io::ErrorKind::DirectoryNotEmpty => Error::InTheWay { path: path.clone() },
                    _ => Error::io("remove", &path)(e),
                })?;
        }
        folder
            .rename(file, destination, name)
            .map_err(Error::io("rename a file to", &path))?;
        self.synced(path)
    }

    fn synced(&self, path: PathBuf) -> Result<PathBuf, Error> {
        match self.private.destination.sync() {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::NotSynced { path, source }),
        }
    }

    /// Publishes synced files of the private folder in this order, all or none. The last one, through which the others are found, gets its
    /// name when theirs are synced. Files of the bundle `retired` that are not replaced are removed. If this fails, or the process is killed,
    /// all files that were replaced are restored, now or by a later run.
    ///
    /// Returns the folders with older files of interrupted runs that could not be restored, because their names were taken.
    ///
    /// # Errors
    /// After [`Error::Exists`], [`Error::InTheWay`], [`Error::DotFile`], [`Error::Changed`], [`Error::Busy`], [`Error::Interrupted`] and
    /// [`Error::File`], nothing has changed; after [`Error::NotSynced`], everything is published; after [`Error::NotPutBack`], older files
    /// are where the error says.
    pub fn publish(
        &self,
        files: &[NewFile],
        retired: Option<&str>,
        waiting: Waiting<'_>,
    ) -> Result<Vec<PathBuf>, Error> {
        publish::publish(&self.private, files, retired, self.wait(waiting))
    }

    /// The folders in the destination with older files of interrupted runs that could not be restored.
    ///
    /// # Errors
    /// The destination cannot be read.
    pub fn saved(&self) -> Result<Vec<PathBuf>, Error> {
        let destination = &self.private.destination;
        let names = asking::names(destination)?;
        let is_saved = |name: &String| {
            let open = || open_ours(destination, name, self.private.access);
            name.starts_with(SAVED) && open().is_ok_and(|folder| folder.is_some())
        };
        let paths = names.iter().filter(|name| is_saved(name));
        Ok(paths.map(|name| destination.path().join(name)).collect())
    }

    /// The prefix of the paths of all private folders in a destination.
    pub fn paths_begin(destination: &Path) -> PathBuf {
        destination.join(PRIVATE)
    }

    /// The folder that files are published to.
    pub fn destination(&self) -> &Path {
        self.private.destination.path()
    }

    /// The private folder's path, for messages and for child processes. Anyone who can rename folders in the destination can make it lead
    /// elsewhere.
    pub fn path(&self) -> &Path {
        self.private.folder.path()
    }

    /// A path of a file in the private folder that cannot be made to lead elsewhere. Valid only in this process.
    pub fn own_path(&self, name: &str) -> PathBuf {
        self.private.folder.own_path().join(name)
    }

    /// Opens the folder again.
    pub(crate) fn folder(&self) -> Result<Dir, Error> {
        let fd = self.private.folder.descriptor();
        Ok(Dir::from_descriptor(
            fd.map_err(Error::io("open", self.path()))?,
            self.path(),
        ))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_kept {
            self.private.clear();
        }
    }
}

/// Settles what the killed run of the private folder `name` had begun, and removes the folder, unless it is to be kept. `destination` is
/// the open destination folder.
///
/// A folder that does not belong to this user, as on a file server that maps root to another user, is left to the next run.
///
/// A killed run's lock can be held for a moment longer, by a child process that was just being started or by the kernel. This function
/// waits for that, and for runs that are publishing.
///
/// # Errors
/// The destination cannot be read or written; [`Error::Busy`].
pub fn sweep_after(destination: File, name: &str) -> Result<(), Error> {
    let destination = Dir::from_descriptor(destination, Path::new("."));
    let mut waiter = Waiter::new(Waiting::silent());
    let user = rustix::process::geteuid().as_raw();
    private::sweep_after(destination, name, user, || waiter.pause(Path::new(".")))
}

/// The files of an older bundle of that name, which publishing replaces or removes.
///
/// # Errors
/// [`Error::InTheWay`] for a folder with such a name; [`Error::File`] if the destination cannot be read.
pub fn replaced_files(destination: &Path, bundle: &str) -> Result<Vec<PathBuf>, Error> {
    let folder = Dir::named(destination).map_err(Error::io("read", destination))?;
    let found = publish::files_of_bundle(&folder, bundle)?;
    let paths = found.into_iter().map(|(name, entry)| {
        let path = destination.join(name);
        if entry.is_folder {
            Err(Error::InTheWay { path })
        } else {
            Ok(path)
        }
    });
    paths.collect()
}

/// Whether a file can get this name: it must be free, or a plain file's that may be replaced. A device, a link or a folder never is.
///
/// # Errors
/// [`Error::Exists`], [`Error::InTheWay`].
pub fn check_place(path: &Path, may_replace: bool) -> Result<(), Error> {
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) if !may_replace => Err(Error::Exists { path: path.into() }),
        Ok(old) if old.is_file() => Ok(()),
        Ok(_) => Err(Error::InTheWay { path: path.into() }),
    }
}

fn random_name(begin: &str) -> Result<String, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::io("read", Path::new("/dev/urandom"))(io::Error::other(e)))?;
    Ok(format!("{begin}{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests;
