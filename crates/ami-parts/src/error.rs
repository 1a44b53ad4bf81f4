//! What can go wrong with parts on disk.

use std::io;
use std::path::{Path, PathBuf};

use ami_files::FileError;

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed on a file or folder, or the disk is full.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something other than a plain file has the name of a part or manifest.
    #[error("{path} is in the way: it is not a plain file", path = path.display())]
    InTheWay {
        /// What has the name.
        path: PathBuf,
    },
    /// A name that must be free is taken.
    #[error("{path} already exists", path = path.display())]
    Exists {
        /// What has the name.
        path: PathBuf,
    },
    /// A hidden file, which may configure a shell or a service, is not replaced.
    #[error("{path} is not replaced: its name begins with a dot", path = path.display())]
    DotFile {
        /// The file.
        path: PathBuf,
    },
    /// The files' names cannot be published together.
    #[error("the files for {path} cannot be given their names: one is used twice, or cannot be a file's", path = path.display())]
    Names {
        /// The destination.
        path: PathBuf,
    },
    /// A file that was to be replaced has changed meanwhile.
    #[error("{path} was changed by another program at the same time", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The caller wants to stop.
    #[error("interrupted")]
    Interrupted,
    /// Waiting for other runs took too long.
    #[error("another run has been changing files in {path} for too long", path = path.display())]
    Busy {
        /// The destination.
        path: PathBuf,
    },
    /// All files have their names, but syncing the folder failed.
    #[error("{path} is complete, but may be lost in a power failure: its folder cannot be synced", path = path.display())]
    NotSynced {
        /// The last file that got its name.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Publishing failed, and then restoring the older files failed too.
    #[error("the older files are not back in their places: they are in {path}", path = path.display())]
    NotPutBack {
        /// The folder that they are in.
        path: PathBuf,
        /// The first error.
        #[source]
        source: Box<Error>,
    },
    /// A part that the manifest names is missing.
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
        /// The file's, in lower-case hex.
        found: String,
        /// The manifest's, in lower-case hex.
        expected: String,
    },
}

impl Error {
    /// Returns a function for `map_err` that adds what was tried, and on which file.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let on_file = FileError::new(operation, path);
        move |source| Self::File(on_file(source))
    }
}
