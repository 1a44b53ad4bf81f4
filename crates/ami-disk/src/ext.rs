//! Free space of ext2, ext3 and ext4: the block bitmaps, one for each group of blocks.
//!
//! The format: kernel, Documentation/filesystems/ext4, and fs/ext4/ext4.h. A group whose descriptor has `BLOCK_UNINIT` has no bitmap
//! on disk; what is used of it is computed, as fs/ext4/balloc.c does: the copies of superblock and descriptors, and its own bitmaps
//! and inode table. Where descriptors and bitmaps have checksums they must be right. The number of free blocks that a
//! descriptor states must always be that of the bitmap, and no free block may hold a bitmap or an inode table.
//!
//! - `superblock.rs`: the superblock, and what follows from it: where descriptors and copies are.
//! - `files.rs`: files, which tell the architecture.
//! - here: descriptors and bitmaps.

pub(crate) mod files;
mod superblock;

use std::ops::Range;

use crate::bytes::le;
use crate::error::{Stop, Unread};
use crate::free::FreeSpace;
use crate::read::Window;
use superblock::{DescriptorChecksum, Superblock};

pub(crate) use superblock::is_ext;

/// `bg_flags`: the bitmap was never written.
const BLOCK_UNINIT: u16 = 0x2;

/// A group's descriptor; places are blocks of the file system.
struct Descriptor {
    block_bitmap: u64,
    inode_bitmap: u64,
    inode_table: u64,
    /// In clusters.
    free: u32,
    flags: u16,
    /// The lower 16 bits alone where the descriptor has no place for the others.
    bitmap_checksum: u32,
}

impl Descriptor {
    fn parse(bytes: &[u8]) -> Self {
        let wide = |low: usize, high: usize| {
            u64::from(le::u32(bytes, low)) | u64::from(le::u32(bytes, high)) << 32
        };
        let halves = |low: usize, high: usize| {
            u32::from(le::u16(bytes, low)) | u32::from(le::u16(bytes, high)) << 16
        };
        Self {
            block_bitmap: wide(0x0, 0x20),
            inode_bitmap: wide(0x4, 0x24),
            inode_table: wide(0x8, 0x28),
            free: halves(0xC, 0x2C),
            flags: le::u16(bytes, 0x12),
            bitmap_checksum: halves(0x18, 0x38),
        }
    }
}

/// Places of the same kind, in blocks; neighbours are one.
#[derive(Default)]
struct Places(Vec<(u64, u64)>);

impl Places {
    fn add(&mut self, start: u64, length: u64) {
        match self.0.last_mut() {
            Some((first, count)) if *first + *count == start => *count += length,
            _ => self.0.push((start, length)),
        }
    }
}

