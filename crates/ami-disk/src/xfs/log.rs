//! Whether an xfs log has anything that was not written to its place: the test that the kernel makes before it mounts.
//!
//! The log is a ring of basic blocks of 512 bytes. Each begins with the number of the round ("cycle") in which it was written; a
//! record's header begins with a magic number, and has the cycle behind it. The head is where the cycle falls. The log
//! is clean if the record before the head is the one that unmounting writes (kernel, fs/xfs/xfs_log_recover.c:
//! `xlog_find_head`, `xlog_check_unmount_rec`; structures: fs/xfs/libxfs/xfs_log_format.h).

use std::ops::Range;

use crate::bytes::be;
use crate::error::{Stop, Unread};
use crate::read::{Pattern, Window};

use super::BASIC_BLOCK;

const MAGIC: u32 = 0xFEED_BABE;

/// `oh_flags` of the record that unmounting writes.
const UNMOUNT: u8 = 0x20;

/// As far as writes can be out of order: 8 buffers of 256 KiB (`XLOG_TOTAL_REC_SHIFT`).
const WINDOW: u64 = (8 * (256 << 10)) / BASIC_BLOCK;

/// What one block of a record's header describes of it, in bytes (`XLOG_HEADER_CYCLE_SIZE`).
const DESCRIBED: u32 = 32 << 10;

/// What is looked at of a record's header, in bytes.
const HEADER: u64 = 324;

/// What is looked at of every block: its cycle, and the `oh_flags` (9) of what begins there.
type Start = [u8; 16];

const DIRTY: Unread = Unread::Dirty("the log has not been replayed");

/// Tells what is looked at of the log in that range.
pub(super) fn pattern(range: Range<u64>) -> Pattern {
    Pattern {
        range,
        unit: BASIC_BLOCK,
        keep: Box::new(|block| match be::u32(block, 0) {
            MAGIC => HEADER,
            _ => size_of::<Start>() as u64,
        }),
    }
}

/// Fails if the log in the window has to be replayed.
pub(super) fn check_clean(log: &Window<'_>) -> Result<(), Stop> {
    let blocks = log.length / BASIC_BLOCK;
    if blocks < 2 {
        return Err(DIRTY.into());
    }
    let first = cycle_at(log, 0)?;
    let last = cycle_at(log, blocks - 1)?;
    if first == 0 {
        return Err(DIRTY.into());
    }
    let head = match last {
        _ if last == first => blocks,
        // Not all of the ring has been written yet, or the round before.
        _ if last == 0 || last == first - 1 => find_head(log, blocks, first)?,
        _ => return Err(DIRTY.into()),
    };
    // What was written last, in order, up to the head.
    let length = WINDOW.min(blocks);
    let in_round = length.min(head);
    let start = head - in_round;
    let mut recent = Vec::new();
    // The round before fills the rest of the ring, unless there was none.
    if in_round < length && last != 0 {
        read_round(log, blocks - (length - in_round)..blocks, last, &mut recent)?;
    }
    read_round(log, start..head, first, &mut recent)?;
    if ends_in_unmount(log, &recent)? {
        Ok(())
    } else {
        Err(DIRTY.into())
    }
}

/// The first block whose cycle is not that of the first one.
fn find_head(log: &Window<'_>, blocks: u64, first: u32) -> Result<u64, Stop> {
    let (mut same, mut other) = (0, blocks - 1);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if cycle_at(log, middle)? == first {
            same = middle;
        } else {
            other = middle;
        }
    }
    Ok(other)
}

fn cycle_at(log: &Window<'_>, block: u64) -> Result<u32, Stop> {
    Ok(cycle(&read_start(log, block)?))
}

fn cycle(start: &Start) -> u32 {
    match be::u32(start, 0) {
        MAGIC => be::u32(start, 4),
        cycle => cycle,
    }
}

/// The first bytes of a block.
fn read_start(log: &Window<'_>, block: u64) -> Result<Start, Stop> {
    let mut start = Start::default();
    log.read_into(block * BASIC_BLOCK, &mut start)?;
    Ok(start)
}

/// Adds what these blocks begin with, and their numbers; fails if not all are of one round.
fn read_round(
    log: &Window<'_>,
    blocks: Range<u64>,
    expected: u32,
    recent: &mut Vec<(u64, Start)>,
) -> Result<(), Stop> {
    for block in blocks {
        let start = read_start(log, block)?;
        if cycle(&start) != expected {
            return Err(DIRTY.into());
        }
        recent.push((block, start));
    }
    Ok(())
}

/// Whether the last record of these blocks ends where they end, and is the one that unmounting writes.
fn ends_in_unmount(log: &Window<'_>, blocks: &[(u64, Start)]) -> Result<bool, Stop> {
    let is_header = |(_, start): &(u64, Start)| be::u32(start, 0) == MAGIC;
    let Some(start) = blocks.iter().rposition(is_header) else {
        return Ok(false);
    };
    let header = log.read(blocks[start].0 * BASIC_BLOCK, HEADER as usize)?;
    let [version, length, operations, size] = [8, 12, 40, 320].map(|at| be::u32(&header, at));
    let header_blocks = match version {
        1 => 1,
        2 => size.div_ceil(DESCRIBED).max(1) as usize,
        _ => return Ok(false),
    };
    let data_blocks = length.div_ceil(BASIC_BLOCK as u32) as usize;
    let is_last = start
        .checked_add(header_blocks)
        .and_then(|end| end.checked_add(data_blocks))
        .is_some_and(|end| end == blocks.len());
    let is_unmount = || {
        let data = blocks.get(start + header_blocks);
        data.is_some_and(|(_, data)| data[9] & UNMOUNT != 0)
    };
    Ok(is_last && operations == 1 && is_unmount())
}
