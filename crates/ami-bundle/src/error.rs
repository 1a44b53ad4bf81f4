//! What can go wrong between an image and its bundle.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::plan::Problems;

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written, or a part is missing or damaged.
    #[error(transparent)]
    File(ami_parts::Error),
    /// The image cannot be read, or changed meanwhile.
    #[error(transparent)]
    Image(#[from] ami_image::Error),
    /// A manifest, key or certificate cannot be used.
    #[error(transparent)]
    Manifest(#[from] ami_manifest::Error),
    /// What was asked for cannot be bundled.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// A source or sink of another crate failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// A compressed chunk does not decompress to its data.
    #[error(
        "compressing the image went wrong at byte {offset} of the tar stream ({reason}): the memory or the processor may be faulty"
    )]
    Compression {
        /// Where the chunk begins in the tar stream, in bytes.
        offset: u64,
        /// What the check found.
        reason: &'static str,
    },
    /// Encryption or decryption failed.
    #[error("AES-128-CBC failed: {reason}")]
    Cipher {
        /// What OpenSSL said, or what is wrong with the data.
        reason: String,
    },
    /// The stream is damaged, or not that of a bundle.
    #[error("the bundle's stream is damaged or not a bundle's: {0}")]
    Stream(StreamError),
    /// The tar stream's SHA-1 is not the manifest's.
    #[error(
        "the image is not what was bundled: the SHA-1 of its tar stream is {found}, the manifest says {expected}"
    )]
    Digest {
        /// The actual one, in lower-case hex.
        found: String,
        /// The manifest's, in lower-case hex.
        expected: String,
    },
    /// A folder that is not empty has the image's name.
    #[error("{path} is in the way: it is a folder that is not empty", path = path.display())]
    InTheWay {
        /// The folder.
        path: PathBuf,
    },
    /// The image has the name of a file that it is made from.
    #[error("the image would replace {path}, which it is made from", path = path.display())]
    WouldReplace {
        /// The file.
        path: PathBuf,
    },
    /// A file of the image's name exists, and nothing says that it is an older image of the bundle.
    #[error(
        "{path} already exists, and the manifest is not named after it",
        path = path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The image has the name of a hidden file.
    #[error(
        "the image in the bundle is called {name:?}, which is the name of a hidden file: it is not written"
    )]
    Hidden {
        /// The name.
        name: String,
    },
    /// The caller's flag was set.
    #[error("interrupted")]
    Interrupted,
}

/// How a stream differs from a bundle's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream does not begin with a gzip header.
    #[error("it is not gzip data (is it compressed in another way, or not at all?)")]
    NotGzip,
    /// The deflate data is invalid.
    #[error("its compressed data is invalid")]
    Deflate,
    /// The stream ends too early.
    #[error("it ends too early, in {0}")]
    Truncated(&'static str),
    /// gzip's own check failed.
    #[error("gzip's {0} is wrong")]
    GzipCheck(&'static str),
    /// There is data after the end of the gzip data.
    #[error("there is data after the end of the gzip data")]
    TrailingGarbage,
    /// A tar header's checksum is wrong.
    #[error("a tar header is damaged")]
    TarHeader,
    /// A field of a tar header has no valid value.
    #[error("the tar header's {0} is invalid")]
    TarField(&'static str),
    /// The member is not a plain file.
    #[error("its tar member {name:?} is {kind}, not a plain file")]
    NotAFile {
        /// The member's name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// The member's name is not a plain file name.
    #[error(
        "its tar member has the name {0:?}, which is not a plain file name: it could leave the destination"
    )]
    Name(String),
    /// There is more than one member.
    #[error("its tar stream has more than one member")]
    SecondMember,
    /// There is no member.
    #[error("its tar stream has no member")]
    NoMember,
    /// The sparse map is invalid.
    #[error("its sparse map {0}")]
    SparseMap(&'static str),
    /// The image's size is not the manifest's.
    #[error("the image has {found} bytes, the manifest says {expected}")]
    Size {
        /// Bytes, from the tar header.
        found: u64,
        /// Bytes, from the manifest.
        expected: u64,
    },
    /// There is data after the end of the archive.
    #[error("there is data after the end of the tar archive")]
    AfterEnd,
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<ami_parts::Error> for Error {
    fn from(error: ami_parts::Error) -> Self {
        match error {
            ami_parts::Error::Interrupted => Self::Interrupted,
            error => Self::File(error),
        }
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
