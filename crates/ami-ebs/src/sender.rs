//! Sending the blocks of a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::block::Block;
use crate::ebs::Ebs;
use crate::error::Error;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::progress::Progress;

/// EBS's reason for refusing blocks of a snapshot that is not pending, or has failed.
const NOT_OPEN: &str = "INVALID_SNAPSHOT_ID";

/// The snapshot that is written.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) snapshot: String,
    /// Until then it may be unknown to some servers.
    pub(crate) visible: Option<Instant>,
    /// It takes no more blocks: what it has can only be compared.
    pub(crate) is_closed: bool,
    /// It may be complete, and in use.
    pub(crate) may_be_complete: bool,
    /// A block was written.
    pub(crate) was_open: Arc<AtomicBool>,
}

impl Begun {
    pub(crate) fn is_new(&self) -> bool {
        self.visible.is_some_and(|visible| Instant::now() < visible)
    }

    /// What becomes of it if it is not gone on with.
    pub(crate) fn fate(&self) -> Fate {
        match self.may_be_complete && !self.was_open.load(Ordering::Relaxed) {
            true => Fate::Left,
            false => Fate::Abandoned,
        }
    }
}

/// What becomes of a snapshot that is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It should be deleted.
    Abandoned,
    /// It is not there, or it is complete and may be in use.
    Left,
}

/// Sends blocks, many at once.
pub(crate) struct Sender {
    pub(crate) ebs: Ebs,
    pub(crate) begun: Begun,
    pub(crate) gate: Gate,
    pub(crate) journal: Arc<Journal>,
    pub(crate) progress: Arc<Progress>,
}

impl Sender {
    pub(crate) async fn send(&self, block: Block) -> Result<(), Error> {
        self.journal.sending(block.index)?;
        let (snapshot, retries) = (&self.begun.snapshot, &self.progress.retries);
        let is_new = || self.begun.is_new();
        let put = self
            .ebs
            .put_block(snapshot, &block, &self.gate, retries, is_new);
        put.await.map_err(|error| {
            let snapshot = snapshot.clone();
            if error.is_not_found() {
                Error::Vanished { snapshot }
            } else if error.reason() == Some(NOT_OPEN) {
                Error::Closed { snapshot }
            } else {
                error
            }
        })?;
        self.journal.written(block.index, &block.digest)?;
        let _ = self.progress.done.fetch_add(1, Ordering::Relaxed);
        if block.is_again {
            let _ = self.progress.again.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
