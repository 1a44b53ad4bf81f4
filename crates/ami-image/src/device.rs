//! An image that is written to a block device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::Error;
use crate::sink::{Description, ImageSink};

/// No block of a device is larger (bytes): the kernel's limit, that of a page.
const BLOCK: u64 = 4096;

/// How much is zeroed in one call (bytes), so that an interruption is noticed.
const STEP: u64 = 1 << 30;

/// How many zeros are written at a time (bytes) where the device has no better way.
const ZEROS: u64 = 1 << 20;

/// Writes an image to a block device, from its beginning. What is a hole in the image is zeroed; what is behind the image stays.
///
/// A device whose image is not finished has part of it.
#[derive(Debug)]
pub struct ImageDevice {
    file: File,
    path: PathBuf,
    /// The device's size, the image's, and how much of it was written (bytes).
    size: u64,
    end: u64,
    position: u64,
}

impl ImageDevice {
    /// Opens a device that nothing else uses; nothing can mount it from then on. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Busy`] if it, or a partition of it, is mounted or otherwise in use; [`Error::NotADevice`]; [`Error::File`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Without O_CREAT, O_EXCL claims a block device (open(2)).
        let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(exclusive)
            .open(path);
        let mut file = opened.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => Error::Busy {
                path: path.to_owned(),
            },
            _ => Error::io("open", path)(error),
        })?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::NotADevice {
                path: path.to_owned(),
            });
        }
        let size = file.seek(SeekFrom::End(0));
        Ok(Self {
            size: size.map_err(Error::io("read", path))?,
            file,
            path: path.to_owned(),
            end: 0,
            position: 0,
        })
    }

    /// The device's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Refuses an image of that many bytes if it does not fit.
    ///
    /// # Errors
    /// [`Error::TooSmall`].
    pub fn check_size(&self, image: u64) -> Result<(), Error> {
        match image > self.size {
            false => Ok(()),
            true => Err(Error::TooSmall {
                path: self.path.clone(),
                size: self.size,
                image,
            }),
        }
    }

    /// Zeroes everything from where the last data ended.
    fn zero_until(&mut self, end: u64) -> Result<(), Error> {
        let start = self.position;
        let blocks = start.next_multiple_of(BLOCK)..end / BLOCK * BLOCK;
        let zeroed = if blocks.is_empty() {
            self.write_zeros(start, end)
        } else {
            self.write_zeros(start, blocks.start)
                .and_then(|()| self.zero_blocks(blocks.start, blocks.end))
                .and_then(|()| self.write_zeros(blocks.end, end))
        };
        zeroed.map_err(Error::io("write zeros to", &self.path))?;
        self.position = end;
        Ok(())
    }

    /// Has the device itself zero whole blocks, if it can: by discarding them, where they then read as zeros, or else in its own way.
    /// The kernel promises zeros for either (fallocate(2), blkdev_fallocate).
    fn zero_blocks(&self, mut start: u64, end: u64) -> io::Result<()> {
        while start < end {
            let length = STEP.min(end - start);
            let ways = [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE];
            let is_zeroed = ways.into_iter().any(|way| {
                let way = way | FallocateFlags::KEEP_SIZE;
                fallocate(&self.file, way, start, length).is_ok()
            });
            if !is_zeroed {
                self.write_zeros(start, start + length)?;
            }
            start += length;
        }
        Ok(())
    }

    fn write_zeros(&self, mut start: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS.min(end - start) as usize];
        while start < end {
            let length = ZEROS.min(end - start);
            self.file.write_all_at(&zeros[..length as usize], start)?;
            start += length;
        }
        Ok(())
    }
}

impl ImageSink for ImageDevice {
    type Error = Error;
    type Finished = ();

    /// # Errors
    /// [`Error::TooSmall`]: nothing was written.
    fn begin(&mut self, image: &Description) -> Result<(), Error> {
        self.check_size(image.size)?;
        self.end = image.size;
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.zero_until(offset)?;
        let written = self.file.write_all_at(data, offset);
        written.map_err(Error::io("write", &self.path))?;
        self.position = offset + data.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        self.zero_until(self.end)?;
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_are_written_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = ImageDevice::open(file.path()).unwrap_err();
        assert!(matches!(error, Error::NotADevice { .. }), "{error}");
    }
}