/// Adds the free space of the file system in the window.
pub(crate) fn read(window: &Window<'_>, free: &mut FreeSpace) -> Result<(), Stop> {
    let fs = Superblock::read(window)?;
    let mut places = [Places::default(), Places::default(), Places::default()];
    let mut runs = Vec::new();
    let mut in_use = Vec::new();
    let table = fs.descriptor_table();
    window.expect(vec![table.clone()], Vec::new());
    for (index, first_group) in (0..fs.groups)
        .step_by(fs.descriptors_a_block as usize)
        .enumerate()
    {
        let place = fs.descriptor_block(index as u64) * fs.block_size;
        let block = window.read(place, fs.block_size as usize)?;
        let groups = first_group..fs.groups.min(first_group + fs.descriptors_a_block);
        let mut whole = bitmaps_that_go_back(&fs, &block);
        whole.push(table.clone());
        window.expect(whole, Vec::new());
        for (group, bytes) in groups.zip(block.chunks_exact(fs.descriptor_size)) {
            let damaged = |what| Stop::from(Unread::damaged(what, place));
            if !is_right(&fs, group, bytes) {
                return Err(damaged("the checksum of a group's descriptor"));
            }
            let descriptor = Descriptor::parse(bytes);
            let table_length = fs.inode_table_blocks;
            let own = [
                (descriptor.block_bitmap, 1),
                (descriptor.inode_bitmap, 1),
                (descriptor.inode_table, table_length),
            ];
            for ((start, length), places) in own.into_iter().zip(&mut places) {
                let is_inside = start
                    .checked_add(length)
                    .is_some_and(|end| start >= fs.first_data_block && end <= fs.blocks);
                if !is_inside {
                    return Err(damaged("where a group's bitmaps and inode table are"));
                }
                places.add(start, length);
            }
            runs.clear();
            let clusters = fs.clusters_of(group);
            if fs.descriptor_checksum != DescriptorChecksum::None
                && descriptor.flags & BLOCK_UNINIT != 0
            {
                unwritten(&fs, group, &own, &mut in_use, &mut runs);
            } else {
                let bitmap = bitmap(window, &fs, &descriptor)?;
                unset_bits(&bitmap, clusters, &mut runs);
            }
            let count: u64 = runs.iter().map(|(_, length)| length).sum();
            if count != u64::from(descriptor.free) {
                return Err(damaged("the number of free blocks in a group"));
            }
            let start = fs.group_start(group);
            for (first, length) in &runs {
                let first = start + first * fs.cluster_blocks;
                // The last cluster may reach behind the end.
                let end = (first + length * fs.cluster_blocks).min(fs.blocks);
                free.add(first * fs.block_size, (end - first) * fs.block_size);
            }
        }
    }
    check_apart(window, &fs, places, free)
}

/// Where the bitmaps of these groups are that lie before that of an earlier one, in bytes.
fn bitmaps_that_go_back(fs: &Superblock, descriptors: &[u8]) -> Vec<Range<u64>> {
    let mut last = 0;
    let mut found = Vec::new();
    for bytes in descriptors.chunks_exact(fs.descriptor_size) {
        let block = Descriptor::parse(bytes).block_bitmap;
        if (fs.first_data_block..last).contains(&block) {
            found.push(block * fs.block_size..(block + 1) * fs.block_size);
        }
        last = last.max(block.min(fs.blocks));
    }
    found
}

fn is_right(fs: &Superblock, group: u64, descriptor: &[u8]) -> bool {
    let stated = le::u16(descriptor, 0x1E);
    // A group's number has 32 bits on disk: `Superblock::read` sees to it that there are no more groups.
    let number = (group as u32).to_le_bytes();
    let (front, behind) = descriptor.split_at(0x1E);
    let tail = behind.get(2..).unwrap_or_default();
    match fs.descriptor_checksum {
        DescriptorChecksum::None => true,
        DescriptorChecksum::Crc16 => {
            let sum = [&fs.uuid[..], &number, front, tail]
                .iter()
                .fold(u16::MAX, |sum, bytes| crc16(sum, bytes));
            sum == stated
        }
        DescriptorChecksum::Crc32c { seed } => {
            let sum = [&number[..], front, &[0, 0], tail]
                .iter()
                .fold(seed, |sum, bytes| crc32c(sum, bytes));
            sum as u16 == stated
        }
    }
}

/// A group's block bitmap.
fn bitmap(window: &Window<'_>, fs: &Superblock, descriptor: &Descriptor) -> Result<Vec<u8>, Stop> {
    let place = descriptor.block_bitmap * fs.block_size;
    let bitmap = window.read(place, fs.block_size as usize)?;
    if let DescriptorChecksum::Crc32c { seed } = fs.descriptor_checksum {
        // Superblock::read sees to it that a block has as many bits.
        let covered = &bitmap[..(fs.clusters_per_group / 8) as usize];
        let mask = if fs.descriptor_size >= 0x3A {
            u32::MAX
        } else {
            0xFFFF
        };
        if crc32c(seed, covered) & mask != descriptor.bitmap_checksum & mask {
            return Err(Unread::damaged("the checksum of a block bitmap", place).into());
        }
    }
    Ok(bitmap)
}

