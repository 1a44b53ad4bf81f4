//! What is written to a snapshot: a disk that can be read anywhere, one that goes by, or a stream; and which of its blocks.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ami_image::{Extent, Image};

use crate::block::BLOCK_SIZE;
use crate::error::{BoxError, Error};
use crate::intake::Intake;

/// A disk's bytes: an image file, a block device.
pub trait Disk: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// It cannot be read, or ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BoxError>;

    /// Whether a range is known to be zeros without being read.
    fn is_hole(&self, _offset: u64, _length: u64) -> bool {
        false
    }

    /// Compares it with what it was when it was opened.
    ///
    /// # Errors
    /// It was changed.
    fn check_unchanged(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Disk for Image {
    fn size(&self) -> u64 {
        Image::size(self)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BoxError> {
        Ok(self.read(offset, buffer)?)
    }

    fn is_hole(&self, offset: u64, length: u64) -> bool {
        let extents = self.extents();
        let next = extents.partition_point(|extent| extent.offset + extent.length <= offset);
        extents
            .get(next)
            .is_none_or(|extent| extent.offset >= offset + length)
    }

    fn check_unchanged(&self) -> Result<(), BoxError> {
        Ok(Image::check_unchanged(self)?)
    }
}

/// A disk that goes by once, in order, and of which only its end tells whether it was the right one.
pub trait Passing: Send {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Hands over all that is not zeros, from the beginning on, and then gives what file systems call free, in bytes from the disk's
    /// beginning; nothing if that is not known. It is called again if another snapshot has to be begun. `stopped` is raised when
    /// nobody waits for it any more.
    ///
    /// # Errors
    /// [`NotPassed`]. Where `intake` has failed, any error will do: the intake's own is told.
    fn pass(
        &mut self,
        intake: &mut Intake<'_>,
        stopped: &AtomicBool,
    ) -> Result<Vec<Extent>, NotPassed>;
}

/// Why a disk has not gone by.
#[derive(Debug)]
pub enum NotPassed {
    /// It is not what it should be, and will not be another time: the snapshot is given up.
    Wrong(BoxError),
    /// It could not be read to its end: a later call may go on with the snapshot.
    Unread(BoxError),
}

impl From<NotPassed> for Error {
    fn from(not_passed: NotPassed) -> Self {
        match not_passed {
            NotPassed::Wrong(source) => Self::Wrong(source),
            NotPassed::Unread(source) => Self::Unread(source),
        }
    }
}

/// What is written to a snapshot.
pub enum Source {
    /// A disk, of which blocks that lie wholly in free space are left out.
    Disk {
        /// Its bytes.
        disk: Arc<dyn Disk>,
        /// What file systems call free, in bytes from the disk's beginning.
        free: Vec<Extent>,
    },
    /// A disk that goes by, of which blocks of zeros that lie wholly in free space are left out.
    Passing(Box<dyn Passing>),
    /// A stream, of which everything is sent.
    Stream {
        /// It is read once.
        reader: Box<dyn Read + Send>,
        /// How many bytes it must have, if that is known.
        length: Option<u64>,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk { disk, free } => write!(
                f,
                "Disk({} bytes, {} free extents)",
                disk.size(),
                free.len()
            ),
            Self::Passing(disk) => write!(f, "Passing({} bytes)", disk.size()),
            Self::Stream { length, .. } => write!(f, "Stream({length:?})"),
        }
    }
}

/// A source, in the way in which its bytes come.
pub(crate) enum Opened {
    Read(Reading),
    Passing(Box<dyn Passing>),
}

impl Opened {
    /// The number of blocks; of a stream, at most so many.
    pub(crate) fn blocks(&self, most: u64) -> u64 {
        match self {
            Self::Read(reading) => reading.blocks(most),
            Self::Passing(disk) => disk.size().div_ceil(BLOCK_SIZE),
        }
    }

    /// Whether it can be read from its beginning once more.
    pub(crate) fn can_be_repeated(&self) -> bool {
        !matches!(self, Self::Read(Reading::Stream(_)))
    }
}

/// The bytes of a source that are fetched, block after block.
pub(crate) enum Reading {
    Disk(Arc<dyn Disk>, FreeSpace),
    Stream(Stream),
}

/// What is known of a block before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is to be read.
    Data,
    /// It is zeros.
    Hole,
    /// It is left out.
    Free,
}

