//! The superblock (kernel, Documentation/filesystems/ext4/super.rst), and what follows from it.

use std::ops::Range;

use crate::bytes::{array, le};
use crate::error::{Stop, Unread};
use crate::read::Window;

/// Where the superblock is, and its length, in bytes.
pub(super) const PLACE: u64 = 1024;
pub(super) const LENGTH: usize = 1024;

const MAGIC: u16 = 0xEF53;

/// `s_state`: it was unmounted; it has errors.
const VALID: u16 = 0x1;
const ERRORS: u16 = 0x2;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;

const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEVICE: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_CHECKSUM_SEED: u32 = 0x2000;
/// Those above, and those that change nothing about what is free: filetype, extents, mmp, flex_bg, ea_inode, largedir, inline_data,
/// encrypt, casefold.
const INCOMPAT_KNOWN: u32 = 0x2
    | 0x4
    | 0x10
    | 0x40
    | 0x80
    | 0x100
    | 0x200
    | 0x400
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x10000
    | 0x20000;

const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_BIGALLOC: u32 = 0x200;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const RO_COMPAT_ORPHANS: u32 = 0x10000;
/// Those above, and those that change nothing about what is free: large_file, btree_dir, huge_file, dir_nlink, extra_isize, quota,
/// readonly, project, verity.
const RO_COMPAT_KNOWN: u32 = 0x1
    | 0x2
    | 0x4
    | 0x8
    | 0x10
    | 0x20
    | 0x40
    | 0x100
    | 0x200
    | 0x400
    | 0x1000
    | 0x2000
    | 0x8000
    | 0x10000;

/// `s_checksum_type`: crc32c, the only one.
const CRC32C: u8 = 1;

/// `s_log_block_size` of the largest block, of 64 KiB.
const MOST_LOG_BLOCK: u64 = 6;

/// The most groups: those of a volume of 128 TiB with blocks of 4 KiB. EBS's largest has 64 TiB.
const MOST_GROUPS: u64 = 1 << 20;

/// How descriptors, and with crc32c bitmaps too, are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DescriptorChecksum {
    None,
    Crc16,
    Crc32c { seed: u32 },
}

/// The file system as a whole. Sizes are in bytes; the rest is in blocks.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) block_size: u64,
    /// Blocks that one bit of a bitmap stands for.
    pub(super) cluster_blocks: u64,
    pub(super) blocks: u64,
    pub(super) first_data_block: u64,
    pub(super) clusters_per_group: u64,
    pub(super) groups: u64,
    pub(super) descriptor_size: usize,
    pub(super) descriptors_a_block: u64,
    pub(super) inode_table_blocks: u64,
    pub(super) descriptor_checksum: DescriptorChecksum,
    pub(super) uuid: [u8; 16],
    reserved_descriptor_blocks: u64,
    /// The block of descriptors from which on each is in its own part of the disk; `None` without meta_bg.
    first_meta_group: Option<u64>,
    copies: Copies,
}

/// Which groups have a copy of the superblock.
#[derive(Debug)]
enum Copies {
    All,
    Sparse,
    These([u64; 2]),
}

/// Whether the first bytes of a volume are those of such a file system.
pub(crate) fn is_ext(head: &[u8]) -> bool {
    le::u16(head, PLACE as usize + 0x38) == MAGIC
}

/// The bytes of a superblock.
pub(super) type Head = [u8; LENGTH];

/// The superblock of a file system as if it had no journal; `None` if sizes in it are not those that [`Superblock`] accepts, and
/// whoever reads the file system might take too much memory.
pub(super) fn head_without_journal(bytes: &[u8], length: u64) -> Option<Head> {
    let mut head: Head = array(bytes, 0);
    let [log_block, blocks, blocks_per_group] = [0x18, 0x4, 0x20].map(|at| le::u32(&head, at));
    let block_size = 1024 << u64::from(log_block).min(MOST_LOG_BLOCK + 1);
    let is_64bit = le::u32(&head, 0x60) & INCOMPAT_64BIT != 0;
    let high = if is_64bit { le::u32(&head, 0x150) } else { 0 };
    let blocks = u64::from(blocks) | u64::from(high) << 32;
    let groups = blocks.checked_div(u64::from(blocks_per_group))?;
    if u64::from(log_block) > MOST_LOG_BLOCK
        || blocks > length / block_size
        || groups >= MOST_GROUPS
    {
        return None;
    }
    let mut put = |at: usize, number: u32| head[at..at + 4].copy_from_slice(&number.to_le_bytes());
    put(0x5C, le::u32(bytes, 0x5C) & !COMPAT_HAS_JOURNAL);
    put(0x60, le::u32(bytes, 0x60) & !INCOMPAT_RECOVER);
    // The journal's inode.
    put(0xE0, 0);
    // Not every reader knows when this counts.
    put(0x150, high);
    let checksum = super::crc32c(!0, &head[..0x3FC]);
    head[0x3FC..].copy_from_slice(&checksum.to_le_bytes());
    Some(head)
}