/// What is free of a group whose bitmap was never written, in clusters of the group.
fn unwritten(
    fs: &Superblock,
    group: u64,
    own: &[(u64, u64)],
    in_use: &mut Vec<(u64, u64)>,
    runs: &mut Vec<(u64, u64)>,
) {
    let (start, clusters) = (fs.group_start(group), fs.clusters_of(group));
    let end = start + clusters * fs.cluster_blocks;
    in_use.clear();
    in_use.push((start, start + fs.copies_in(group)));
    in_use.extend(own.iter().map(|&(first, length)| (first, first + length)));
    in_use.sort_unstable();
    let mut position = 0;
    for &(first, last) in in_use.iter() {
        let (first, last) = (first.clamp(start, end), last.clamp(start, end));
        if first == last {
            continue;
        }
        let used_from = (first - start) / fs.cluster_blocks;
        if used_from > position {
            runs.push((position, used_from - position));
        }
        position = position.max((last - start).div_ceil(fs.cluster_blocks));
    }
    if clusters > position {
        runs.push((position, clusters - position));
    }
}

/// The runs of zero bits among the first `count` of a bitmap, as first and length.
fn unset_bits(bitmap: &[u8], count: u64, runs: &mut Vec<(u64, u64)>) {
    let mut add = |first: u64, length: u64| match runs.last_mut() {
        Some((start, run)) if *start + *run == first => *run += length,
        _ => runs.push((first, length)),
    };
    let words = bitmap.chunks_exact(8).map(|word| le::u64(word, 0));
    for (first, word) in (0..count).step_by(64).zip(words) {
        let bits = (count - first).min(64);
        let mut bit = 0;
        while bit < bits {
            let rest = word >> bit;
            let ones = u64::from(rest.trailing_ones()).min(bits - bit);
            bit += ones;
            if bit == bits {
                break;
            }
            let zeros = u64::from((word >> bit).trailing_zeros()).min(bits - bit);
            add(first + bit, zeros);
            bit += zeros;
        }
    }
}

/// No bitmap and no inode table may lie in what is called free.
fn check_apart(
    window: &Window<'_>,
    fs: &Superblock,
    places: [Places; 3],
    free: &FreeSpace,
) -> Result<(), Stop> {
    let overlaps = |&&(start, length): &&(u64, u64)| {
        let start = window.offset + start * fs.block_size;
        free.overlaps(start, start + length * fs.block_size)
    };
    match places.iter().flat_map(|places| &places.0).find(overlaps) {
        Some((start, _)) => {
            let at = start * fs.block_size;
            Err(Unread::damaged("a bitmap or inode table in free space", at).into())
        }
        None => Ok(()),
    }
}

/// As lib/crc16.c of the kernel.
fn crc16(sum: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(sum, |sum, &byte| {
        (0..8).fold(sum ^ u16::from(byte), |sum, _| {
            let carry = if sum & 1 == 1 { 0xA001 } else { 0 };
            sum >> 1 ^ carry
        })
    })
}

/// As `crc32c` of the kernel, which inverts neither what it is given nor what it gives.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!sum, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_catalogue() {
        // CRC-16/MODBUS and CRC-32/ISCSI, whose result is inverted.
        assert_eq!(crc16(0xFFFF, b"123456789"), 0x4B37);
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
    }

    proptest::proptest! {
        #[test]
        fn unset_bits_are_those_that_are_looked_at_one_by_one(bitmap in proptest::collection::vec(proptest::sample::select(vec![0u8, 0xFF, 0x0F, 0x81]), 32), count in 0..=256u64) {
            let mut runs = Vec::new();
            unset_bits(&bitmap, count, &mut runs);
            let found: Vec<u64> = runs.iter().flat_map(|&(first, length)| first..first + length).collect();
            let expected: Vec<u64> = (0..count).filter(|bit| bitmap[*bit as usize / 8] >> (bit % 8) & 1 == 0).collect();
            assert_eq!(found, expected);
            assert!(runs.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0));
        }
    }
}
