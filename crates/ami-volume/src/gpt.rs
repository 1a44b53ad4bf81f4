//! The GUID partition table (UEFI specification 2.10, section 5.3).
//!
//! | sectors | what |
//! |---|---|
//! | 0 | a master boot record with one partition of type 0xEE over the whole disk (section 5.2.3) |
//! | 1 | the header |
//! | 2 to 33 | the entries |
//! | the last 33 | the entries and the header again |
//!
//! The header, with little-endian numbers:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `EFI PART` |
//! | 8 | 4 | the revision, 0x00010000 |
//! | 12 | 4 | the header's length, 92 |
//! | 16 | 4 | CRC-32 of the header, in which this field is zero |
//! | 24 | 8 | the sector of this header |
//! | 32 | 8 | the sector of the other one |
//! | 40 | 8 | the first sector that a partition may have |
//! | 48 | 8 | the last one |
//! | 56 | 16 | the disk's GUID |
//! | 72 | 8 | the first sector of the entries |
//! | 80 | 4 | how many entries there are |
//! | 84 | 4 | how long one is, 128 |
//! | 88 | 4 | CRC-32 of the entries |
//!
//! An entry:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 16 | the type's GUID; zeros: the entry is not used |
//! | 16 | 16 | the partition's GUID |
//! | 32 | 8 | the first sector |
//! | 40 | 8 | the last one |
//! | 48 | 8 | attributes |
//! | 56 | 72 | the name, UTF-16 |
//!
//! GUIDs have their first three fields little-endian (appendix A of the specification).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use ami_disk::gpt::Header;
use uuid::Uuid;

use crate::mbr;
use crate::partition::SECTOR;

const MAGIC: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER: usize = 92;
const ENTRIES: usize = 128;
const ENTRY: usize = 128;

/// The sectors of the entries.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;

/// The sectors behind the last one that a partition may have: the copy of the entries and of the header.
pub(crate) const SECTORS_AT_END: u64 = ENTRY_SECTORS + 1;

/// Sector sizes of disks.
const SECTOR_SIZES: [u64; 2] = [SECTOR, 4096];

/// A partition of a new table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partition {
    /// From 1 to 128.
    pub(crate) number: usize,
    pub(crate) kind: Uuid,
    pub(crate) id: Uuid,
    /// In sectors.
    pub(crate) first: u64,
    /// In sectors.
    pub(crate) last: u64,
    /// At most 36 ASCII characters.
    pub(crate) name: &'static str,
}

/// Writes a table over the whole of an image of so many sectors.
pub(crate) fn write(
    image: &File,
    sectors: u64,
    disk: Uuid,
    partitions: &[Partition],
) -> io::Result<()> {
    let protective = mbr::Entry {
        is_bootable: false,
        kind: 0xEE,
        chs: [[0, 2, 0], [0xFF, 0xFF, 0xFF]],
        first: 1,
        length: u32::try_from(sectors - 1).unwrap_or(u32::MAX),
    };
    image.write_all_at(&mbr::record([0; 4], &protective), 0)?;
    let entries = entries(partitions);
    let last = sectors - 1;
    for (own, other, first_entry) in [(1, last, 2), (last, 1, last - ENTRY_SECTORS)] {
        let mut header = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &REVISION.to_le_bytes());
        put(12, &(HEADER as u32).to_le_bytes());
        put(24, &u64::to_le_bytes(own));
        put(32, &other.to_le_bytes());
        put(40, &(2 + ENTRY_SECTORS).to_le_bytes());
        put(48, &(sectors - SECTORS_AT_END - 1).to_le_bytes());
        put(56, &disk.to_bytes_le());
        put(72, &first_entry.to_le_bytes());
        put(80, &(ENTRIES as u32).to_le_bytes());
        put(84, &(ENTRY as u32).to_le_bytes());
        put(88, &crc32fast::hash(&entries).to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        image.write_all_at(&entries, first_entry * SECTOR)?;
        image.write_all_at(&header, own * SECTOR)?;
    }
    Ok(())
}

fn entries(partitions: &[Partition]) -> Vec<u8> {
    let mut entries = vec![0; ENTRIES * ENTRY];
    for partition in partitions {
        let entry = &mut entries[(partition.number - 1) * ENTRY..][..ENTRY];
        entry[..16].copy_from_slice(&partition.kind.to_bytes_le());
        entry[16..32].copy_from_slice(&partition.id.to_bytes_le());
        entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last.to_le_bytes());
        for (place, letter) in entry[56..]
            .chunks_exact_mut(2)
            .zip(partition.name.encode_utf16())
        {
            place.copy_from_slice(&letter.to_le_bytes());
        }
    }
    entries
}

