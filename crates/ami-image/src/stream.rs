//! An image that is written as a stream of bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::sink::{Description, ImageSink};

/// The zeros that are written at a time.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// Writes an image from its first to its last byte, holes as zeros.
///
/// What is written cannot be taken back. So it is whole, and verified, only when it was finished.
#[derive(Debug)]
pub struct ImageStream<W> {
    out: W,
    /// For messages.
    name: PathBuf,
    /// The image's size, and how much of it was written (bytes).
    size: u64,
    position: u64,
}

impl<W: Write + Send> ImageStream<W> {
    /// Writes to `out`, which is called `name` in messages.
    pub fn new(out: W, name: &Path) -> Self {
        Self {
            out,
            name: name.to_owned(),
            size: 0,
            position: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.out.write_all(bytes);
        written.map_err(Error::io("write", &self.name))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn zeros_until(&mut self, end: u64) -> Result<(), Error> {
        while self.position < end {
            let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
            self.put(&ZEROS[..left.min(ZEROS.len())])?;
        }
        Ok(())
    }
}

impl<W: Write + Send> ImageSink for ImageStream<W> {
    type Error = Error;
    /// What was written to.
    type Finished = W;

    fn begin(&mut self, image: &Description) -> Result<(), Error> {
        self.size = image.size;
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.zeros_until(offset)?;
        self.put(data)
    }

    fn finish(mut self) -> Result<W, Error> {
        self.zeros_until(self.size)?;
        self.out.flush().map_err(Error::io("write", &self.name))?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zeros() {
        let mut stream = ImageStream::new(Vec::new(), Path::new("stream"));
        stream
            .begin(&Description {
                name: "a".to_owned(),
                size: 600_000,
                mode: 0o644,
                mtime: 0,
            })
            .unwrap();
        stream.write(300_000, b"data").unwrap();
        stream.write(300_004, b"more").unwrap();
        let mut expected = vec![0; 600_000];
        expected[300_000..300_008].copy_from_slice(b"datamore");
        assert!(stream.finish().unwrap() == expected);
    }

    #[test]
    fn an_error_names_the_stream() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut stream = ImageStream::new(full.unwrap(), Path::new("the stream"));
        let error = stream.write(0, b"data").unwrap_err();
        assert!(error.to_string().contains("the stream"), "{error}");
    }
}