impl Superblock {
    /// Reads the superblock; fails where not all of what it says is known and right.
    pub(super) fn read(window: &Window<'_>) -> Result<Self, Stop> {
        let bytes = window.read(PLACE, LENGTH)?;
        let [compat, incompat, ro_compat] = [0x5C, 0x60, 0x64].map(|at| le::u32(&bytes, at));
        check_features(incompat, ro_compat)?;
        let uuid = array(&bytes, 0x68);
        let descriptor_checksum = checksum(&bytes, incompat, ro_compat, &uuid)?;
        check_state(&bytes, incompat, ro_compat)?;
        let wrong = |what| Stop::from(Unread::damaged(what, PLACE));
        let [log_block, log_cluster] = [0x18, 0x1C].map(|at| le::u32(&bytes, at));
        if u64::from(log_block) > MOST_LOG_BLOCK {
            return Err(wrong("the size of a block"));
        }
        let block_size = 1024 << log_block;
        let blocks_per_group = u64::from(le::u32(&bytes, 0x20));
        let (cluster_blocks, clusters_per_group) = if ro_compat & RO_COMPAT_BIGALLOC == 0 {
            (1, blocks_per_group)
        } else {
            // The largest cluster has 2^29 blocks of 1 KiB (mke2fs).
            let log = log_cluster.checked_sub(log_block).filter(|&log| log < 30);
            let blocks = 1 << log.ok_or_else(|| wrong("the size of a cluster"))?;
            (blocks, u64::from(le::u32(&bytes, 0x24)))
        };
        if clusters_per_group == 0
            || !clusters_per_group.is_multiple_of(8)
            || clusters_per_group > 8 * block_size
            || clusters_per_group * cluster_blocks != blocks_per_group
        {
            return Err(wrong("the size of a group"));
        }
        let is_64bit = incompat & INCOMPAT_64BIT != 0;
        let high = if is_64bit { le::u32(&bytes, 0x150) } else { 0 };
        let blocks = u64::from(le::u32(&bytes, 0x4)) | u64::from(high) << 32;
        let first_data_block = u64::from(le::u32(&bytes, 0x14));
        if first_data_block > 1 || (first_data_block == 1 && block_size != 1024) {
            return Err(wrong("the first block of the groups"));
        }
        if blocks > window.length / block_size {
            return Err(Unread::BehindVolume.into());
        }
        let groups = blocks
            .saturating_sub(first_data_block)
            .div_ceil(blocks_per_group);
        if groups == 0 || groups > MOST_GROUPS {
            return Err(wrong("the number of groups"));
        }
        let descriptor_size = if is_64bit { le::u16(&bytes, 0xFE) } else { 32 };
        if !descriptor_size.is_power_of_two()
            || (is_64bit && descriptor_size < 64)
            || u64::from(descriptor_size) > block_size
        {
            return Err(wrong("the size of a group's descriptor"));
        }
        // Before revision 1 inodes had 128 bytes.
        let inode_size = if le::u32(&bytes, 0x4C) == 0 {
            128
        } else {
            le::u16(&bytes, 0x58)
        };
        let inode_bytes = u64::from(le::u32(&bytes, 0x28)) * u64::from(inode_size);
        let has_meta_groups = incompat & INCOMPAT_META_BG != 0;
        let copies = if compat & COMPAT_SPARSE_SUPER2 != 0 {
            Copies::These([0x24C, 0x250].map(|at| u64::from(le::u32(&bytes, at))))
        } else if ro_compat & RO_COMPAT_SPARSE_SUPER != 0 {
            Copies::Sparse
        } else {
            Copies::All
        };
        Ok(Self {
            block_size,
            cluster_blocks,
            blocks,
            first_data_block,
            clusters_per_group,
            groups,
            descriptor_size: usize::from(descriptor_size),
            descriptors_a_block: block_size / u64::from(descriptor_size),
            inode_table_blocks: inode_bytes.div_ceil(block_size),
            descriptor_checksum,
            uuid,
            reserved_descriptor_blocks: u64::from(le::u16(&bytes, 0xCE)),
            first_meta_group: has_meta_groups.then(|| u64::from(le::u32(&bytes, 0x104))),
            copies,
        })
    }

