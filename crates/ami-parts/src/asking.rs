//! Operations on folders, with errors that say what failed and on which file.

use crate::error::Error;
use crate::folder::{Entry, Folder};

/// The entry with this name; `None` if there is none.
pub(crate) fn look<F: Folder>(folder: &F, name: &str) -> Result<Option<Entry>, Error> {
    folder
        .look(name)
        .map_err(Error::io("read", &folder.path().join(name)))
}

/// The names in a folder.
pub(crate) fn names<F: Folder>(folder: &F) -> Result<Vec<String>, Error> {
    folder.names().map_err(Error::io("read", folder.path()))
}

/// Syncs a folder, so that its names survive a power cut.
pub(crate) fn sync<F: Folder>(folder: &F) -> Result<(), Error> {
    folder.sync().map_err(Error::io("sync", folder.path()))
}

/// Takes a folder's lock; `false` if somebody else has it.
pub(crate) fn lock<F: Folder>(folder: &F) -> Result<bool, Error> {
    folder.try_lock().map_err(Error::io("lock", folder.path()))
}