impl Reading {
    /// The number of blocks; of a stream, at most so many.
    pub(crate) fn blocks(&self, most: u64) -> u64 {
        match self {
            Self::Disk(disk, _) => disk.size().div_ceil(BLOCK_SIZE),
            Self::Stream(_) => most,
        }
    }

    pub(crate) fn kind(&self, index: u64) -> Kind {
        let Self::Disk(disk, free) = self else {
            return Kind::Data;
        };
        let offset = index * BLOCK_SIZE;
        let length = BLOCK_SIZE.min(disk.size().saturating_sub(offset));
        if free.holds(offset, length) {
            Kind::Free
        } else if disk.is_hole(offset, length) {
            Kind::Hole
        } else {
            Kind::Data
        }
    }

    /// Reads a block; what is behind the source's end becomes zeros. `false`: the stream has ended before.
    pub(crate) fn read(&mut self, index: u64, block: &mut [u8]) -> Result<bool, Error> {
        let offset = index * BLOCK_SIZE;
        match self {
            Self::Disk(disk, _) => {
                let left = disk.size().saturating_sub(offset);
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
                let (data, rest) = block.split_at_mut(length);
                rest.fill(0);
                let read = disk.read_at(offset, data);
                read.map_err(|source| Error::Source { offset, source })?;
                Ok(true)
            }
            Self::Stream(stream) => stream.read(block),
        }
    }

    /// All of it was read.
    pub(crate) fn finish(&mut self, gib: u64) -> Result<(), Error> {
        match self {
            Self::Disk(disk, _) => disk.check_unchanged().map_err(Error::Changed),
            Self::Stream(stream) => stream.finish(gib),
        }
    }
}

pub(crate) struct Stream {
    reader: Box<dyn Read + Send>,
    length: Option<u64>,
    position: u64,
    has_ended: bool,
}

impl Stream {
    pub(crate) fn new(reader: Box<dyn Read + Send>, length: Option<u64>) -> Self {
        Self {
            reader,
            length,
            position: 0,
            has_ended: false,
        }
    }

    fn read(&mut self, block: &mut [u8]) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < block.len() && !self.has_ended {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) => self.has_ended = true,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::Source {
                        offset: self.position + filled as u64,
                        source: error.into(),
                    });
                }
            }
        }
        self.position += filled as u64;
        self.check_length()?;
        block[filled..].fill(0);
        Ok(filled > 0)
    }

    fn check_length(&self) -> Result<(), Error> {
        match self.length {
            Some(expected)
                if self.position > expected || (self.has_ended && self.position < expected) =>
            {
                Err(Error::Length {
                    found: self.position,
                    expected,
                })
            }
            None if self.has_ended && self.position == 0 => Err(Error::NoBytes),
            _ => Ok(()),
        }
    }

    /// Nothing may follow.
    fn finish(&mut self, gib: u64) -> Result<(), Error> {
        let mut byte = [0];
        let before = self.position;
        let _ = self.read(&mut byte)?;
        match self.position > before {
            true => Err(Error::TooLong { gib }),
            false => Ok(()),
        }
    }
}

/// Free space, in order and apart.
#[derive(Debug)]
pub(crate) struct FreeSpace(Vec<(u64, u64)>);

