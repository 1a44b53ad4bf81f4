//! The folders of files that are made.

use std::io;
use std::path::Path;

use rustix::fs::Access;

/// The folder of a file.
pub(crate) fn folder_of(file: &Path) -> &Path {
    let parent = file.parent();
    let named = parent.filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

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
