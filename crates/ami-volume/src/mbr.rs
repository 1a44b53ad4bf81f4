//! The master boot record: sector 0 of a disk (UEFI specification 2.10, section 5.2).
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 440 | the boot loader's code |
//! | 440 | 4 | the disk's signature, little-endian |
//! | 444 | 2 | zero |
//! | 446 | 4 × 16 | the partitions |
//! | 510 | 2 | 0x55 0xAA |
//!
//! A partition, with little-endian numbers:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | 0x80: BIOS starts from it |
//! | 1 | 3 | its first sector as cylinder, head and sector |
//! | 4 | 1 | its type |
//! | 5 | 3 | its last sector as cylinder, head and sector |
//! | 8 | 4 | its first sector |
//! | 12 | 4 | how many sectors it has |

use crate::partition::SECTOR;

pub(crate) type Sector = [u8; SECTOR as usize];

const SIGNATURE: usize = 440;
const PARTITIONS: usize = 446;
const END: usize = 510;
const END_MARK: [u8; 2] = [0x55, 0xAA];

/// A partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) is_bootable: bool,
    pub(crate) kind: u8,
    /// First and last sector as cylinder, head and sector; zeros where nobody reads them.
    pub(crate) chs: [[u8; 3]; 2],
    /// In sectors of the disk.
    pub(crate) first: u32,
    /// In sectors of the disk.
    pub(crate) length: u32,
}

/// A record without boot code and with one partition, which is number 1.
pub(crate) fn record(signature: [u8; 4], entry: &Entry) -> Sector {
    let mut sector = [0; SECTOR as usize];
    sector[SIGNATURE..SIGNATURE + 4].copy_from_slice(&signature);
    let bytes = &mut sector[PARTITIONS..PARTITIONS + 16];
    bytes[0] = if entry.is_bootable { 0x80 } else { 0 };
    bytes[1..4].copy_from_slice(&entry.chs[0]);
    bytes[4] = entry.kind;
    bytes[5..8].copy_from_slice(&entry.chs[1]);
    bytes[8..12].copy_from_slice(&entry.first.to_le_bytes());
    bytes[12..16].copy_from_slice(&entry.length.to_le_bytes());
    sector[END..].copy_from_slice(&END_MARK);
    sector
}

/// The disk's signature; `None` if the sector is not a master boot record.
pub(crate) fn signature(sector: &Sector) -> Option<[u8; 4]> {
    let signature = sector[SIGNATURE..].first_chunk().copied();
    signature.filter(|_| sector[END..] == END_MARK)
}
