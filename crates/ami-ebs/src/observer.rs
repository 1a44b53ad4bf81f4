//! The caller's side of a story.

use std::sync::Arc;

use crate::error::BoxError;
use crate::progress::Progress;

/// The caller of a story, told on the task that runs it.
pub trait Observer {
    /// Takes note of what happens.
    fn tell(&self, event: Event);
}

/// Nobody listens.
impl Observer for () {
    fn tell(&self, _: Event) {}
}

/// What happens in a story.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A snapshot was started, or that of an earlier run is gone on with.
    Snapshot {
        /// Its ID.
        snapshot: String,
        /// Whether an earlier run has begun it.
        is_resumed: bool,
    },
    /// A snapshot will not be gone on with, and is deleted: [`Snapshots::delete`].
    Abandoned {
        /// Its ID.
        snapshot: String,
    },
    /// Blocks are transferred from now on.
    Begin {
        /// The most blocks that there can be.
        blocks: u64,
        /// How far it has come.
        progress: Arc<Progress>,
    },
    /// All blocks are transferred.
    End,
}

/// How EC2 describes a snapshot ("DescribeSnapshots").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Blocks can be written, or it is being completed.
    Pending,
    /// It can be read.
    Completed,
    /// It has failed.
    Error,
}

/// What EC2 knows of snapshots, and does with them: the EBS direct APIs do not.
pub trait Snapshots {
    /// The state of a snapshot; `None`: there is no such snapshot, or it is not known yet.
    fn state(&self, snapshot: &str) -> impl Future<Output = Result<Option<State>, BoxError>>;

    /// Deletes a snapshot that is not gone on with. Only then does the journal forget it, so that a kill leaves none that nobody knows of.
    /// What cannot be deleted stays.
    fn delete(&self, snapshot: &str) -> impl Future<Output = ()>;
}