impl FreeSpace {
    pub(crate) fn new(extents: &[Extent]) -> Self {
        let mut ends: Vec<(u64, u64)> = extents
            .iter()
            .map(|extent| (extent.offset, extent.offset.saturating_add(extent.length)))
            .collect();
        ends.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ends.len());
        for (begin, end) in ends {
            match merged.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged)
    }

    /// Whether all bytes of a range are free.
    pub(crate) fn holds(&self, offset: u64, length: u64) -> bool {
        let next = self.0.partition_point(|(_, end)| *end <= offset);
        self.0
            .get(next)
            .is_some_and(|(begin, end)| *begin <= offset && *end >= offset + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    struct Bytes(Vec<u8>);

    impl Disk for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BoxError> {
            let begin = usize::try_from(offset)?;
            let bytes = self.0.get(begin..begin + buffer.len());
            buffer.copy_from_slice(bytes.ok_or("it ends before")?);
            Ok(())
        }
    }

    #[test]
    fn only_blocks_that_are_wholly_free_are_left_out() {
        let disk = Arc::new(Bytes(vec![1; 4 * BLOCK_SIZE as usize + 10]));
        let b = BLOCK_SIZE;
        for (free, expected) in [
            (vec![], [false; 5]),
            (vec![extent(0, b)], [true, false, false, false, false]),
            (vec![extent(1, b)], [false; 5]),
            (vec![extent(1, 2 * b)], [false, true, false, false, false]),
            (
                vec![extent(0, 3 * b - 1)],
                [true, true, false, false, false],
            ),
            (
                vec![extent(b, 7), extent(b + 7, b - 7)],
                [false, true, false, false, false],
            ),
            (vec![extent(b, 7), extent(b + 8, b - 8)], [false; 5]),
            // Of the last one only what the disk has counts.
            (vec![extent(4 * b, 10)], [false, false, false, false, true]),
            (vec![extent(4 * b, 9)], [false; 5]),
            (vec![extent(3, u64::MAX)], [false, true, true, true, true]),
        ] {
            let reading = Reading::Disk(disk.clone(), FreeSpace::new(&free));
            let found: [bool; 5] =
                std::array::from_fn(|index| reading.kind(index as u64) == Kind::Free);
            assert_eq!(found, expected, "{free:?}");
        }
    }

    #[test]
    fn the_last_block_is_padded_with_zeros() {
        let disk = Arc::new(Bytes(vec![1; BLOCK_SIZE as usize + 10]));
        let mut reading = Reading::Disk(disk, FreeSpace::new(&[]));
        assert_eq!(reading.blocks(9), 2);
        let mut block = vec![7; BLOCK_SIZE as usize];
        assert!(reading.read(1, &mut block).unwrap());
        assert!(block[..10] == [1; 10] && block[10..].iter().all(|byte| *byte == 0));
        let mut stream = Reading::Stream(Stream::new(Box::new(&[1; 10][..]), None));
        block.fill(7);
        assert!(stream.read(0, &mut block).unwrap());
        assert!(block[..10] == [1; 10] && block[10..].iter().all(|byte| *byte == 0));
        assert!(!stream.read(1, &mut block).unwrap());
        stream.finish(1).unwrap();
    }

    #[test]
    fn a_stream_has_the_length_that_was_announced() {
        let stream = |length| Reading::Stream(Stream::new(Box::new(&[1; 1000][..]), Some(length)));
        let mut block = [0; 600];
        let mut right = stream(1000);
        assert!(right.read(0, &mut block).unwrap() && right.read(1, &mut block).unwrap());
        right.finish(1).unwrap();
        let told = |result: Result<bool, Error>| result.unwrap_err().to_string();
        let mut short = stream(999);
        let _ = short.read(0, &mut block);
        assert_eq!(
            told(short.read(1, &mut block)),
            "the source has 1000 bytes and not 999"
        );
        let mut long = stream(1001);
        let _ = long.read(0, &mut block);
        assert_eq!(
            told(long.read(1, &mut block)),
            "the source has 1000 bytes and not 1001"
        );
        let mut full = Reading::Stream(Stream::new(Box::new(&[1; 1000][..]), None));
        let _ = full.read(0, &mut block);
        let error = full.finish(1).unwrap_err().to_string();
        assert_eq!(error, "the source has more than the 1 GiB of the volume");
    }

    #[test]
    fn holes_of_a_file_are_known() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 * BLOCK_SIZE).unwrap();
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), b"x", BLOCK_SIZE + 5).unwrap();
        let image = Image::open(file.path()).unwrap();
        let disk: &dyn Disk = &image;
        let holes = [0, 1, 2].map(|index| disk.is_hole(index * BLOCK_SIZE, BLOCK_SIZE));
        assert_eq!(holes, [true, false, true]);
    }
}
