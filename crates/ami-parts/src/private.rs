//! Private folders in a destination: this run's, other runs', and those left by killed runs.
//!
//! | name | purpose | removed by |
//! |---|---|---|
//! | `.ec2-ami-tools-work.…` | belongs to one run, which holds its lock | the run; else its sweeper, or the next run |
//! | `.ec2-ami-tools-download.…` | a download that can be resumed | the run that completes it |
//! | `.ec2-ami-tools-saved.…` | older files that could not be restored because their names were taken | the user |
//! | `.ec2-ami-tools.…` | a run of version 0.1.0 | the next run, if its lock is free |

use std::io;
use std::path::PathBuf;

use crate::asking::{self, lock};
use crate::error::Error;
use crate::folder::{Folder, place};
use crate::journal::{JOURNAL, UNFINISHED};
use crate::turn::{TURN, take_turn};
use crate::{names, recovery};

pub(crate) const WORK: &str = ".ec2-ami-tools-work.";
pub(crate) const DOWNLOAD: &str = ".ec2-ami-tools-download.";
pub(crate) const SAVED: &str = ".ec2-ami-tools-saved.";

/// A private folder and the destination that contains it.
#[derive(Debug)]
pub(crate) struct Private<F> {
    pub(crate) destination: F,
    pub(crate) folder: F,
    pub(crate) name: String,
    /// The owner and mode of a folder that was just made, by which our own are recognised.
    pub(crate) access: (u32, u32),
}

impl<F: Folder> Private<F> {
    /// Makes the folder if it does not exist, and locks it. The inner `Err` returns the destination: somebody else has the lock, or is
    /// removing the folder.
    pub(crate) fn try_make(destination: F, name: &str) -> Result<Result<Self, F>, Error> {
        let shown = destination.path().to_owned();
        let made = match destination.make(name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            result => result
                .map(|()| true)
                .map_err(Error::io("write to", &shown))?,
        };
        match Self::try_lock_made(&destination, name) {
            Ok(Some((folder, access))) => Ok(Ok(Self {
                destination,
                folder,
                name: name.to_owned(),
                access,
            })),
            Ok(None) => Ok(Err(destination)),
            Err(e) => {
                if made {
                    let _ = destination.remove_folder(name);
                }
                Err(Error::io("open", &shown.join(name))(e))
            }
        }
    }

    fn try_lock_made(destination: &F, name: &str) -> io::Result<Option<(F, (u32, u32))>> {
        let Some(folder) = unless_gone(destination.open(name))? else {
            return Ok(None);
        };
        let is_locked = folder.try_lock()?;
        let entry = folder.stat()?;
        Ok((is_locked && entry.links > 0).then_some((folder, entry.access)))
    }

    /// The names of all runs' private folders, this run's included, whoever owns them.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = asking::names(&self.destination)?;
        names.retain(|name| name.starts_with(WORK) || name.starts_with(DOWNLOAD));
        Ok(names)
    }

    /// Opens a private folder of the same owner; `None` if it does not exist or is not ours.
    pub(crate) fn open(&self, name: &str) -> Result<Option<F>, Error> {
        open_ours(&self.destination, name, self.access)
            .map_err(Error::io("open", &self.destination.path().join(name)))
    }

    /// Fails if this folder's name now leads elsewhere.
    pub(crate) fn is_there(&self) -> Result<(), Error> {
        match is_at(&self.destination, &self.name, &self.folder) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::io("find", self.folder.path())(
                io::ErrorKind::NotFound.into(),
            )),
            Err(e) => Err(Error::io("find", self.folder.path())(e)),
        }
    }

    /// Settles what killed runs had begun, and removes their folders. Does not wait; what cannot be removed is left to a later run.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        for name in self.names()? {
            if name == self.name {
                continue;
            }
            // A failure in another run's folder must not fail this run.
            let _ = self.sweep_one(&name);
        }
        Ok(())
    }

    /// Settles what the run of the folder `name` had begun, and removes the folder, unless it still has an owner.
    fn sweep_one(&self, name: &str) -> Result<(), Error> {
        let Some(folder) = self.open(name)? else {
            return Ok(());
        };
        if !lock(&folder)? {
            return Ok(());
        }
        self.settle_and_clear(&folder, name, || Err(Error::Interrupted))
    }

    /// Settles what the run of this folder had begun, and removes the folder, unless it is to be kept. The caller holds its lock. `wait` is
    /// called while another run has the turn; its error ends the wait.
    fn settle_and_clear(
        &self,
        folder: &F,
        name: &str,
        wait: impl FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let journal = folder
            .look(JOURNAL)
            .map_err(Error::io("read", folder.path()))?;
        let mut is_done = !name.starts_with(DOWNLOAD);
        if journal.is_some() {
            let _turn = take_turn(self, wait)?;
            is_done |= recovery::settle(&self.destination, folder, name)?.is_forward();
        }
        if is_done {
            clear(&self.destination, folder, name);
        }
        Ok(())
    }

    /// Settles every unfinished publication in this destination, this run's included. The caller must have the turn. Every run that
    /// publishes has it, so nobody is working on any of them.
    pub(crate) fn settle_all(&self) -> Result<Vec<PathBuf>, Error> {
        let mut saved = Vec::new();
        for name in self.names()? {
            if let Some(folder) = self.open(&name)? {
                saved.extend(recovery::settle(&self.destination, &folder, &name)?.saved());
            }
        }
        Ok(saved)
    }

    /// Removes the folder and its contents, unless a publication from it is still to be settled.
    pub(crate) fn clear(&self) {
        clear(&self.destination, &self.folder, &self.name);
    }
}

