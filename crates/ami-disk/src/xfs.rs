//! Free space of xfs, version 4 and 5: in each allocation group, the B-tree of free extents by place (bnobt).
//!
//! The format: kernel, fs/xfs/libxfs/xfs_format.h; numbers are big-endian, checksums (version 5) little-endian crc32c. A free extent is
//! a record of the B-tree; everything else is in use, also the blocks kept for the B-trees themselves (AGFL), and the log.
//!
//! - here: the superblock, the groups' headers (AGF), the B-tree.
//! - `log.rs`: whether the log was written out.

mod log;

use crate::bytes::{array, be, le};
use crate::error::{Stop, Unread};
use crate::free::FreeSpace;
use crate::read::{Pattern, Window};

/// The unit of the log and of addresses in headers, in bytes.
const BASIC_BLOCK: u64 = 512;

/// The smallest group, in bytes (`XFS_MIN_AG_BYTES`): limits how many there are.
const SMALLEST_GROUP: u64 = 16 << 20;

/// The most levels of a B-tree (`XFS_BTREE_MAXLEVELS`).
const MOST_LEVELS: u32 = 9;

/// `sb_features_ro_compat` that change nothing here: finobt, rmapbt, reflink, inobtcount.
const RO_COMPAT_KNOWN: u32 = 0xF;

/// `sb_features_incompat`; known are those here, and ftype, sparse inodes, bigtime, nrext64, exchange, parent.
const INCOMPAT_META_UUID: u32 = 0x4;
const INCOMPAT_NEEDS_REPAIR: u32 = 0x10;
const INCOMPAT_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

/// The bits of `sb_versionnum` that version 4 knows (`XFS_SB_VERSION_OKBITS`), without shared (0x200), which no kernel knows any more.
const VERSION_4_KNOWN: u16 = 0xFDFF;

/// What the superblock says. Sizes are in bytes, the rest in blocks.
struct Superblock {
    block_size: u64,
    sector_size: u64,
    blocks: u64,
    group_blocks: u64,
    groups: u64,
    /// Version 5: checksums, and in each header whose it is.
    has_checksums: bool,
    /// Of the metadata.
    uuid: [u8; 16],
    /// The log's group, first block there, and length.
    log: (u64, u64, u64),
}

/// Whether the first bytes of a volume are those of such a file system.
pub(crate) fn is_xfs(head: &[u8]) -> bool {
    head.starts_with(b"XFSB")
}

/// Adds the free space of the file system in the window.
pub(crate) fn read(window: &Window<'_>, free: &mut FreeSpace) -> Result<(), Stop> {
    let fs = Superblock::read(window)?;
    let (group, block, length) = fs.log;
    let place = (group * fs.group_blocks + block) * fs.block_size;
    let log = log::pattern(place..place + length * fs.block_size);
    window.expect(Vec::new(), vec![fs.pattern(), log]);
    log::check_clean(&window.part(place, length * fs.block_size))?;
    for group in 0..fs.groups {
        Group::read(window, &fs, group)?.walk(free)?;
    }
    let place = window.offset + place;
    if free.overlaps(place, place + length * fs.block_size) {
        return Err(Unread::damaged("the log in free space", place - window.offset).into());
    }
    Ok(())
}

