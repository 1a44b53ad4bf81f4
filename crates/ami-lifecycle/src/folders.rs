//! The folders of files that are made.

use std::io;
use std::path::Path;

use rustix::fs::Access;

/// Whether this process may make files in a folder: not if its file system is read-only, either.
pub(crate) fn writable(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(
        folder,
        Access::WRITE_OK | Access::EXEC_OK,
    )?)
}
