//! Free space of btrfs on one device: space of the device that no chunk has, and space of chunks that no extent has.
//!
//! The format: kernel, include/uapi/linux/btrfs_tree.h and fs/btrfs/accessors.h; numbers are little-endian. Chunks map logical
//! addresses to places on the device, one (single) or two (dup). What is in use is every extent item in the extent tree, which is
//! what the free space tree and the space cache are made from. Never free are the first MiB and the places of the
//! superblock's copies. Each node of a tree that is read must have the right checksum, address, generation and owner.
//!
//! - `superblock.rs`: the superblock.
//! - `chunks.rs`: chunks, and where they are on the device.
//! - `tree.rs`: reading trees.
//! - here: what is in use, and what is left.

mod chunks;
mod superblock;
mod tree;

use crate::bytes::le;
use crate::error::{Stop, Unread};
use crate::free::{FreeSpace, MOST, holds_block};
use crate::read::Window;
use chunks::Chunks;
use superblock::Superblock;
use tree::{Key, Root};

pub(crate) use superblock::is_btrfs;

/// Objects of the root tree, and types of items.
const ROOT_TREE: u64 = 1;
const EXTENT_TREE: u64 = 2;
const CHUNK_TREE: u64 = 3;
const ROOT_ITEM: u8 = 132;
const EXTENT_ITEM: u8 = 168;
const METADATA_ITEM: u8 = 169;

/// What is kept at the device's beginning, for boot loaders and the superblock (`BTRFS_DEVICE_RANGE_RESERVED`).
const RESERVED: u64 = 1 << 20;

/// The places of the superblock's copies behind that, and what is kept there (`BTRFS_STRIPE_LEN`).
const COPIES: [u64; 2] = [64 << 20, 256 << 30];
const COPY: u64 = 64 << 10;

/// Adds the free space of the file system in the window.
pub(crate) fn read(window: &Window<'_>, free: &mut FreeSpace) -> Result<(), Stop> {
    let fs = Superblock::read(window)?;
    window.expect(Vec::new(), vec![tree::pattern(&fs)]);
    let chunks = Chunks::read(window, &fs)?;
    let mut root = None;
    let mut look = |key: &Key, data: &[u8]| {
        if key.object == EXTENT_TREE && key.kind == ROOT_ITEM {
            root = Some(Root {
                tree: EXTENT_TREE,
                address: le::u64(data, 176),
                generation: le::u64(data, 160),
                level: data.get(238).copied().unwrap_or_default(),
            });
        }
        Ok(())
    };
    tree::walk(window, &fs, &chunks, &fs.root, &mut look)?;
    let Some(root) = root else {
        let at = fs.root.address;
        return Err(Unread::damaged("the extent tree is missing", at).into());
    };

    let mut gaps = Gaps::new(window, &chunks);
    let mut take = |key: &Key, _: &[u8]| match key.kind {
        EXTENT_ITEM => gaps.used(key.object, key.offset),
        METADATA_ITEM => gaps.used(key.object, fs.node_size),
        _ => Ok(()),
    };
    tree::walk(window, &fs, &chunks, &root, &mut take)?;
    let used = gaps.sum;
    if used != fs.used {
        let at = superblock::PLACE;
        return Err(Unread::damaged("the number of bytes in use", at).into());
    }
    gaps.finish();
    free.count(gaps.left_out);
    let mut found = gaps.found;
    unallocated(&fs, &chunks, &mut found);
    found.sort_unstable();
    for (start, end) in found
        .into_iter()
        .flat_map(|(start, end)| usable(start, end))
    {
        free.add(start, end - start);
    }
    Ok(())
}

/// What may be free between `start` and `end` of the device, as begin and end: all but what is kept for copies of the superblock.
fn usable(start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let begins = [RESERVED, COPIES[0] + COPY, COPIES[1] + COPY];
    let ends = [COPIES[0], COPIES[1], u64::MAX];
    begins
        .into_iter()
        .zip(ends)
        .map(move |(first, last)| (start.max(first), end.min(last)))
        .filter(|(start, end)| start < end)
}

/// The space of the device that no chunk has.
fn unallocated(fs: &Superblock, chunks: &Chunks, found: &mut Vec<(u64, u64)>) {
    let mut position = 0;
    for &(start, length) in &chunks.places {
        if start > position {
            found.push((position, start));
        }
        position = start + length;
    }
    if fs.device_size > position {
        found.push((position, fs.device_size));
    }
}

/// What is between the extents of the chunks, as begin and end on the device.
struct Gaps<'a> {
    chunks: &'a Chunks,
    base: u64,
    /// The chunk that the last extent was in, and where that extent ended, in logical addresses.
    chunk: usize,
    position: u64,
    /// Of all extents, in bytes.
    sum: u64,
    found: Vec<(u64, u64)>,
    /// The bytes of those that are too small, or too many.
    left_out: u64,
}

impl<'a> Gaps<'a> {
    fn new(window: &Window<'_>, chunks: &'a Chunks) -> Self {
        Self {
            chunks,
            base: window.offset,
            chunk: 0,
            position: chunks.list.first().map_or(0, |chunk| chunk.logical),
            sum: 0,
            found: Vec::new(),
            left_out: 0,
        }
    }

    /// Takes the next extent, which lies behind all before.
    fn used(&mut self, start: u64, length: u64) -> Result<(), Stop> {
        let damaged = || Stop::from(Unread::damaged("an extent's place", start));
        loop {
            let chunk = self.chunks.list.get(self.chunk).ok_or_else(damaged)?;
            if start < chunk.logical + chunk.length {
                let end = start.checked_add(length).ok_or_else(damaged)?;
                if start < self.position || end > chunk.logical + chunk.length || length == 0 {
                    return Err(damaged());
                }
                self.gap(start);
                self.position = end;
                self.sum += length;
                return Ok(());
            }
            self.next_chunk();
        }
    }

    fn next_chunk(&mut self) {
        if let Some(chunk) = self.chunks.list.get(self.chunk) {
            self.gap(chunk.logical + chunk.length);
        }
        self.chunk += 1;
        if let Some(chunk) = self.chunks.list.get(self.chunk) {
            self.position = chunk.logical;
        }
    }

    /// Everything from the position to `end`, in the present chunk, is free.
    fn gap(&mut self, end: u64) {
        let chunks = self.chunks;
        let chunk = &chunks.list[self.chunk];
        if end <= self.position {
            return;
        }
        let is_at_edge = self.position == chunk.logical || end == chunk.logical + chunk.length;
        for place in &chunk.places {
            let [start, end] =
                [self.position, end].map(|address| place + (address - chunk.logical));
            let is_kept = self.found.len() < MOST;
            // What lies at a chunk's edge may become longer by what is beside it. All others are too small alone.
            if is_kept && (is_at_edge || holds_block(self.base + start, self.base + end)) {
                self.found.push((start, end));
            } else {
                let usable = usable(start, end).map(|(start, end)| end - start);
                self.left_out += usable.sum::<u64>();
            }
        }
    }

    /// Everything behind the last extent is free.
    fn finish(&mut self) {
        while self.chunk < self.chunks.list.len() {
            self.next_chunk();
        }
    }
}
