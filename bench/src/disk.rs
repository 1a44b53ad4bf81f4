//! Which blocks of a disk a snapshot needs, and whether two disks are the same.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use ami_disk::BLOCK;
use ami_image::{Extent, Image};

use crate::Result;

/// The blocks that a snapshot of a disk must have.
#[derive(Debug, Clone, Copy)]
pub struct Needed {
    /// All blocks of the disk.
    pub all: usize,
    /// With anything but zeros.
    pub data: usize,
    /// Zeros in space that no file system calls free.
    pub zeros: usize,
}

impl Needed {
    /// Counts them.
    pub fn of(disk: &Path) -> Result<Self> {
        let image = Image::open(disk)?;
        let free = ami_disk::survey(&image, &AtomicBool::new(false))?.free;
        let is_free = |index: u64| {
            let begin = index * BLOCK;
            let next = free.partition_point(|extent| end(extent) <= begin);
            let found = free.get(next);
            found.is_some_and(|found| found.offset <= begin && begin + BLOCK <= end(found))
        };
        let mut reader = Blocks::new(&image);
        let mut needed = Self {
            all: 0,
            data: 0,
            zeros: 0,
        };
        for index in 0..image.size().div_ceil(BLOCK) {
            needed.all += 1;
            if !reader.is_zero(index)? {
                needed.data += 1;
            } else if !is_free(index) {
                needed.zeros += 1;
            }
        }
        Ok(needed)
    }

    /// How many must be sent.
    pub fn sent(&self) -> usize {
        self.data + self.zeros
    }
}

fn end(extent: &Extent) -> u64 {
    extent.offset + extent.length
}

/// Fails unless two files of the same size have the same bytes. Holes are zeros, and are not read.
pub fn compare(found: &Path, expected: &Path) -> Result<()> {
    let (one, other) = (Image::open(found)?, Image::open(expected)?);
    let (mut ones, mut others) = (Blocks::new(&one), Blocks::new(&other));
    if one.size() != other.size() {
        return Err(format!("{} has {} bytes", found.display(), one.size()).into());
    }
    for index in 0..one.size().div_ceil(BLOCK) {
        if ones.read(index)? != others.read(index)? {
            return Err(format!("block {index} of {} is another", found.display()).into());
        }
    }
    Ok(())
}

/// Reads the blocks of an image in order.
struct Blocks<'a> {
    image: &'a Image,
    /// The extents that are not yet passed.
    extents: &'a [Extent],
    block: Vec<u8>,
}

impl<'a> Blocks<'a> {
    fn new(image: &'a Image) -> Self {
        Self {
            image,
            extents: image.extents(),
            block: vec![0; BLOCK as usize],
        }
    }

    /// A block with anything but zeros; the last one may be short.
    fn read(&mut self, index: u64) -> Result<Option<&[u8]>> {
        let begin = index * BLOCK;
        let length = BLOCK.min(self.image.size() - begin);
        let passed = self
            .extents
            .iter()
            .take_while(|extent| end(extent) <= begin);
        self.extents = &self.extents[passed.count()..];
        let is_hole = self
            .extents
            .first()
            .is_none_or(|extent| extent.offset >= begin + length);
        if is_hole {
            return Ok(None);
        }
        let block = &mut self.block[..length as usize];
        self.image.read(begin, block)?;
        let is_zero = block.iter().all(|byte| *byte == 0);
        Ok((!is_zero).then_some(block))
    }

    fn is_zero(&mut self, index: u64) -> Result<bool> {
        Ok(self.read(index)?.is_none())
    }
}
