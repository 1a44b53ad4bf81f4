//! The GUID partition table (UEFI specification 2.10, section 5.3), read.
//!
//! The header, in the disk's second sector and its last, with little-endian numbers:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `EFI PART` |
//! | 8 | 4 | the revision, 0x00010000 |
//! | 12 | 4 | the header's length, 92 |
//! | 16 | 4 | CRC-32 of the header, in which this field is zero |
//! | 24 | 8 | the sector of this header |
//! | 32 | 8 | the sector of the other one |
//! | 72 | 8 | the first sector of the entries |
//! | 80 | 4 | how many entries there are |
//! | 84 | 4 | how long one is, 128 |
//! | 88 | 4 | CRC-32 of the entries |
//!
//! An entry: the type's GUID (0; zeros: not used), the first sector (32), the last one (40), attributes (48). GUIDs have their first
//! three fields little-endian (appendix A of the specification).

use uuid::Uuid;

use crate::bytes::{array, le};
use crate::error::{Error, Stop};
use crate::read::Window;
use crate::table::{Claim, Damage, Partition, Role};

const MAGIC: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER: usize = 92;
const ENTRY: u64 = 128;

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

fn read_with(disk: &Window<'_>, sector: u64) -> Result<Option<Vec<Claim>>, Stop> {
    let mut header = disk.read(sector, sector as usize)?;
    let [revision, length, checksum, count, size, entries_checksum] =
        [8, 12, 16, 80, 84, 88].map(|at| le::u32(&header, at));
    let [own, other, first_entry] = [24, 32, 72].map(|at| le::u64(&header, at));
    let entries_length = u64::from(count) * u64::from(size);
    if !header.starts_with(MAGIC)
        || revision != REVISION
        || !(HEADER..=header.len()).contains(&(length as usize))
        || own != 1
        || u64::from(size) < ENTRY
        || count == 0
        || entries_length > MOST_ENTRIES
    {
        return Ok(None);
    }
    header[16..20].fill(0);
    if crc32fast::hash(&header[..length as usize]) != checksum {
        return Ok(None);
    }
    let Some(entries_at) = first_entry.checked_mul(sector) else {
        return Ok(None);
    };
    let entries = disk.read(entries_at, entries_length as usize)?;
    if crc32fast::hash(&entries) != entries_checksum {
        return Ok(None);
    }
    let mut claims = vec![
        Claim::table(0, 2 * sector),
        Claim::table(entries_at, entries_length),
        // The copy has its entries before its header.
        Claim::table(
            other
                .saturating_mul(sector)
                .saturating_sub(entries_length.next_multiple_of(sector)),
            entries_length.next_multiple_of(sector) + sector,
        ),
    ];
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        let kind = Uuid::from_bytes_le(array(entry, 0));
        if kind.is_nil() {
            continue;
        }
        let [first, last, attributes] = [32, 40, 48].map(|at| le::u64(entry, at));
        let start = first.checked_mul(sector);
        let end = last
            .checked_add(1)
            .and_then(|sectors| sectors.checked_mul(sector));
        let (Some(start), Some(end)) = (start, end) else {
            return Ok(None);
        };
        let Some(length) = end.checked_sub(start).filter(|&length| length > 0) else {
            return Ok(None);
        };
        let role = match kind {
            EFI_SYSTEM => Role::EfiSystem,
            BIOS_BOOT => Role::BiosBoot,
            _ => Role::Other,
        };
        claims.push(Claim {
            partition: Some(Partition {
                number,
                role,
                is_active: attributes & LEGACY_BOOTABLE != 0,
            }),
            offset: start,
            length,
        });
    }
    Ok(Some(claims))
}
