//! Which blocks are to be sent: the source is read once, in order, hashed on all cores, and compared with the journal.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use ami_pool::{Buffer, Buffers, Pool};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::block::{self, BLOCK, Block, Digest};
use crate::error::Error;
use crate::journal::{Journal, Record};
use crate::progress::Progress;
use crate::sha256;
use crate::source::{Kind, Opened, Reading};

/// How many blocks are read, then hashed, at a time for each thread, and how many may wait to be sent.
const BATCH: usize = sha256::LANES;
pub(crate) const WAITING: usize = 8;

/// How many records of the journal are read at a time.
pub(crate) const STRETCH: u64 = 4096;

/// Passes on what is to be sent, and at the end how many blocks the snapshot then has.
pub(crate) struct Producer {
    pub(crate) journal: Arc<Journal>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) blocks: mpsc::Sender<Block>,
    /// Raised when nobody waits for blocks any more.
    pub(crate) stopped: Arc<AtomicBool>,
    /// The volume's size.
    pub(crate) gib: u64,
}

/// Why there are no more blocks.
pub(crate) enum Ended {
    /// All were passed on; the snapshot has so many then.
    Whole(u64),
    /// Nobody wants them any more.
    Stopped,
}

enum Payload {
    Data(Buffer),
    Zeros,
}

/// A block that was read, or need not be.
struct Read {
    index: u64,
    record: Record,
    payload: Payload,
}

impl Producer {
    /// Gives the source back, so that it can be read again.
    pub(crate) fn run(self, mut source: Opened) -> (Opened, Result<Ended, Error>) {
        let result = match &mut source {
            Opened::Read(reading) => self.read(reading),
            Opened::Passing(disk) => self.take_in(&mut **disk),
        };
        (source, result)
    }

    fn read(&self, reading: &mut Reading) -> Result<Ended, Error> {
        let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (pool, buffers) = (Pool::new(threads), Buffers::default());
        let most = self.journal.subject().blocks;
        let blocks = reading.blocks(most);
        let batch = BATCH * pool.threads().get();
        let mut reads = Vec::with_capacity(batch);
        let (mut count, mut end) = (0, blocks);
        let mut first = 0;
        'all: while first < blocks {
            let stretch = STRETCH.min(blocks - first);
            let records = self.journal.read(first, stretch as usize)?;
            for (record, index) in records.into_iter().zip(first..) {
                if self.stopped.load(Ordering::Relaxed) {
                    return Ok(Ended::Stopped);
                }
                let payload = match reading.kind(index) {
                    Kind::Free if record == Record::None => {
                        let _ = self.progress.free.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    // EBS has, or may have, what was there: it becomes zeros.
                    Kind::Free | Kind::Hole => Payload::Zeros,
                    Kind::Data => {
                        let mut buffer = buffers.filled(BLOCK);
                        if !reading.read(index, &mut buffer)? {
                            end = index;
                            break 'all;
                        }
                        Payload::Data(buffer)
                    }
                };
                reads.push(Read {
                    index,
                    record,
                    payload,
                });
                count += 1;
                if reads.len() >= batch && !self.pass_on(&pool, &mut reads)? {
                    return Ok(Ended::Stopped);
                }
            }
            first += stretch;
        }
        if !self.pass_on(&pool, &mut reads)? {
            return Ok(Ended::Stopped);
        }
        reading.finish(self.gib)?;
        self.end(end, count)
    }

    /// The source has ended before the block `end`, with so many blocks. Where an earlier run has written others, they become zeros.
    pub(crate) fn end(&self, end: u64, mut count: u64) -> Result<Ended, Error> {
        let mut is_wanted = true;
        self.journal.each(end, |index, record| {
            count += 1;
            is_wanted = is_wanted && self.offer_zeros(index, record);
            Ok(())
        })?;
        Ok(match is_wanted {
            true => Ended::Whole(count),
            false => Ended::Stopped,
        })
    }

    /// Hashes the blocks, and passes on those that the snapshot does not have. `false`: nobody wants them.
    fn pass_on(&self, pool: &Pool, reads: &mut Vec<Read>) -> Result<bool, Error> {
        let together: Vec<&[Read]> = reads.chunks(sha256::LANES).collect();
        let Some(digests) = pool.map(&together, &self.stopped, |reads| hash(reads)) else {
            return Ok(false);
        };
        for (read, digest) in reads.drain(..).zip(digests.into_iter().flatten()) {
            let is_wanted = match (read.payload, digest) {
                (Payload::Data(buffer), Some(digest)) => {
                    self.offer(read.index, read.record, Bytes::from_owner(buffer), digest)
                }
                _ => self.offer_zeros(read.index, read.record),
            };
            if !is_wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn offer_zeros(&self, index: u64, record: Record) -> bool {
        let _ = self.progress.zeros.fetch_add(1, Ordering::Relaxed);
        self.offer(index, record, block::zeros(), block::digest_of_zeros())
    }

    /// Passes a block on, unless the snapshot has it. `false`: nobody wants it.
    pub(crate) fn offer(&self, index: u64, record: Record, data: Bytes, digest: Digest) -> bool {
        if record == Record::Written(digest) {
            let _ = self.progress.kept.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let block = Block {
            index,
            data,
            digest,
            is_again: record != Record::None,
        };
        self.blocks.blocking_send(block).is_ok()
    }
}

/// The digests of the blocks, in their order; `None` for zeros.
fn hash(reads: &[Read]) -> Vec<Option<Digest>> {
    let data = reads.iter().map(|read| match &read.payload {
        Payload::Data(buffer) => Some(buffer.as_ref()).filter(|data| !block::is_zeros(data)),
        Payload::Zeros => None,
    });
    let data: Vec<Option<&[u8]>> = data.collect();
    let messages: Vec<&[u8]> = data.iter().flatten().copied().collect();
    let mut digests = sha256::digests(&messages).into_iter();
    let of_each = data.iter().map(|data| data.and_then(|_| digests.next()));
    of_each.collect()
}