impl Superblock {
    fn read(window: &Window<'_>) -> Result<Self, Stop> {
        let mut bytes = window.read(0, 512)?;
        let wrong = |what| Stop::from(Unread::damaged(what, 0));
        let sector_size = u64::from(be::u16(&bytes, 102));
        let block_size = u64::from(be::u32(&bytes, 4));
        // XFS_MIN_… and XFS_MAX_SECTORSIZE, …BLOCKSIZE.
        if !sector_size.is_power_of_two()
            || !(512..=32 << 10).contains(&sector_size)
            || !block_size.is_power_of_two()
            || !(512..=64 << 10).contains(&block_size)
            || sector_size > block_size
        {
            return Err(wrong("the size of a sector or a block"));
        }
        bytes = window.read(0, sector_size as usize)?;
        let version = be::u16(&bytes, 100);
        let has_checksums = match version & 0xF {
            5 => true,
            4 => false,
            _ => return Err(Unread::Form("xfs of another version").into()),
        };
        let mut uuid = array(&bytes, 32);
        if has_checksums {
            if !is_right(&bytes, 224) {
                return Err(wrong("the superblock's checksum"));
            }
            let [ro_compat, incompat, log_incompat] = [212, 216, 220].map(|at| be::u32(&bytes, at));
            if incompat & INCOMPAT_NEEDS_REPAIR != 0 {
                return Err(Unread::Dirty("it is marked for repair").into());
            }
            for (name, bits, known) in [
                ("ro_compat", ro_compat, RO_COMPAT_KNOWN),
                ("incompat", incompat, INCOMPAT_KNOWN),
            ] {
                if bits & !known != 0 {
                    return Err(Unread::Features(name, u64::from(bits & !known)).into());
                }
            }
            // Such a bit is there only while the log has what needs it.
            if log_incompat != 0 {
                return Err(Unread::Dirty("the log has not been replayed").into());
            }
            if incompat & INCOMPAT_META_UUID != 0 {
                uuid = array(&bytes, 248);
            }
        } else if version & !VERSION_4_KNOWN != 0 {
            let unknown = u64::from(version & !VERSION_4_KNOWN);
            return Err(Unread::Features("version", unknown).into());
        }
        if bytes[126] != 0 {
            return Err(Unread::Dirty("its making was not finished").into());
        }
        if be::u64(&bytes, 16) != 0 {
            return Err(Unread::Form("with a realtime section").into());
        }
        let [blocks, log_start] = [8, 48].map(|at| be::u64(&bytes, at));
        let [group_blocks, groups, log_blocks] =
            [84, 88, 96].map(|at| u64::from(be::u32(&bytes, at)));
        if log_start == 0 {
            return Err(Unread::Form("with its log on another device").into());
        }
        if blocks > window.length / block_size {
            return Err(Unread::BehindVolume.into());
        }
        if group_blocks * block_size < SMALLEST_GROUP || blocks.div_ceil(group_blocks) != groups {
            return Err(wrong("the size and number of groups"));
        }
        let group_bits = u32::from(bytes[124]);
        if group_bits > 31 || group_blocks > 1 << group_bits {
            return Err(wrong("the number of bits of a block in a group"));
        }
        let (log_group, log_block) = (log_start >> group_bits, log_start & ((1 << group_bits) - 1));
        let fs = Self {
            block_size,
            sector_size,
            blocks,
            group_blocks,
            groups,
            has_checksums,
            uuid,
            log: (log_group, log_block, log_blocks),
        };
        if log_group >= groups
            || log_block + log_blocks > fs.blocks_of(log_group)
            || log_blocks == 0
        {
            return Err(wrong("where the log is"));
        }
        Ok(fs)
    }

    /// Tells groups' headers and blocks of B-trees.
    fn pattern(&self) -> Pattern {
        let (block_size, sector_size) = (self.block_size, self.sector_size);
        let uuid = self.has_checksums.then_some(self.uuid);
        let is_its = move |sector: &[u8], at| uuid.is_none_or(|uuid| array(sector, at) == uuid);
        Pattern {
            range: 0..self.blocks * block_size,
            unit: sector_size,
            keep: Box::new(move |sector| match &sector[..4] {
                b"XAGF" if is_its(sector, 64) => sector_size,
                b"AB3B" if is_its(sector, 32) => block_size,
                b"ABTB" => block_size,
                _ => 0,
            }),
        }
    }

    fn blocks_of(&self, group: u64) -> u64 {
        (self.blocks - group * self.group_blocks).min(self.group_blocks)
    }
}

/// An allocation group and its B-tree of free extents.
struct Group<'a> {
    window: &'a Window<'a>,
    fs: &'a Superblock,
    number: u64,
    blocks: u64,
    root: u64,
    levels: u32,
    /// In blocks, as the header states it.
    free: u64,
    /// What the walk has come by: the end of the last extent, and the sum of all.
    last: u64,
    sum: u64,
}

