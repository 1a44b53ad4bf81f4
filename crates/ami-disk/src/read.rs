//! Where a disk's bytes come from, and the windows through which the readers of file systems see their volume.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use ami_image::Image;

use crate::error::{Error, GoneBy, Stop, Unread};

/// A disk whose bytes can be read anywhere.
pub trait ReadAt: Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from the byte `offset` on.
    ///
    /// # Errors
    /// The bytes cannot be read, or the disk ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Says what may be read from now on although it lies before what has been read; it replaces what was said before. Only a disk that
    /// is seen but once, from its beginning to its end, need know.
    fn expect(&self, expected: Expected) {
        let _ = expected;
    }
}

/// The unit in which a disk's bytes are kept, in bytes: the smallest sector.
pub(crate) const SECTOR: usize = 512;

/// What of a disk may be read although it lies before what has been read. Places are bytes of the disk.
#[derive(Debug, Default)]
pub struct Expected {
    /// Nothing before is read any more.
    pub from: u64,
    /// All of these ranges, which begin where a sector of 512 bytes does.
    pub whole: Vec<Range<u64>>,
    /// What these patterns tell.
    pub patterns: Vec<Pattern>,
}

/// Tells what may be read from what is there.
pub struct Pattern {
    /// Where it counts; begins where a sector of 512 bytes does.
    pub range: Range<u64>,
    /// The range consists of units of so many bytes, a multiple of 512.
    pub unit: u64,
    /// How many bytes from a unit's beginning on may be read, which may be more than the unit has. It is given the unit's first 512 bytes.
    pub keep: Keep,
}

/// See [`Pattern::keep`].
pub type Keep = Box<dyn Fn(&[u8]) -> u64 + Send>;

impl Debug for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern")
            .field("range", &self.range)
            .field("unit", &self.unit)
            .finish_non_exhaustive()
    }
}

impl ReadAt for Image {
    fn size(&self) -> u64 {
        Image::size(self)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(offset, buffer).map_err(io::Error::other)
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buffer)
    }
}

/// A part of a disk, as if it were a device of its own.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    disk: &'a dyn ReadAt,
    interrupted: &'a AtomicBool,
    /// On the disk, in bytes.
    pub(crate) offset: u64,
    /// In bytes; the disk has as many from `offset` on.
    pub(crate) length: u64,
}

impl<'a> Window<'a> {
    /// All of a disk.
    pub(crate) fn new(disk: &'a dyn ReadAt, interrupted: &'a AtomicBool) -> Self {
        Self {
            disk,
            interrupted,
            offset: 0,
            length: disk.size(),
        }
    }

    /// A part of this window, cut where the window ends.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Self {
        let start = offset.min(self.length);
        Self {
            offset: self.offset + start,
            length: length.min(self.length - start),
            ..*self
        }
    }

    /// Whether so many bytes from `at` on lie in the window.
    pub(crate) fn holds(&self, at: u64, length: u64) -> bool {
        at.checked_add(length).is_some_and(|end| end <= self.length)
    }

    /// Fills `buffer` from `at` on; a place outside the window is damage of what points there.
    pub(crate) fn read_into(&self, at: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted.into());
        }
        if !self.holds(at, buffer.len() as u64) {
            return Err(Unread::damaged("a pointer", at).into());
        }
        let offset = self.offset + at;
        self.disk.read_at(offset, buffer).map_err(|source| {
            if source.get_ref().is_some_and(|e| e.is::<GoneBy>()) {
                return Unread::GoneBy.into();
            }
            Error::Read {
                offset,
                length: buffer.len(),
                source,
            }
            .into()
        })
    }

    /// Says what may be read of the window although it lies before what has been read: these ranges, and what the patterns tell, which
    /// count from the window's beginning.
    pub(crate) fn expect(&self, whole: Vec<Range<u64>>, patterns: Vec<Pattern>) {
        let on_disk = |range: Range<u64>| self.offset + range.start..self.offset + range.end;
        self.disk.expect(Expected {
            from: self.offset,
            whole: whole.into_iter().map(on_disk).collect(),
            patterns: patterns
                .into_iter()
                .map(|pattern| Pattern {
                    range: on_disk(pattern.range),
                    ..pattern
                })
                .collect(),
        });
    }

    /// So many bytes from `at` on.
    pub(crate) fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = vec![0; length];
        self.read_into(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Up to so many bytes from `at` on, fewer where the window ends.
    pub(crate) fn read_up_to(&self, at: u64, length: usize) -> Result<Vec<u8>, Stop> {
        let rest = self.length.saturating_sub(at);
        self.read(at, length.min(usize::try_from(rest).unwrap_or(usize::MAX)))
    }
}
