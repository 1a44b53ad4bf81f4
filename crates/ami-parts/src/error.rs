//! What can go wrong with parts on disk.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed on a file or folder.
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
    /// The destination has run out of space.
    #[error("no space left for {path}: free some, or choose another destination with --destination", path = path.display())]
    NoSpace {
        /// The file that could not be written.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something that is no plain file has the name of a part or manifest.
    #[error("{path} is in the way: it is not a plain file; move it or choose another --prefix", path = path.display())]
    InTheWay {
        /// What has the name.
        path: PathBuf,
    },
    /// A part that the manifest names is not there.
    #[error("part {path} is missing", path = path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A part's SHA-1 is not the manifest's.
    #[error("part {path} is damaged: its SHA-1 is {found}, the manifest says {expected}", path = path.display())]
    Digest {
        /// The part.
        path: PathBuf,
        /// What the file has, in lower-case hex.
        found: String,
        /// What the manifest has, in lower-case hex.
        expected: String,
    },
}

impl Error {
    /// Returns a function for `map_err` that says what was tried on which file.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
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
