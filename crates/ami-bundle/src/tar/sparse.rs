//! The sparse map of a member: which regions of the image are stored.
//!
//! It may be somebody else's: regions stand in order, within the image, and there is a limit on how many.

use ami_image::Extent;

use super::pax::decimal;
use crate::error::StreamError;

/// The most map entries that are read: an image of 16 GiB in which every other block of 4 KiB is a hole has as many.
pub(super) const MAX_REGIONS: usize = 1 << 21;

pub(super) const TOO_MANY_REGIONS: StreamError = StreamError::SparseMap("has too many entries");

/// Where a member's stored data belongs in the image.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) regions: Vec<Extent>,
    /// Entries seen, empty and unused ones included.
    entries: usize,
    /// The region that is being read, and how far.
    pub(super) current: usize,
    pub(super) position: u64,
}

/// The decimal numbers, a line each, of pax 1.0's map.
#[derive(Debug, Default)]
pub(super) struct MapText {
    line: Vec<u8>,
    entries: Option<u64>,
    offset: Option<u64>,
    /// Bytes so far.
    pub(super) taken: u64,
}

impl Map {
    /// Bytes in all regions.
    pub(super) fn mapped(&self) -> u64 {
        self.regions.iter().map(|region| region.length).sum()
    }

    /// Counts entries that are read, and refuses too many.
    pub(super) fn count(&mut self, entries: usize) -> Result<(), StreamError> {
        self.entries += entries;
        if self.entries > MAX_REGIONS {
            return Err(TOO_MANY_REGIONS);
        }
        Ok(())
    }

    /// Adds a region of an image of `real_size` bytes; an empty one only counts.
    pub(super) fn add(&mut self, region: Extent, real_size: u64) -> Result<(), StreamError> {
        self.count(1)?;
        let end = region
            .offset
            .checked_add(region.length)
            .filter(|&end| end <= real_size)
            .ok_or(StreamError::SparseMap("runs past the end of the image"))?;
        let last_end = self
            .regions
            .last()
            .map_or(0, |last| last.offset + last.length);
        if region.offset < last_end {
            return Err(StreamError::SparseMap("overlaps itself or goes backwards"));
        }
        if end > region.offset {
            self.regions.push(region);
        }
        Ok(())
    }
}

impl MapText {
    /// Takes the next byte and says whether all entries are there.
    pub(super) fn take(
        &mut self,
        byte: u8,
        map: &mut Map,
        real_size: u64,
    ) -> Result<bool, StreamError> {
        if self.entries == Some(0) {
            return Ok(true); // padding
        }
        if byte != b'\n' {
            self.line.push(byte);
            if self.line.len() > 20 {
                return Err(StreamError::SparseMap("is not made of numbers"));
            }
            return Ok(false);
        }
        let number =
            decimal(&self.line).map_err(|_| StreamError::SparseMap("is not made of numbers"))?;
        self.line.clear();
        match (&mut self.entries, self.offset.take()) {
            (None, _) => self.entries = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(left), Some(offset)) => {
                map.add(
                    Extent {
                        offset,
                        length: number,
                    },
                    real_size,
                )?;
                *left -= 1;
            }
        }
        Ok(self.entries == Some(0))
    }
}
