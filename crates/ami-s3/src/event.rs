//! What happens on the way, for whoever shows it.

use std::time::Duration;

/// Something that a user may want to know while a transfer goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A try failed, and another one follows.
    Retrying {
        /// What failed, and why.
        reason: String,
        /// How long it waits before that.
        wait: Duration,
    },
}
