//! How far a transfer has come, for whoever shows it while it goes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of blocks, which are kept up to date.
#[derive(Debug, Default)]
pub struct Progress {
    /// Sent and acknowledged, or received.
    pub done: AtomicU64,
    /// Of what the snapshot has: found to be zeros.
    pub zeros: AtomicU64,
    /// Left out, because the file system calls them free.
    pub free: AtomicU64,
    /// Of those that were sent: an earlier run may have sent them.
    pub again: AtomicU64,
    /// There already from an earlier run.
    pub kept: AtomicU64,
    /// Tries that failed and were followed by others.
    pub retries: AtomicU64,
}

/// The same at an end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent and acknowledged, or received, by this run.
    pub done: u64,
    /// Of what the snapshot has: found to be zeros.
    pub zeros: u64,
    /// Left out, because the file system calls them free.
    pub free: u64,
    /// Of those that were sent: an earlier run may have sent them.
    pub again: u64,
    /// There already from an earlier run.
    pub kept: u64,
    /// Tries that failed and were followed by others.
    pub retries: u64,
}

impl Progress {
    /// The numbers at this moment.
    pub fn counts(&self) -> Counts {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Counts {
            done: read(&self.done),
            zeros: read(&self.zeros),
            free: read(&self.free),
            again: read(&self.again),
            kept: read(&self.kept),
            retries: read(&self.retries),
        }
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self) {
        for number in [&self.done, &self.zeros, &self.free, &self.again, &self.kept] {
            number.store(0, Ordering::Relaxed);
        }
    }
}
