//! Events during a transfer, for the caller to show.

use std::time::Duration;

/// Something that a user may want to know during a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A try failed, and the next one begins.
    Retrying {
        /// What failed, and why.
        reason: String,
        /// The wait between the two.
        wait: Duration,
    },
}