    /// The first block of a group.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        self.first_data_block + group * self.clusters_per_group * self.cluster_blocks
    }

    /// How many clusters a group has; the last group may have fewer, and the last of them may end behind the file system.
    pub(super) fn clusters_of(&self, group: u64) -> u64 {
        (self.blocks - self.group_start(group))
            .div_ceil(self.cluster_blocks)
            .min(self.clusters_per_group)
    }

    /// The block where the descriptors number `index` × `descriptors_a_block` and following are.
    pub(super) fn descriptor_block(&self, index: u64) -> u64 {
        let superblock = PLACE / self.block_size;
        match self.first_meta_group {
            Some(first) if index >= first => {
                let group = index * self.descriptors_a_block;
                // With clusters, blocks of 1 KiB are counted from 0, and the first superblock is in block 1 all the same.
                let is_shifted =
                    group == 0 && self.block_size == 1024 && self.first_data_block == 0;
                let copy = u64::from(self.has_copy(group)) + u64::from(is_shifted);
                self.group_start(group) + copy
            }
            _ => superblock + 1 + index,
        }
    }

    /// Where descriptors are that all lie together, in bytes.
    pub(super) fn descriptor_table(&self) -> Range<u64> {
        let all = self.groups.div_ceil(self.descriptors_a_block);
        let blocks = self.first_meta_group.map_or(all, |first| first.min(all));
        let start = (PLACE / self.block_size + 1) * self.block_size;
        start..start + blocks * self.block_size
    }

    /// How many blocks at a group's beginning have copies of superblock and descriptors, or are kept for more of them.
    pub(super) fn copies_in(&self, group: u64) -> u64 {
        let has_copy = self.has_copy(group);
        let index = group / self.descriptors_a_block;
        match self.first_meta_group {
            Some(first) if index >= first => {
                // The first, the second and the last of the groups that a block describes have it.
                let position = group % self.descriptors_a_block;
                let has_descriptors = position <= 1 || position == self.descriptors_a_block - 1;
                u64::from(has_copy) + u64::from(has_descriptors)
            }
            first if has_copy => {
                let all = self.groups.div_ceil(self.descriptors_a_block);
                1 + first.unwrap_or(all) + self.reserved_descriptor_blocks
            }
            _ => 0,
        }
    }

    fn has_copy(&self, group: u64) -> bool {
        match self.copies {
            _ if group == 0 => true,
            Copies::These(groups) => groups.contains(&group),
            Copies::All => true,
            Copies::Sparse => group == 1 || [3, 5, 7].iter().any(|&base| is_power(group, base)),
        }
    }
}

fn is_power(mut number: u64, base: u64) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

fn check_features(incompat: u32, ro_compat: u32) -> Result<(), Unread> {
    if incompat & INCOMPAT_JOURNAL_DEVICE != 0 {
        return Err(Unread::Form("the journal of another device"));
    }
    for (name, bits, known) in [
        ("incompat", incompat, INCOMPAT_KNOWN),
        ("ro_compat", ro_compat, RO_COMPAT_KNOWN),
    ] {
        if bits & !known != 0 {
            return Err(Unread::Features(name, u64::from(bits & !known)));
        }
    }
    Ok(())
}

fn check_state(bytes: &[u8], incompat: u32, ro_compat: u32) -> Result<(), Unread> {
    let state = le::u16(bytes, 0x3A);
    if incompat & INCOMPAT_RECOVER != 0 {
        Err(Unread::Dirty("the journal has not been replayed"))
    } else if state & ERRORS != 0 {
        Err(Unread::Dirty("an error is recorded"))
    } else if state & VALID == 0 {
        Err(Unread::Dirty("it was not unmounted"))
    } else if ro_compat & RO_COMPAT_ORPHANS != 0 {
        Err(Unread::Dirty("deleted files have not been released"))
    } else {
        Ok(())
    }
}

/// How descriptors are checked; the superblock's own checksum is checked here.
fn checksum(
    bytes: &[u8],
    incompat: u32,
    ro_compat: u32,
    uuid: &[u8; 16],
) -> Result<DescriptorChecksum, Unread> {
    if ro_compat & RO_COMPAT_METADATA_CSUM == 0 {
        return Ok(if ro_compat & RO_COMPAT_GDT_CSUM == 0 {
            DescriptorChecksum::None
        } else {
            DescriptorChecksum::Crc16
        });
    }
    if bytes[0x175] != CRC32C {
        return Err(Unread::Form("checksums of another kind"));
    }
    if super::crc32c(!0, &bytes[..0x3FC]) != le::u32(bytes, 0x3FC) {
        return Err(Unread::damaged("the superblock's checksum", PLACE));
    }
    let seed = if incompat & INCOMPAT_CHECKSUM_SEED == 0 {
        super::crc32c(!0, uuid)
    } else {
        le::u32(bytes, 0x270)
    };
    Ok(DescriptorChecksum::Crc32c { seed })
}
