//! Completes an unfinished publication if its last file has its name, and otherwise undoes it.
//!
//! Recovery touches only files that are still the ones in the journal. It can be interrupted anywhere and repeated.

use std::io;
use std::path::PathBuf;

use crate::asking::{look, sync};
use crate::error::Error;
use crate::folder::{Folder, place, take};
use crate::journal::{JOURNAL, Journal, LARGEST};
use crate::private;

/// The result of settling a publication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// There was no unfinished publication.
    Nothing,
    /// It was completed.
    Forward,
    /// It was undone.
    Back,
    /// It was undone, except that names of older files were taken: these files are kept in this folder.
    Saved(PathBuf),
}

impl Settled {
    pub(crate) fn is_forward(&self) -> bool {
        *self == Self::Forward
    }

    pub(crate) fn saved(self) -> Option<PathBuf> {
        match self {
            Self::Saved(path) => Some(path),
            _ => None,
        }
    }
}

/// Settles the publication that was begun from the private folder `folder`, called `name`. The caller must have the turn.
pub(crate) fn settle<F: Folder>(destination: &F, folder: &F, name: &str) -> Result<Settled, Error> {
    let Some(journal) = read(folder)? else {
        return Ok(Settled::Nothing);
    };
    if let Some(last) = journal.last()
        && let Some(there) = look(destination, &last.target)?
        && there.identity.is_still(&last.identity)
    {
        // The last file may have got its name just before a power cut.
        sync(destination)?;
        finish(folder, &journal)?;
        return Ok(Settled::Forward);
    }
    if back(destination, folder, &journal)? {
        end(folder)?;
        return Ok(Settled::Back);
    }
    save(destination, folder, name, &journal).map(Settled::Saved)
}

/// Ends a complete publication: removes the journal and the replaced files.
pub(crate) fn finish<F: Folder>(folder: &F, journal: &Journal) -> Result<(), Error> {
    end(folder)?;
    for index in 0..journal.old.len() {
        // The folder is removed afterwards anyway.
        let _ = folder.remove(&Journal::slot(index));
    }
    Ok(())
}

fn end<F: Folder>(folder: &F) -> Result<(), Error> {
    let path = folder.path().join(JOURNAL);
    folder.remove(JOURNAL).map_err(Error::io("remove", &path))
}

/// The errors in reading something that is too large for a journal, or not a file.
const NEVER_WRITTEN: [io::ErrorKind; 3] = [
    io::ErrorKind::FileTooLarge,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::IsADirectory,
];

/// The journal in a folder, if there is one and it was written there.
fn read<F: Folder>(folder: &F) -> Result<Option<Journal>, Error> {
    let path = folder.path().join(JOURNAL);
    if look(folder, JOURNAL)?.is_none() {
        return Ok(None);
    }
    let bytes = match folder.read(JOURNAL, LARGEST) {
        // This program has not written it.
        Err(e) if NEVER_WRITTEN.contains(&e.kind()) => return Ok(None),
        result => result.map_err(Error::io("read", &path))?,
    };
    let identity = folder
        .stat()
        .map_err(Error::io("read", folder.path()))?
        .identity;
    let here = (identity.inode, identity.born);
    Ok(Journal::parse(&bytes).filter(|journal| journal.folder == here))
}

/// Moves the new files back to the private folder, and the older files back to their names; `false` if another file has one of these.
fn back<F: Folder>(destination: &F, folder: &F, journal: &Journal) -> Result<bool, Error> {
    let mut is_taken = false;
    for new in journal.new.iter().rev() {
        let taken = take(destination, &new.target, folder, &new.staged, |now| {
            now.is_still(&new.identity)
        });
        is_taken |= taken.map_err(Error::io(
            "move back",
            &destination.path().join(&new.target),
        ))?;
    }
    if is_taken {
        sync(destination)?;
    }
    let mut is_whole = true;
    let mut is_manifests_turn = false;
    // Manifests were moved first, and are restored last: only when the other files are back and synced.
    for (index, old) in journal.old.iter().enumerate().rev() {
        if journal.is_manifest(&old.target) && !is_manifests_turn {
            is_manifests_turn = true;
            sync(destination)?;
        }
        if is_manifests_turn && !is_whole {
            break;
        }
        is_whole &= put_back(destination, folder, &Journal::slot(index), &old.target)?;
    }
    sync(destination)?;
    Ok(is_whole)
}

/// Restores an older file; `false` if its name is taken.
fn put_back<F: Folder>(
    destination: &F,
    folder: &F,
    slot: &str,
    target: &str,
) -> Result<bool, Error> {
    let path = destination.path().join(target);
    // It was never moved, or is back already.
    if folder
        .look(slot)
        .map_err(Error::io("read", folder.path()))?
        .is_none()
    {
        return Ok(true);
    }
    match place(folder, slot, destination, target) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        result => result.map(|()| true).map_err(Error::io("put back", &path)),
    }
}

/// Keeps files that cannot be restored, in a folder whose name no run removes.
fn save<F: Folder>(
    destination: &F,
    folder: &F,
    name: &str,
    journal: &Journal,
) -> Result<PathBuf, Error> {
    let path = private::save(destination, name)?;
    // From here on the folder is for the user, so the files get their real names.
    for (index, old) in journal.old.iter().enumerate() {
        let _ = place(folder, &Journal::slot(index), folder, &old.target);
    }
    for new in &journal.new {
        let _ = folder.remove(&new.staged);
    }
    let _ = folder.remove(JOURNAL);
    let _ = folder.remove_folder(crate::turn::TURN);
    sync(destination)?;
    Ok(path)
}
