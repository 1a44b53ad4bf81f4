//! What a story tells, and what it asks.

use std::sync::Arc;

use ami_ebs::Progress;

/// An event of a story.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Something worth knowing, and no reason to stop.
    Warning(&'a crate::Warning),
    /// A snapshot is begun, or that of an interrupted run is gone on with.
    Snapshot {
        /// Its ID.
        id: &'a str,
        /// Its region.
        region: &'a str,
        /// Whether an interrupted run has begun it.
        is_resumed: bool,
    },
    /// A snapshot cannot be gone on with: another is begun, and this one will be deleted.
    Abandoned {
        /// Its ID.
        id: &'a str,
    },
    /// A snapshot is read.
    Fetching {
        /// Its ID.
        id: &'a str,
        /// Its region.
        region: &'a str,
    },
    /// A snapshot is read back, to be compared with what was written.
    Verifying {
        /// Its ID.
        id: &'a str,
    },
    /// Blocks are transferred from now on.
    Begin {
        /// How many blocks of 512 KiB there are.
        blocks: u64,
        /// How far it has come.
        progress: &'a Arc<Progress>,
    },
    /// All blocks are transferred.
    End,
    /// The AMI is there.
    Image {
        /// Its ID.
        id: &'a str,
        /// Its region.
        region: &'a str,
        /// Whether this story made it; otherwise an earlier run did.
        is_new: bool,
    },
    /// A copy is there.
    Copy {
        /// Its ID.
        id: &'a str,
        /// Its region.
        region: &'a str,
    },
    /// Something is waited for.
    Waiting {
        /// What it becomes, such as `available`.
        until: &'static str,
        /// Its ID.
        id: &'a str,
        /// Its region.
        region: &'a str,
    },
    /// The wait goes on.
    Progress {
        /// How far EC2 says that it is, such as `73%`.
        progress: &'a str,
    },
    /// The wait is over.
    Waited,
    /// The AMI is deregistered.
    Deregistered {
        /// Its ID.
        id: &'a str,
    },
    /// A snapshot is deleted.
    Deleted {
        /// Its ID.
        id: &'a str,
    },
    /// A snapshot stays.
    Kept {
        /// Its ID.
        id: &'a str,
        /// Why.
        reason: &'a crate::Kept,
    },
    /// Something that a later step could not do.
    Unfinished(&'a crate::Unfinished),
}

/// A question of a story.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Question<'a> {
    /// Is this AMI to be deregistered, and are its snapshots to be deleted?
    Delete(&'a crate::DeletePlan),
    /// Are these snapshots to be deleted?
    Clean(&'a [crate::Stray]),
}

/// Whoever observes has ended the story, and knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// Watches a story and answers for the user.
pub trait Observer: Sync {
    /// Something happened.
    fn tell(&self, event: Event<'_>);

    /// Whether the user agrees.
    ///
    /// # Errors
    /// Nobody could be asked.
    fn agrees(&self, question: Question<'_>) -> Result<bool, Stopped>;
}
