//! What folders are asked, with errors that say what failed on which file.

use crate::error::Error;
use crate::folder::{Entry, Folder};

/// What has the name; `None`: nothing.
pub(crate) fn look<F: Folder>(folder: &F, name: &str) -> Result<Option<Entry>, Error> {
    folder
        .look(name)
        .map_err(Error::io("read", &folder.path().join(name)))
}

/// The names in a folder.
pub(crate) fn names<F: Folder>(folder: &F) -> Result<Vec<String>, Error> {
    folder.names().map_err(Error::io("read", folder.path()))
}

/// Makes the names in a folder last through a power cut.
pub(crate) fn sync<F: Folder>(folder: &F) -> Result<(), Error> {
    folder.sync().map_err(Error::io("sync", folder.path()))
}

/// Takes a folder's lock; `false`: somebody else has it.
pub(crate) fn lock<F: Folder>(folder: &F) -> Result<bool, Error> {
    folder.try_lock().map_err(Error::io("lock", folder.path()))
}
