//! Reading a snapshot back, and comparing it with what was written.

use std::sync::{Arc, Mutex, PoisonError};

use ami_pool::Buffer;

use crate::background::in_background;
use crate::bitmap::Bitmap;
use crate::block::{self, Digest};
use crate::ebs::Ebs;
use crate::error::Error;
use crate::fetch::{Listing, Taker, fetch};
use crate::journal::{Journal, Record};
use crate::observer::{Event, Observer};
use crate::progress::{Counts, Progress};

/// Reads every block of the journal's snapshot back, which must be complete, and compares it with the journal.
///
/// # Errors
/// [`Error::Differs`]; else what is in the way.
pub async fn verify(
    ebs: &Ebs,
    journal: &Journal,
    parallel: usize,
    observer: &impl Observer,
) -> Result<Counts, Error> {
    let journal = journal.again()?;
    let snapshot = journal.snapshot().unwrap_or_default();
    let progress = Arc::new(Progress::default());
    let listing = Listing::begin(ebs, &snapshot, 0, &progress).await?;
    let gib = listing.volume_size();
    if block::blocks_of(gib) != Some(journal.subject().blocks) {
        return Err(Error::VolumeSize { gib });
    }
    let comparison = in_background(move |_| Comparison::new(journal, snapshot)).await??;
    let comparison = Arc::new(comparison);
    observer.tell(Event::Begin {
        blocks: comparison.count,
        progress: progress.clone(),
    });
    let fetched = fetch(listing, parallel, comparison.clone()).await;
    observer.tell(Event::End);
    fetched?;
    match comparison.first_missing() {
        Some(index) => Err(comparison.differs(index, "nothing is there")),
        None => Ok(progress.counts()),
    }
}

struct Comparison {
    journal: Journal,
    snapshot: String,
    count: u64,
    /// What was written, and was not in the list so far.
    missing: Mutex<Bitmap>,
}

impl Comparison {
    fn new(journal: Journal, snapshot: String) -> Result<Self, Error> {
        let (mut missing, mut count) = (Bitmap::new(journal.subject().blocks), 0);
        journal.each(0, |index, record| {
            if matches!(record, Record::Written(_)) {
                missing.set(index, true);
                count += 1;
            }
            Ok(())
        })?;
        Ok(Self {
            journal,
            snapshot,
            count,
            missing: Mutex::new(missing),
        })
    }

    fn first_missing(&self) -> Option<u64> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.first()
    }

    fn differs(&self, index: u64, found: &'static str) -> Error {
        Error::Differs {
            snapshot: self.snapshot.clone(),
            index,
            found,
        }
    }
}

impl Taker for Comparison {
    fn wants(&self, index: u64) -> Result<bool, Error> {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if !missing.has(index) {
            return Err(self.differs(index, "nothing was written there"));
        }
        missing.set(index, false);
        Ok(true)
    }

    fn take(&self, index: u64, _: &Buffer, digest: &Digest) -> Result<(), Error> {
        match self.journal.read(index, 1)?.first() {
            Some(Record::Written(expected)) if expected == digest => Ok(()),
            _ => Err(self.differs(index, "it has other bytes")),
        }
    }
}
