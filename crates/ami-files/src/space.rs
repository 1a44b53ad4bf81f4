//! The free space of a file system.

use std::io;
use std::path::Path;

/// The bytes that this user can still write to the file system of `folder`.
///
/// # Errors
/// That of statvfs(3).
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail * space.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_space_and_one_that_is_not_there_is_an_error() {
        assert!(free_space(Path::new("/")).unwrap() > 0);
        let error = free_space(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