/// Settles what the killed run of the private folder `name` had begun, and removes the folder, unless it is to be kept. `wait` is called
/// while the folder still has an owner, and while another run has the turn; its error ends the wait. A folder that does not belong to
/// `user`, or that others may enter, is left alone.
pub(crate) fn sweep_after<F: Folder>(
    destination: F,
    name: &str,
    user: u32,
    mut wait: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let path = destination.path().join(name);
    let opened = unless_gone(destination.open(name)).map_err(Error::io("open", &path))?;
    let Some(folder) = opened else {
        return Ok(());
    };
    let access = folder.stat().map_err(Error::io("read", &path))?.access;
    if access.0 != user || access.1 & 0o077 != 0 {
        return Ok(());
    }
    while !lock(&folder)? {
        wait()?;
    }
    let private = Private {
        destination,
        folder,
        name: name.to_owned(),
        access,
    };
    // Another run may have removed it meanwhile.
    match is_at(&private.destination, name, &private.folder) {
        Ok(true) => private.settle_and_clear(&private.folder, name, wait),
        Ok(false) => Ok(()),
        Err(e) => Err(Error::io("find", &path)(e)),
    }
}

/// Opens a folder with this owner and mode; `None` if there is no such folder.
pub(crate) fn open_ours<F: Folder>(
    parent: &F,
    name: &str,
    access: (u32, u32),
) -> io::Result<Option<F>> {
    let is_ours = |entry: &crate::folder::Entry| entry.is_folder && entry.access == access;
    if !parent.look(name)?.is_some_and(|entry| is_ours(&entry)) {
        return Ok(None);
    }
    let Some(folder) = unless_gone(parent.open(name))? else {
        return Ok(None);
    };
    // The folder may have been exchanged since it was examined.
    let entry = folder.stat()?;
    Ok((is_ours(&entry) && entry.links > 0).then_some(folder))
}

fn unless_gone<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE].map(Errno::raw_os_error);
    match opened {
        Err(e) if e.raw_os_error().is_some_and(|code| gone.contains(&code)) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Keeps a private folder for the user, under a name that no run removes. Returns its new path.
pub(crate) fn save<F: Folder>(destination: &F, name: &str) -> Result<PathBuf, Error> {
    let id = name.rsplit_once('.').map_or(name, |(_, id)| id);
    let saved = format!("{SAVED}{id}");
    let path = destination.path().join(&saved);
    place(destination, name, destination, &saved).map_err(Error::io("create", &path))?;
    Ok(path)
}

/// Whether the name leads to this very folder.
pub(crate) fn is_at<F: Folder>(parent: &F, name: &str, folder: &F) -> io::Result<bool> {
    let there = parent.look(name)?;
    let identity = folder.stat()?.identity;
    Ok(there.is_some_and(|there| there.is_folder && there.identity.is_folder(&identity)))
}

/// Removes a folder and the files that this program puts into such folders. If it contains anything else, it stays. Errors are not
/// reported, because a later run tries again.
pub(crate) fn clear<F: Folder>(destination: &F, folder: &F, name: &str) {
    let is_settled = matches!(folder.look(JOURNAL), Ok(None));
    if is_settled && is_at(destination, name, folder).is_ok_and(|is_at| is_at) {
        remove_files(folder);
        let _ = destination.remove_folder(name);
    }
}

fn remove_files<F: Folder>(folder: &F) {
    for name in folder.names().unwrap_or_default() {
        if name == TURN {
            let _ = folder.remove_folder(&name);
        } else if is_own_file(&name) {
            let _ = folder.remove(&name);
        }
    }
}

/// Whether this program uses the name in private folders.
fn is_own_file(name: &str) -> bool {
    let numbered = |begin: &str| {
        let digits = name.strip_prefix(begin);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    matches!(
        name,
        "image" | "blocks" | "manifest" | "key" | "certificate" | "new" | "backup"
    )
        || name == UNFINISHED
        || numbered("part.")
        || numbered("old.")
        // Used by 0.1.0.
        || name.ends_with(names::MANIFEST_SUFFIX)
        || name.ends_with(".pem")
}
