//! Where a disk's bytes come from, and the windows through which the readers of file systems see their volume.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use ami_image::Image;

use crate::error::{Error, Stop, Unread};

/// A disk whose bytes can be read anywhere.
pub trait ReadAt: Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from the byte `offset` on.
    ///
    /// # Errors
    /// The bytes cannot be read, or the disk ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
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
            Error::Read {
                offset,
                length: buffer.len(),
                source,
            }
            .into()
        })
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
