//! The free extents of a volume, collected in bounded memory.

use ami_image::Extent;

use crate::BLOCK;

/// The most extents of a disk that are kept: as many as one of 2 TiB can have, in 32 MiB.
pub(crate) const MOST: usize = 1 << 21;

/// Collects what a file system calls free, in ascending order.
#[derive(Debug)]
pub(crate) struct FreeSpace {
    /// Where the volume begins on the disk, in bytes.
    base: u64,
    extents: Vec<Extent>,
    /// Begin and end on the disk of what may still grow.
    last: (u64, u64),
    bytes: u64,
    /// How many extents may be kept.
    most: usize,
}

impl FreeSpace {
    /// For a volume that begins there on the disk, of which so many extents are kept already.
    pub(crate) fn new(base: u64, kept: usize) -> Self {
        Self {
            most: MOST.saturating_sub(kept),
            base,
            extents: Vec::new(),
            last: (base, base),
            bytes: 0,
        }
    }

    /// Adds free bytes, which lie behind all that were added before. Offsets are the volume's, and on it.
    pub(crate) fn add(&mut self, offset: u64, length: u64) {
        self.bytes += length;
        let (start, end) = (self.base + offset, self.base + offset + length);
        if start == self.last.1 {
            self.last.1 = end;
        } else {
            self.keep_last();
            self.last = (start, end);
        }
    }

    /// Adds free bytes that hold no block, wherever they are.
    pub(crate) fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn keep_last(&mut self) {
        let (start, end) = self.last;
        if holds_block(start, end) && self.extents.len() < self.most {
            self.extents.push(Extent {
                offset: start,
                length: end - start,
            });
        }
    }

    /// Whether some of what was added and kept lies between these bytes of the disk.
    pub(crate) fn overlaps(&self, start: u64, end: u64) -> bool {
        let behind = self
            .extents
            .partition_point(|extent| extent.offset + extent.length <= start);
        let found = self.extents.get(behind);
        found.is_some_and(|extent| extent.offset < end)
            || (self.last.0 < end && start < self.last.1)
    }

    /// The extents that hold a block, and the number of all free bytes.
    pub(crate) fn finish(mut self) -> (Vec<Extent>, u64) {
        self.keep_last();
        (self.extents, self.bytes)
    }
}

/// Whether a block of the disk lies wholly between these bytes of it.
pub(crate) fn holds_block(start: u64, end: u64) -> bool {
    start
        .checked_next_multiple_of(BLOCK)
        .and_then(|first| first.checked_add(BLOCK))
        .is_some_and(|first_end| first_end <= end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_that_touch_are_one_and_those_without_a_block_are_left_out() {
        let mut free = FreeSpace::new(4096, 0);
        free.add(0, 100);
        free.add(BLOCK - 4096, 4096);
        free.add(BLOCK, BLOCK - 4096);
        free.add(3 * BLOCK, BLOCK);
        free.add(5 * BLOCK - 4096, BLOCK);
        let (extents, bytes) = free.finish();
        assert_eq!(bytes, 100 + 3 * BLOCK);
        let expected =
            [(BLOCK, BLOCK), (5 * BLOCK, BLOCK)].map(|(offset, length)| Extent { offset, length });
        assert_eq!(extents, expected);
    }
}