/// The GUID of a disk's partition number 1, which may be missing; the outer `None` if the disk has no valid table.
///
/// The copy at the end counts where the table at the beginning is damaged.
pub(crate) fn read_first(disk: &mut (impl Read + Seek)) -> Option<Option<Uuid>> {
    let length = disk.seek(SeekFrom::End(0)).ok()?;
    SECTOR_SIZES.into_iter().find_map(|sector| {
        let last = (length / sector).checked_sub(1)?;
        [1, last]
            .into_iter()
            .find_map(|own| read_at(disk, sector, own))
    })
}

/// Reads the table whose header is in that sector.
fn read_at(disk: &mut (impl Read + Seek), sector: u64, own: u64) -> Option<Option<Uuid>> {
    let mut bytes = |number: u64, length: usize| {
        let mut bytes = vec![0; length];
        let _ = disk
            .seek(SeekFrom::Start(number.checked_mul(sector)?))
            .ok()?;
        disk.read_exact(&mut bytes).ok()?;
        Some(bytes)
    };
    let header = Header::parse(&bytes(own, usize::try_from(sector).ok()?)?)?;
    let entries = header.entries(&bytes(header.first_entry, header.entries_length())?)?;
    let first = entries.iter().find(|entry| entry.number == 1);
    Some(first.map(|entry| entry.id))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const SECTORS: u64 = 2048;
    const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

    /// A disk with this table, and with partition number 1 or without any.
    fn disk(has_first: bool) -> Vec<u8> {
        let first = Partition {
            number: 1,
            kind: Uuid::from_u128(1),
            id: ID,
            first: 40,
            last: 99,
            name: "Linux",
        };
        let file = tempfile::tempfile().unwrap();
        file.set_len(SECTORS * SECTOR).unwrap();
        let partitions = if has_first { &[first][..] } else { &[] };
        write(&file, SECTORS, Uuid::from_u128(2), partitions).unwrap();
        let mut bytes = vec![0; (SECTORS * SECTOR) as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn first(disk: &[u8]) -> Option<Option<Uuid>> {
        read_first(&mut Cursor::new(disk))
    }

    /// Gives the header in that sector a correct checksum, as an attacker would.
    fn seal(disk: &mut [u8], sector: usize) {
        let header = &mut disk[sector * 512..][..HEADER];
        header[16..20].fill(0);
        let checksum = crc32fast::hash(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn a_table_is_read_from_either_end() {
        let whole = disk(true);
        assert_eq!(first(&whole), Some(Some(ID)));
        assert_eq!(first(&disk(false)), Some(None));
        // The header, and the entries, at the beginning; then those at the end as well.
        for damaged in [512, 1024] {
            let mut disk = whole.clone();
            disk[damaged] ^= 1;
            assert_eq!(first(&disk), Some(Some(ID)), "{damaged}");
            let end = disk.len() - 512;
            disk[end] ^= 1;
            assert_eq!(first(&disk), None, "{damaged}");
        }
        assert_eq!(first(&whole[..1024]), None);
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn sectors_of_4096_bytes_are_read() {
        let small = disk(true);
        let mut disk = vec![0; 1 << 20];
        disk[4096..4096 + HEADER].copy_from_slice(&small[512..512 + HEADER]);
        disk[2 * 4096..2 * 4096 + ENTRIES * ENTRY]
            .copy_from_slice(&small[1024..1024 + ENTRIES * ENTRY]);
        assert_eq!(first(&disk), Some(Some(ID)));
    }

    #[test]
    fn no_header_makes_the_reader_take_more_memory_or_fail_otherwise() {
        for (at, value) in [
            (12, 0),
            (12, 91),
            (12, u32::MAX),
            (80, 0),
            (80, u32::MAX),
            (84, 0),
            (84, 64),
            (84, u32::MAX),
            (76, u32::MAX),
        ] {
            let mut disk = disk(true);
            for sector in [1, SECTORS as usize - 1] {
                disk[sector * 512 + at..][..4].copy_from_slice(&value.to_le_bytes());
                seal(&mut disk, sector);
            }
            assert_eq!(first(&disk), None, "{at} {value}");
        }
    }
}