impl<'a> Group<'a> {
    /// Reads the group's AGF, which is in its second sector.
    fn read(window: &'a Window<'_>, fs: &'a Superblock, number: u64) -> Result<Self, Stop> {
        let place = number * fs.group_blocks * fs.block_size + fs.sector_size;
        let bytes = window.read(place, fs.sector_size as usize)?;
        let damaged = |what| Stop::from(Unread::damaged(what, place));
        let blocks = fs.blocks_of(number);
        let number_at = |at| u64::from(be::u32(&bytes, at));
        if !bytes.starts_with(b"XAGF")
            || number_at(4) != 1
            || number_at(8) != number
            || number_at(12) != blocks
        {
            return Err(damaged("a group's header"));
        }
        if fs.has_checksums && (!is_right(&bytes, 216) || array(&bytes, 64) != fs.uuid) {
            return Err(damaged("the checksum of a group's header"));
        }
        let levels = be::u32(&bytes, 28);
        if !(1..=MOST_LEVELS).contains(&levels) {
            return Err(damaged("the height of a B-tree"));
        }
        Ok(Self {
            window,
            fs,
            number,
            blocks,
            root: number_at(16),
            levels,
            free: number_at(52),
            last: 0,
            sum: 0,
        })
    }

    /// Adds all free extents.
    fn walk(mut self, free: &mut FreeSpace) -> Result<(), Stop> {
        self.visit(self.root, self.levels - 1, free)?;
        if self.sum != self.free {
            let place = self.number * self.fs.group_blocks * self.fs.block_size;
            return Err(Unread::damaged("the number of free blocks in a group", place).into());
        }
        Ok(())
    }

    /// Visits a block of the B-tree and those below it. Extents must ascend, and only the root may be empty: so no block is visited
    /// twice, whatever points to it.
    fn visit(&mut self, block: u64, level: u32, free: &mut FreeSpace) -> Result<(), Stop> {
        let group_start = self.number * self.fs.group_blocks;
        let place = (group_start + block) * self.fs.block_size;
        let damaged = |what| Stop::from(Unread::damaged(what, place));
        if block == 0 || block >= self.blocks {
            return Err(damaged("a pointer of a B-tree"));
        }
        let bytes = self.window.read(place, self.fs.block_size as usize)?;
        let (magic, header) = match self.fs.has_checksums {
            true => (b"AB3B", 56),
            false => (b"ABTB", 16),
        };
        let count = usize::from(be::u16(&bytes, 6));
        if !bytes.starts_with(magic) || u32::from(be::u16(&bytes, 4)) != level {
            return Err(damaged("a block of a B-tree"));
        }
        if self.fs.has_checksums {
            let is_its = be::u64(&bytes, 16) == place / BASIC_BLOCK
                && array(&bytes, 32) == self.fs.uuid
                && u64::from(be::u32(&bytes, 48)) == self.number;
            if !is_its || !is_right(&bytes, 52) {
                return Err(damaged("the checksum of a block of a B-tree"));
            }
        }
        if count == 0 && self.levels > 1 {
            return Err(damaged("an empty block of a B-tree"));
        }
        let record = if level == 0 { 8 } else { 12 };
        let most = (bytes.len() - header) / record;
        if count > most {
            return Err(damaged("the number of records in a block of a B-tree"));
        }
        if level > 0 {
            // Behind the keys, of which there is place for the most.
            let pointers = header + most * 8;
            for index in 0..count {
                let child = be::u32(&bytes, pointers + index * 4);
                self.visit(u64::from(child), level - 1, free)?;
            }
            return Ok(());
        }
        for index in 0..count {
            let at = header + index * 8;
            let [start, length] = [at, at + 4].map(|at| u64::from(be::u32(&bytes, at)));
            let is_first = self.sum == 0;
            // Two that touch would be one.
            let is_behind = if is_first {
                start > 0
            } else {
                start > self.last
            };
            if !is_behind || length == 0 || start + length > self.blocks {
                return Err(damaged("an extent of a B-tree"));
            }
            self.last = start + length;
            self.sum += length;
            let offset = (group_start + start) * self.fs.block_size;
            free.add(offset, length * self.fs.block_size);
        }
        Ok(())
    }
}

/// Whether the crc32c at `at`, which counts as zeros in it, is that of the bytes.
fn is_right(bytes: &[u8], at: usize) -> bool {
    let (front, behind) = bytes.split_at(at);
    let sum = [front, &[0; 4], &behind[4..]]
        .iter()
        .fold(0, |sum, bytes| crc32c::crc32c_append(sum, bytes));
    sum == le::u32(bytes, at)
}
