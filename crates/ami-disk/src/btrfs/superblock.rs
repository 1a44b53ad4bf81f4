//! The superblock (`struct btrfs_super_block`).

use crate::bytes::{array, le};
use crate::error::{Stop, Unread};
use crate::read::Window;

use super::tree::Root;
use super::{CHUNK_TREE, ROOT_TREE};

/// Where the superblock is, and its length, in bytes.
pub(super) const PLACE: u64 = 64 << 10;
const LENGTH: usize = 4096;

const MAGIC: &[u8; 8] = b"_BHRfS_M";

/// Where the chunks are that the chunk tree is in.
const SYSTEM_CHUNKS: usize = 0x32B;
const MOST_SYSTEM_CHUNKS: usize = 2048;

/// `flags` of a file system that is in order: written, relocated.
const FLAGS_KNOWN: u64 = 0x3;

/// `incompat_flags` that change nothing here: mixed backrefs, default subvolume, mixed groups, compressions, big metadata, extended
/// iref, raid56, skinny metadata, no holes, metadata UUID, raid1c34, simple quota. Not: zoned, extent tree v2, raid stripe tree.
const INCOMPAT_METADATA_UUID: u64 = 0x400;
const INCOMPAT_KNOWN: u64 =
    0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000;

/// `compat_ro_flags`: the free space tree, whether it is valid, verity, the block group tree. The extent items are the same.
const COMPAT_RO_KNOWN: u64 = 0xF;

/// What the superblock says; sizes in bytes.
pub(super) struct Superblock {
    pub(super) node_size: u64,
    /// In each node.
    pub(super) uuid: [u8; 16],
    /// The root tree.
    pub(super) root: Root,
    pub(super) chunk_root: Root,
    pub(super) system_chunks: Vec<u8>,
    pub(super) device: u64,
    pub(super) device_size: u64,
    /// Of all extents.
    pub(super) used: u64,
}

/// Whether the first bytes of a volume are those of such a file system.
pub(crate) fn is_btrfs(head: &[u8]) -> bool {
    array(head, PLACE as usize + 0x40) == *MAGIC
}

impl Superblock {
    /// Reads the superblock; fails where not all of what it says is known and right.
    pub(super) fn read(window: &Window<'_>) -> Result<Self, Stop> {
        let bytes = window.read(PLACE, LENGTH)?;
        let wrong = |what| Stop::from(Unread::damaged(what, PLACE));
        if le::u16(&bytes, 0xC4) != 0 {
            return Err(Unread::Form("btrfs with other checksums than crc32c").into());
        }
        if crc32c::crc32c(&bytes[0x20..]) != le::u32(&bytes, 0) || le::u64(&bytes, 0x30) != PLACE {
            return Err(wrong("the superblock's checksum"));
        }
        let [flags, compat_ro, incompat] = [0x38, 0xB4, 0xBC].map(|at| le::u64(&bytes, at));
        for (name, bits, known) in [
            ("flags", flags, FLAGS_KNOWN),
            ("compat_ro", compat_ro, COMPAT_RO_KNOWN),
            ("incompat", incompat, INCOMPAT_KNOWN),
        ] {
            if bits & !known != 0 {
                return Err(Unread::Features(name, bits & !known).into());
            }
        }
        if le::u64(&bytes, 0x60) != 0 {
            return Err(Unread::Dirty("the log tree has not been replayed").into());
        }
        if le::u64(&bytes, 0x88) != 1 {
            return Err(Unread::Form("btrfs on several devices").into());
        }
        let [sector_size, node_size] = [0x90, 0x94].map(|at| le::u32(&bytes, at));
        if !node_size.is_power_of_two()
            || !(4096..=64 << 10).contains(&node_size)
            || !sector_size.is_power_of_two()
            || !(512..=64 << 10).contains(&sector_size)
        {
            return Err(wrong("the size of a node"));
        }
        let [device, device_size] = [0xC9, 0xD1].map(|at| le::u64(&bytes, at));
        if device_size > window.length {
            return Err(Unread::BehindVolume.into());
        }
        let system_length = le::u32(&bytes, 0xA0) as usize;
        if system_length > MOST_SYSTEM_CHUNKS {
            return Err(wrong("the length of the system chunks"));
        }
        let uuid_at = if incompat & INCOMPAT_METADATA_UUID == 0 {
            0x20
        } else {
            0x23B
        };
        Ok(Self {
            node_size: u64::from(node_size),
            uuid: array(&bytes, uuid_at),
            root: Root {
                tree: ROOT_TREE,
                address: le::u64(&bytes, 0x50),
                generation: le::u64(&bytes, 0x48),
                level: bytes[0xC6],
            },
            chunk_root: Root {
                tree: CHUNK_TREE,
                address: le::u64(&bytes, 0x58),
                generation: le::u64(&bytes, 0xA4),
                level: bytes[0xC7],
            },
            system_chunks: bytes[SYSTEM_CHUNKS..SYSTEM_CHUNKS + system_length].to_vec(),
            device,
            device_size,
            used: le::u64(&bytes, 0x78),
        })
    }
}
