//! The GUID partition table (UEFI specification 2.10, section 5.3), read. The table of offsets stands beside the writer, in `ami-volume`'s
//! `gpt.rs`.

use uuid::Uuid;

use crate::bytes::{array, le};
use crate::error::{Error, Stop, Unread};
use crate::read::Window;
use crate::table::{Claim, Damage, Partition, Role};

const MAGIC: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER: usize = 92;
const ENTRY: u32 = 128;

/// Sector sizes of disks.
const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// The most bytes of entries that are read: 64 times as many as any partitioning program writes.
const MOST_ENTRIES: u64 = 1 << 20;

const EFI_SYSTEM: Uuid = Uuid::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
/// GRUB's (GNU GRUB manual, section 3.4).
const BIOS_BOOT: Uuid = Uuid::from_u128(0x21686148_6449_6e6f_744e_656564454649);

/// The attribute of the partition that a BIOS starts from (section 5.3.3, bit 2).
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// Reads the table of a disk whose master boot record says that there is one. Of its two copies that at the beginning counts, as for
/// Linux; where that one is damaged nothing is known.
pub(crate) fn read(disk: &Window<'_>) -> Result<Result<Vec<Claim>, Damage>, Error> {
    let mut found = Vec::new();
    for sector in SECTOR_SIZES {
        match read_with(disk, sector) {
            Ok(Some(claims)) => found.push(claims),
            Ok(None) => {}
            Err(stop) => {
                let _ = stop.volume()?;
            }
        }
    }
    let first = found.pop();
    Ok(match (first, found.is_empty()) {
        (Some(claims), true) => Ok(claims),
        (Some(_), false) => Err(Damage::Ambiguous),
        (None, _) => Err(Damage::Gpt),
    })
}

/// The table whose header is in the second sector; `None` if there is none.
fn read_with(disk: &Window<'_>, sector: u64) -> Result<Option<Vec<Claim>>, Stop> {
    let header =
        Header::parse(&disk.read(sector, sector as usize)?).filter(|header| header.own == 1);
    let Some(header) = header else {
        return Ok(None);
    };
    let place = |number: u64| {
        let place = number.checked_mul(sector);
        place.ok_or(Unread::damaged("the GUID partition table", sector))
    };
    let entries_at = place(header.first_entry)?;
    let length = header.entries_length();
    let Some(entries) = header.entries(&disk.read(entries_at, length)?) else {
        return Ok(None);
    };
    let length = (length as u64).next_multiple_of(sector);
    let mut claims = vec![
        Claim::table(0, 2 * sector),
        Claim::table(entries_at, length),
        // The copy has its entries before its header.
        Claim::table(place(header.other)?.saturating_sub(length), length + sector),
    ];
    for entry in entries {
        let offset = place(entry.first)?;
        let end = place(entry.last.saturating_add(1))?;
        let Some(length) = end.checked_sub(offset).filter(|&length| length > 0) else {
            return Ok(None);
        };
        let role = match entry.kind {
            EFI_SYSTEM => Role::EfiSystem,
            BIOS_BOOT => Role::BiosBoot,
            _ => Role::Other,
        };
        claims.push(Claim {
            partition: Some(Partition {
                number: entry.number,
                role,
                is_active: entry.attributes & LEGACY_BOOTABLE != 0,
            }),
            offset,
            length,
        });
    }
    Ok(Some(claims))
}

/// The header of one of the table's two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sector that it says it is in.
    pub own: u64,
    /// The sector of the other copy's header.
    pub other: u64,
    /// The first sector of the entries.
    pub first_entry: u64,
    count: u32,
    /// Of an entry, in bytes.
    size: u32,
    checksum: u32,
}

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// From 1 on.
    pub number: u32,
    /// The type.
    pub kind: Uuid,
    /// The partition's own.
    pub id: Uuid,
    /// The first sector.
    pub first: u64,
    /// The last sector.
    pub last: u64,
    /// Bits (section 5.3.3).
    pub attributes: u64,
}

impl Header {
    /// Reads a header from the sector that it is in; `None` if it is none, or its checksum is wrong.
    pub fn parse(sector: &[u8]) -> Option<Self> {
        let [revision, length, checksum, count, size, entries_checksum] =
            [8, 12, 16, 80, 84, 88].map(|at| le::u32(sector, at));
        let [own, other, first_entry] = [24, 32, 72].map(|at| le::u64(sector, at));
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length >= HEADER)?;
        let mut header = sector.get(..length)?.to_vec();
        header[16..20].fill(0);
        let is_right = header.starts_with(MAGIC)
            && revision == REVISION
            && size >= ENTRY
            && count > 0
            && u64::from(count) * u64::from(size) <= MOST_ENTRIES
            && crc32fast::hash(&header) == checksum;
        is_right.then_some(Self {
            own,
            other,
            first_entry,
            count,
            size,
            checksum: entries_checksum,
        })
    }

    /// How many bytes the entries have; at most 1 MiB.
    pub fn entries_length(&self) -> usize {
        // `parse` has seen to it that there are no more.
        self.count as usize * self.size as usize
    }

    /// The partitions, from the bytes of the entries; `None` if their checksum is wrong.
    pub fn entries(&self, bytes: &[u8]) -> Option<Vec<Entry>> {
        if crc32fast::hash(bytes) != self.checksum {
            return None;
        }
        let entries = (1..).zip(bytes.chunks_exact(self.size as usize));
        let entries = entries.map(|(number, entry)| Entry {
            number,
            kind: Uuid::from_bytes_le(array(entry, 0)),
            id: Uuid::from_bytes_le(array(entry, 16)),
            first: le::u64(entry, 32),
            last: le::u64(entry, 40),
            attributes: le::u64(entry, 48),
        });
        Some(entries.filter(|entry| !entry.kind.is_nil()).collect())
    }
}
