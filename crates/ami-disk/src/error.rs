//! What ends a survey, and why a volume's free space is not known.

use std::io;

/// What ends a survey.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's flag was set.
    #[error("interrupted")]
    Interrupted,
    /// The disk cannot be read.
    #[error("cannot read {length} bytes at byte {offset} of the disk")]
    Read {
        /// Where, in bytes from the disk's beginning.
        offset: u64,
        /// How many bytes.
        length: usize,
        /// Why.
        source: io::Error,
    },
}

/// Why nothing of a volume counts as free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unread {
    /// No contents that are known here.
    #[error("what it contains is not known")]
    Unknown,
    /// The signatures of several contents.
    #[error("it has the signatures of several kinds of contents")]
    Ambiguous,
    /// It is known what it is, and its free space is not looked for: swap, LVM, LUKS, FAT.
    #[error("the free space of its kind is not read")]
    Kind,
    /// Another partition, or the partition table itself, claims some of the same bytes.
    #[error("something else claims some of its bytes")]
    Overlap,
    /// The partition does not end on the disk.
    #[error("it ends behind the end of the disk")]
    BehindDisk,
    /// The file system is longer than its partition.
    #[error("the file system is longer than the space that it is in")]
    BehindVolume,
    /// It was not unmounted, or has recorded an error: what it says of free space may be out of date.
    #[error("{0}")]
    Dirty(&'static str),
    /// Features whose meaning for free space is not known here.
    #[error("it has features that are not known: {0} {1:#x}")]
    Features(&'static str, u64),
    /// A form of the file system that is not read here.
    #[error("such a file system is not read: {0}")]
    Form(&'static str),
    /// The disk is seen only once, and what is needed was not kept.
    #[error("what describes its free space had gone by")]
    GoneBy,
    /// What it says contradicts itself.
    #[error("it is damaged: {what}, at byte {at} of it")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where, in bytes from the volume's beginning.
        at: u64,
    },
}

impl Unread {
    pub(crate) fn damaged(what: &'static str, at: u64) -> Self {
        Self::Damaged { what, at }
    }
}

/// The error of a disk that is seen only once: those bytes have gone by, and were not kept.
#[derive(Debug, thiserror::Error)]
#[error("the bytes have gone by")]
pub(crate) struct GoneBy;

/// What ends the reading of one volume: the survey ends, or goes on with the next.
#[derive(Debug)]
pub(crate) enum Stop {
    Survey(Error),
    Volume(Unread),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Survey(error)
    }
}

impl From<Unread> for Stop {
    fn from(reason: Unread) -> Self {
        Self::Volume(reason)
    }
}

impl Stop {
    /// Passes what ends the survey on; anything else is `Ok`, with the reason.
    pub(crate) fn volume(self) -> Result<Unread, Error> {
        match self {
            Self::Survey(error) => Err(error),
            Self::Volume(reason) => Ok(reason),
        }
    }
}
