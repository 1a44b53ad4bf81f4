//! Which partitions a disk has, and what else its partition table claims.

use crate::error::Error;
use crate::gpt;
use crate::mbr::{self, Record};
use crate::read::Window;

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// A GUID partition table, with a protective or hybrid master boot record.
    Gpt,
    /// A master boot record.
    Mbr,
}

/// Why the partitions of a disk are not known, though it has a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The GUID partition table at the disk's beginning is missing or has wrong checksums.
    #[error("the GUID partition table is damaged")]
    Gpt,
    /// There are two, for sectors of 512 and of 4096 bytes.
    #[error("there are two GUID partition tables")]
    Ambiguous,
    /// The chain of logical partitions does not end, or leads out of its partition.
    #[error("the extended partition is damaged")]
    Mbr,
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    EfiSystem,
    BiosBoot,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) number: u32,
    pub(crate) role: Role,
    /// BIOS starts from it.
    pub(crate) is_active: bool,
}

/// Bytes of the disk that are a partition's, or the table's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// `None`: the table's.
    pub(crate) partition: Option<Partition>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Claim {
    pub(crate) fn table(offset: u64, length: u64) -> Self {
        Self {
            partition: None,
            offset,
            length,
        }
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let end = |claim: &Self| claim.offset.saturating_add(claim.length);
        self.offset < end(other) && other.offset < end(self)
    }
}

/// What the beginning of a disk says of its partitions.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) table: Option<Table>,
    pub(crate) damage: Option<Damage>,
    pub(crate) claims: Vec<Claim>,
}

/// Is shown what is claimed so far before a table's record behind some of it is read, and where that record is, in bytes.
pub(crate) type Ahead<'a> = dyn FnMut(&[Claim], u64) -> Result<(), Error> + 'a;

impl Layout {
    /// Reads the partition table of a disk.
    pub(crate) fn read(
        disk: &Window<'_>,
        head: &[u8],
        ahead: &mut Ahead<'_>,
    ) -> Result<Self, Error> {
        let record = head.get(..mbr::RECORD).and_then(Record::parse);
        let Some(record) = record else {
            return Ok(Self {
                table: None,
                damage: None,
                claims: Vec::new(),
            });
        };
        let (table, found) = if record.is_of_gpt() {
            (Table::Gpt, gpt::read(disk)?)
        } else {
            (Table::Mbr, Ok(Vec::new()))
        };
        let (mut claims, mut damage) = match found {
            Ok(claims) => (claims, None),
            Err(damage) => (Vec::new(), Some(damage)),
        };
        // Of a hybrid record too: where it says something else than the other table, nothing is free.
        match record.partitions(disk, ahead)? {
            Ok(found) => {
                let is_new = |claim: &Claim| {
                    let is_same = |other: &Claim| {
                        (other.offset, other.length) == (claim.offset, claim.length)
                            && other.partition.is_some()
                    };
                    !(table == Table::Gpt
                        && (claim.partition.is_none() || claims.iter().any(is_same)))
                };
                let new: Vec<Claim> = found.into_iter().filter(is_new).collect();
                claims.extend(new);
            }
            Err(found) => damage = damage.or(Some(found)),
        }
        if damage.is_some() {
            claims.clear();
        }
        Ok(Self {
            table: Some(table),
            damage,
            claims,
        })
    }
}
