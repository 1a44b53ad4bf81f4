//! A snapshot and its life: pending, completing, completed or in error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

use crate::blocks::{BLOCKS_OF_GIB, Blocks};

/// Tags, by their keys.
pub type Tags = BTreeMap<String, String>;

/// A snapshot as tests see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotRecord {
    /// `snap-…`.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its account.
    pub owner: String,
    /// The volume's size in GiB.
    pub volume_size: u64,
    /// Its description; empty without one.
    pub description: String,
    /// `pending`, `completed` or `error`.
    pub state: String,
    /// The ARN of its key, if it is encrypted.
    pub kms_key: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// Accounts that may use it, and `all`.
    pub shared_with: BTreeSet<String>,
    /// The blocks that were written, those of parents too.
    pub blocks: Vec<u32>,
}

/// Where a snapshot is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Written to; the last time when.
    Open { used: Instant },
    /// Nothing is written any more; what becomes of it when.
    Sealed { until: Instant, fails: bool },
    /// Something went wrong.
    Failed,
}

/// What EBS calls the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Completed,
    Error,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) owner: String,
    pub(crate) volume_size: u64,
    pub(crate) description: String,
    pub(crate) created: SystemTime,
    pub(crate) visible: Instant,
    /// The inactivity after which it is in error.
    pub(crate) timeout: Duration,
    pub(crate) kms_key: Option<String>,
    pub(crate) is_copy: bool,
    pub(crate) parent: Option<String>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) inner: Mutex<Inner>,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) phase: Phase,
    pub(crate) tags: Tags,
    pub(crate) shared_with: BTreeSet<String>,
    pub(crate) in_flight: BTreeSet<u32>,
}

impl Snapshot {
    /// How many blocks the volume has.
    pub(crate) fn block_count(&self) -> u64 {
        self.volume_size * BLOCKS_OF_GIB
    }

    pub(crate) fn state(&self) -> State {
        match self.inner.lock().phase {
            Phase::Open { used } if used.elapsed() > self.timeout => State::Error,
            Phase::Open { .. } => State::Pending,
            Phase::Sealed { until, .. } if Instant::now() < until => State::Pending,
            Phase::Sealed { fails: false, .. } => State::Completed,
            Phase::Sealed { .. } | Phase::Failed => State::Error,
        }
    }

    /// Whether it is written to, and not only pending.
    pub(crate) fn is_open(&self) -> bool {
        self.state() == State::Pending && matches!(self.inner.lock().phase, Phase::Open { .. })
    }

    pub(crate) fn is_visible(&self) -> bool {
        Instant::now() >= self.visible
    }

    /// Whether an account may read it.
    pub(crate) fn is_readable_by(&self, account: &str) -> bool {
        let inner = self.inner.lock();
        self.owner == account
            || inner.shared_with.contains(account)
            || inner.shared_with.contains("all")
    }

    pub(crate) fn record(&self) -> SnapshotRecord {
        let state = self.state().name().to_owned();
        let inner = self.inner.lock();
        SnapshotRecord {
            id: self.id.clone(),
            region: self.region.clone(),
            owner: self.owner.clone(),
            volume_size: self.volume_size,
            description: self.description.clone(),
            state,
            kms_key: self.kms_key.clone(),
            tags: inner.tags.clone(),
            shared_with: inner.shared_with.clone(),
            blocks: self.blocks.all().into_keys().collect(),
        }
    }
}
