//! What can go wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

/// An operation on a file or folder failed. The cause is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The disk, or the user's quota, is full.
    #[error("no space left for {path}", path = path.display())]
    NoSpace {
        /// The file that could not be written.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb: `write`, `rename`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// Returns a function for `map_err` that adds what was tried, and on which file.
    pub fn new(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = shown(path);
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}

/// The path to show to users: resolves one through an open folder of this process (`/proc/self/fd/5/name`), keeps any other.
pub fn shown(path: &Path) -> PathBuf {
    let mut below = path
        .strip_prefix("/proc/self/fd")
        .unwrap_or(Path::new(""))
        .iter();
    let target = below
        .next()
        .map(|number| Path::new("/proc/self/fd").join(number).read_link());
    match target {
        Some(Ok(folder)) => folder.join(below.as_path()),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_full_disk_has_its_own_error_and_paths_are_shown_as_users_know_them() {
        let folder = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(folder.path()).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}/image", opened.as_raw_fd()));
        let name = folder.path().join("image");
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = FileError::new("write", &path)(kind.into());
            assert!(matches!(error, FileError::NoSpace { .. }), "{error:?}");
            assert_eq!(
                error.to_string(),
                format!("no space left for {}", name.display())
            );
        }
        let error = FileError::new("write", Path::new("a"))(io::Error::other("worn out"));
        assert_eq!(error.to_string(), "cannot write a");
        assert_eq!(error.source().unwrap().to_string(), "worn out");
    }
}
