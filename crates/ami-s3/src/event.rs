//! What happens on the way, for whoever shows it.

use std::time::Duration;

/// Something that a user may want to know while a transfer goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A try failed, and another one follows.
    Retrying {
        /// What failed, and why.
        reason: String,
        /// How long it waits before that.
        wait: Duration,
    },
    /// A manifest of an older bundle is deleted now, before parts of it are replaced.
    OlderGoes {
        /// Bucket and key.
        location: String,
    },
    /// It may not be deleted, if it is there.
    OlderStays {
        /// Bucket and key.
        location: String,
        /// S3's reason.
        reason: String,
    },
}
