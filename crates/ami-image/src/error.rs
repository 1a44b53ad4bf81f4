//! What can go wrong with an image.

use std::io;
use std::path::{Path, PathBuf};

use ami_files::FileError;

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image is neither a plain file nor a block device.
    #[error("{path} is neither a plain file nor a block device", path = path.display())]
    NotAnImage {
        /// The path as given.
        path: PathBuf,
    },
    /// Not a block device.
    #[error("{path} is not a block device", path = path.display())]
    NotADevice {
        /// The path as given.
        path: PathBuf,
    },
    /// Something uses the device.
    #[error("{path} is in use: it, or a partition of it, is mounted or belongs to something else", path = path.display())]
    Busy {
        /// The device.
        path: PathBuf,
    },
    /// The device is smaller than the image.
    #[error("{path} has {size} bytes, and the image has {image}", path = path.display())]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The image's size in bytes.
        image: u64,
    },
    /// The image was written to while it was read.
    #[error("the image {path} changed while it was read ({what})", path = path.display())]
    Changed {
        /// The image.
        path: PathBuf,
        /// What changed.
        what: &'static str,
    },
}

impl Error {
    /// Returns a function for `map_err` that says what was tried on which file.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let on_file = FileError::new(operation, path);
        move |source| Self::File(on_file(source))
    }
}
