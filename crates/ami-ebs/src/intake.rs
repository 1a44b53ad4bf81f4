//! The other way in: a disk hands its bytes over, in order, and tells only at its end whether it was the right one and what of it is free.
//!
//! All of it is done by the thread that hands over, so that a pipeline with a single thread can do so.

use std::sync::atomic::Ordering;

use ami_pool::{Buffer, Buffers};
use bytes::Bytes;

use crate::bitmap::Bitmap;
use crate::block::{self, BLOCK, BLOCK_SIZE};
use crate::error::Error;
use crate::journal::Record;
use crate::producer::{Ended, Producer, STRETCH};
use crate::sha256;
use crate::source::{FreeSpace, Passing};

/// Takes the bytes of a disk that goes by.
pub struct Intake<'a> {
    producer: &'a Producer,
    /// The disk's size in bytes.
    size: u64,
    /// Where the next byte may be.
    position: u64,
    buffers: Buffers,
    /// The block that is not whole yet; what was not handed over of it is zeros.
    begun: Option<(u64, Buffer)>,
    /// Whole blocks that are hashed together.
    whole: Vec<(u64, Buffer)>,
    /// Those with data, which all others are without.
    with_data: Bitmap,
    records: Records<'a>,
    failure: Option<Error>,
}

/// Whoever hands over has no more to do: the [`Intake`] knows why.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no more bytes are taken")]
pub struct NotTaken;

impl std::fmt::Debug for Intake<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Intake({} of {} bytes)", self.position, self.size)
    }
}

impl<'a> Intake<'a> {
    fn new(producer: &'a Producer, size: u64) -> Self {
        Self {
            producer,
            size,
            position: 0,
            buffers: Buffers::default(),
            begun: None,
            whole: Vec::with_capacity(sha256::LANES),
            with_data: Bitmap::new(size.div_ceil(BLOCK_SIZE)),
            records: Records::new(producer),
            failure: None,
        }
    }

    /// Takes bytes of the disk, which lie behind all that were taken before. Whatever is left out is zeros.
    ///
    /// # Errors
    /// [`NotTaken`]: nobody waits for them, they are out of order or behind the disk's end, or the journal cannot be used.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), NotTaken> {
        self.take(offset, data).map_err(|error| {
            self.failure = Some(error);
            NotTaken
        })
    }

    fn take(&mut self, offset: u64, mut data: &[u8]) -> Result<(), Error> {
        let end = offset.checked_add(data.len() as u64);
        if offset < self.position || end.is_none_or(|end| end > self.size) {
            return Err(Error::OutOfOrder { offset });
        }
        let mut offset = offset;
        while !data.is_empty() {
            let (index, start) = (offset / BLOCK_SIZE, (offset % BLOCK_SIZE) as usize);
            let count = data.len().min(BLOCK - start);
            let (now, rest) = data.split_at(count);
            if self
                .begun
                .as_ref()
                .is_some_and(|(begun, _)| *begun != index)
            {
                self.end_block()?;
            }
            let buffers = &self.buffers;
            let (_, block) = self.begun.get_or_insert_with(|| {
                let mut block = buffers.empty();
                block.resize(BLOCK, 0);
                (index, block)
            });
            block[start..start + count].copy_from_slice(now);
            (data, offset) = (rest, offset + count as u64);
            self.position = offset;
        }
        Ok(())
    }

    /// No more comes of the block that was begun.
    fn end_block(&mut self) -> Result<(), Error> {
        let Some((index, block)) = self.begun.take() else {
            return Ok(());
        };
        if block::is_zeros(&block) {
            return Ok(());
        }
        self.with_data.set(index, true);
        self.whole.push((index, block));
        match self.whole.len() {
            sha256::LANES => self.pass_on(),
            _ => Ok(()),
        }
    }

    fn pass_on(&mut self) -> Result<(), Error> {
        let data: Vec<&[u8]> = self
            .whole
            .iter()
            .map(|(_, block)| block.as_slice())
            .collect();
        let digests = sha256::digests(&data);
        for ((index, block), digest) in self.whole.drain(..).zip(digests) {
            let record = self.records.of(index)?;
            let data = Bytes::from_owner(block);
            if !self.producer.offer(index, record, data, digest) {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// The disk was the right one: what is not free of its zeros is sent too. Gives the number of the snapshot's blocks.
    fn finish(mut self, free: &FreeSpace) -> Result<u64, Error> {
        self.end_block()?;
        self.pass_on()?;
        let Self {
            producer,
            size,
            with_data,
            ..
        } = self;
        // Nothing of these was sent by this run.
        let mut records = Records::new(producer);
        let mut count = 0;
        for index in 0..size.div_ceil(BLOCK_SIZE) {
            if with_data.has(index) {
                count += 1;
                continue;
            }
            let offset = index * BLOCK_SIZE;
            let length = BLOCK_SIZE.min(size - offset);
            let record = records.of(index)?;
            if record == Record::None && free.holds(offset, length) {
                let _ = producer.progress.free.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if !producer.offer_zeros(index, record) {
                return Err(Error::Interrupted);
            }
            count += 1;
        }
        Ok(count)
    }
}

/// What the journal knows of the blocks, which are asked for in order.
struct Records<'a> {
    producer: &'a Producer,
    first: u64,
    read: Vec<Record>,
}

impl<'a> Records<'a> {
    fn new(producer: &'a Producer) -> Self {
        let (first, read) = (0, Vec::new());
        Self {
            producer,
            first,
            read,
        }
    }

    fn of(&mut self, index: u64) -> Result<Record, Error> {
        let known = |records: &Self| {
            let at = usize::try_from(index - records.first).ok()?;
            records.read.get(at).copied()
        };
        if let Some(record) = known(self) {
            return Ok(record);
        }
        self.read = self.producer.journal.read(index, STRETCH as usize)?;
        self.first = index;
        Ok(known(self).unwrap_or(Record::None))
    }
}

impl Producer {
    /// Has the disk go by, and passes on what is to be sent.
    pub(crate) fn take_in(&self, disk: &mut dyn Passing) -> Result<Ended, Error> {
        let size = disk.size();
        let mut intake = Intake::new(self, size);
        let passed = disk.pass(&mut intake, &self.stopped);
        let result = match (intake.failure.take(), passed) {
            (Some(failure), _) => Err(failure),
            (None, Err(not_passed)) => Err(not_passed.into()),
            (None, Ok(free)) => intake.finish(&FreeSpace::new(&free)),
        };
        match result {
            Ok(count) => self.end(size.div_ceil(BLOCK_SIZE), count),
            Err(Error::Interrupted) => Ok(Ended::Stopped),
            Err(error) => Err(error),
        }
    }
}
