//! What can go wrong with snapshots.

use std::path::{Path, PathBuf};

use ami_aws::{RequestError, ServiceError};
use ami_files::FileError;

use crate::request::{has_no_snapshot, is_throttling};

/// Another library's error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be done. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request did not succeed.
    #[error("{operation}: {error}{}", .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Request {
        /// The API's operation, and on what.
        operation: String,
        /// EBS's reason, such as `INVALID_SNAPSHOT_ID`.
        reason: Option<String>,
        /// Why.
        error: RequestError,
    },
    /// An answer is none that EBS gives.
    #[error("{operation}: {reason}")]
    Answer {
        /// The API's operation, and on what.
        operation: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The snapshot is not there, or no longer.
    #[error("there is no snapshot {snapshot}")]
    Vanished {
        /// Its ID.
        snapshot: String,
    },
    /// The snapshot takes no more blocks, and is not of what the source has now.
    #[error("the snapshot {snapshot} is complete already, and is not of what the source has now")]
    Closed {
        /// Its ID.
        snapshot: String,
    },
    /// What was written is not what should have been.
    #[error("the journal has {found} blocks, and {expected} should have been written")]
    Count {
        /// How many should have been.
        expected: u64,
        /// How many were.
        found: u64,
    },
    /// Every generation's snapshot was found to be in error or deleted.
    #[error("{generations} snapshots of this source have failed, one after the other")]
    Generations {
        /// How many.
        generations: u32,
    },
    /// There is no volume of this size.
    #[error("a volume of {gib} GiB cannot be: it has 1 to 65536 GiB")]
    VolumeSize {
        /// GiB.
        gib: u64,
    },
    /// The source has more bytes than the volume.
    #[error("the source has more than the {gib} GiB of the volume")]
    TooLong {
        /// The volume's size in GiB.
        gib: u64,
    },
    /// A stream has ended before its first byte: whatever should have written it has failed.
    #[error("nothing came from the source")]
    NoBytes,
    /// A stream ended before its announced end, or had more.
    #[error("the source has {found} bytes and not {expected}")]
    Length {
        /// How many it has; of one that is too long, more than were announced.
        found: u64,
        /// How many were announced.
        expected: u64,
    },
    /// A stream cannot be read a second time.
    #[error(
        "the snapshot {snapshot} is gone, and the source cannot be read again from its beginning"
    )]
    NotRead {
        /// Its ID.
        snapshot: String,
    },
    /// The source cannot be read.
    #[error("the source cannot be read at byte {offset}")]
    Source {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The source is not what it should be, as its own digests show.
    #[error("the source is not what it should be")]
    Wrong(#[source] BoxError),
    /// The source could not be read to its end.
    #[error("the source could not be read to its end")]
    Unread(#[source] BoxError),
    /// The source handed over bytes that do not follow those before.
    #[error("the source is out of order at byte {offset}")]
    OutOfOrder {
        /// Where.
        offset: u64,
    },
    /// The source was changed while it was read.
    #[error("the source was changed while it was read")]
    Changed(#[source] BoxError),
    /// What the caller knows of snapshots could not be asked for.
    #[error("the state of the snapshot {snapshot} is not known")]
    State {
        /// Its ID.
        snapshot: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Another run uses the journal.
    #[error("{path} is used by another run", path = path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// A file that could be the journal is not ours, or others may write to it.
    #[error("{path} is not used as a journal: {reason}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: &'static str,
    },
    /// The journal is of a snapshot in another region, which is not complete.
    #[error("{path} is the journal of {snapshot} in another region", path = path.display())]
    Elsewhere {
        /// The journal.
        path: PathBuf,
        /// The snapshot's ID.
        snapshot: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file of a snapshot cannot be put in its place.
    #[error(transparent)]
    Destination(#[from] ami_parts::Error),
    /// Another run downloads the same snapshot into the same folder.
    #[error("another run is downloading this snapshot to {folder}", folder = folder.display())]
    Rival {
        /// The folder.
        folder: PathBuf,
    },
    /// A path that cannot be a file's.
    #[error("{path} is not the name of a file", path = path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A block that was read back is not what was written.
    #[error("block {index} of the snapshot {snapshot} is not what was written: {found}")]
    Differs {
        /// The snapshot's ID.
        snapshot: String,
        /// The block's index.
        index: u64,
        /// What there is in its place.
        found: &'static str,
    },
    /// Work beside the story was ended, because its runtime ends.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Returns a function for `map_err` that says what was tried on which file.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let on_file = FileError::new(operation, path);
        move |source| Self::File(on_file(source))
    }

    /// What EBS says, if it has answered.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Request {
                error: RequestError::Service(error),
                ..
            } => Some(error),
            _ => None,
        }
    }

    /// Whether EBS says that the snapshot is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        let is_it = |error: &ServiceError| has_no_snapshot(error, self.reason());
        self.service().is_some_and(is_it)
    }

    /// Whether EBS says that it was asked too often.
    pub(crate) fn is_throttling(&self) -> bool {
        self.service().is_some_and(is_throttling)
    }

    /// EBS's reason.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Request { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }
}
