//! The master boot record and the chain of extended ones (UEFI specification 2.10, section 5.2), read.
//!
//! Sector 0 has 440 bytes of code, four entries of 16 bytes from 446 on, and ends with 0x55 0xAA. An entry, with little-endian
//! numbers: 0x80 if BIOS starts from it (0), its type (4), its first sector (8), how many sectors it has (12). An extended partition
//! begins with a record of the same form: its first entry is a logical partition, counted from that record; its second, if
//! there is one, is where the next record is, counted from the beginning of the extended partition.

use crate::bytes::le;
use crate::error::{Error, Stop};
use crate::read::Window;
use crate::table::{Ahead, Claim, Damage, Partition, Role};

/// EBS's sectors, and those of every disk that such a table is made for.
const SECTOR: u64 = 512;

/// What is in front of a disk's partitions: the record.
pub(crate) const RECORD: usize = SECTOR as usize;

/// The boot loader's code.
pub(crate) const CODE: usize = 440;

const PARTITIONS: usize = 446;
const END_MARK: u16 = 0xAA55;

const GPT: u8 = 0xEE;
const EFI_SYSTEM: u8 = 0xEF;
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// The most logical partitions; Linux reads as many records.
const MOST_LOGICAL: u32 = 100;

/// An entry that is used, in sectors.
#[derive(Debug, Clone, Copy)]
struct Entry {
    index: usize,
    is_active: bool,
    kind: u8,
    first: u64,
    length: u64,
}

/// A master boot record with at least one partition.
#[derive(Debug)]
pub(crate) struct Record {
    entries: Vec<Entry>,
}

/// The entries that are used; `None` if it is no such record.
fn entries(sector: &[u8]) -> Option<Vec<Entry>> {
    if le::u16(sector, 510) != END_MARK {
        return None;
    }
    let mut found = Vec::new();
    for index in 0..4 {
        let at = PARTITIONS + index * 16;
        let (flag, kind) = (sector[at], sector[at + 4]);
        // As Linux: a boot sector without a table has code or text there.
        if flag & 0x7F != 0 {
            return None;
        }
        let [first, length] = [8, 12].map(|field| u64::from(le::u32(sector, at + field)));
        if kind != 0 && length > 0 {
            found.push(Entry {
                index,
                is_active: flag == 0x80,
                kind,
                first,
                length,
            });
        }
    }
    Some(found)
}

impl Record {
    /// Reads a disk's first sector; `None` if it is no record with partitions.
    pub(crate) fn parse(sector: &[u8]) -> Option<Self> {
        let entries = entries(sector)?;
        (!entries.is_empty()).then_some(Self { entries })
    }

    /// Whether it says that the partitions are in a GUID partition table.
    pub(crate) fn is_of_gpt(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == GPT)
    }

    /// The partitions, primary and logical, and what the records themselves take.
    pub(crate) fn partitions(
        &self,
        disk: &Window<'_>,
        ahead: &mut Ahead<'_>,
    ) -> Result<Result<Vec<Claim>, Damage>, Error> {
        let mut claims = vec![Claim::table(0, SECTOR)];
        let mut next_logical = FIRST_LOGICAL;
        for entry in &self.entries {
            if entry.kind == GPT {
                continue;
            }
            if !EXTENDED.contains(&entry.kind) {
                claims.push(claim(entry.index as u32 + 1, entry, 0));
                continue;
            }
            match logical(disk, entry, &mut next_logical, &mut claims, ahead) {
                Ok(()) => {}
                Err(stop) => {
                    let _ = stop.volume()?;
                    return Ok(Err(Damage::Mbr));
                }
            }
        }
        Ok(Ok(claims))
    }
}

fn claim(number: u32, entry: &Entry, origin: u64) -> Claim {
    Claim {
        partition: Some(Partition {
            number,
            role: match entry.kind {
                EFI_SYSTEM => Role::EfiSystem,
                _ => Role::Other,
            },
            is_active: entry.is_active,
        }),
        offset: (origin + entry.first) * SECTOR,
        length: entry.length * SECTOR,
    }
}

/// Follows the chain of an extended partition.
fn logical(
    disk: &Window<'_>,
    extended: &Entry,
    next: &mut u32,
    claims: &mut Vec<Claim>,
    ahead: &mut Ahead<'_>,
) -> Result<(), Stop> {
    let damaged = || Stop::from(crate::Unread::damaged("an extended partition", 0));
    let mut record = extended.first;
    for _ in 0..MOST_LOGICAL {
        ahead(claims, record * SECTOR)?;
        let sector = disk.read(record * SECTOR, RECORD)?;
        claims.push(Claim::table(record * SECTOR, SECTOR));
        let entries = entries(&sector).ok_or_else(damaged)?;
        let mut following = None;
        for entry in &entries {
            if EXTENDED.contains(&entry.kind) {
                following = following.or(Some(extended.first + entry.first));
                continue;
            }
            let end = record + entry.first + entry.length;
            if entry.first == 0 || end > extended.first + extended.length {
                return Err(damaged());
            }
            claims.push(claim(*next, entry, record));
            *next += 1;
        }
        let Some(following) = following else {
            return Ok(());
        };
        record = following;
    }
    Err(damaged())
}
