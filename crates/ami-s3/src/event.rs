//! What happens on the way, for whoever shows it.

use std::time::Duration;

/// Something that a user may want to know while a transfer goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A try failed, and another one begins.
    Retrying {
        /// What failed, and why.
        reason: String,
        /// How long the wait between them was.
        wait: Duration,
    },
}
