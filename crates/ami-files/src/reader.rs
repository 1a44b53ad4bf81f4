//! Adapters around a reader: a digest of what is read, and a limit on it.

use std::io::{self, Read};

use sha1::digest::Update;

/// How much [`DigestReader::exhaust`] reads at a time, in bytes.
const STEP: usize = 1024 * 1024;

/// Passes bytes through and computes their digest. Readers can be nested for several digests at once.
///
/// ```
/// use sha1::{Digest, Sha1};
/// # fn main() -> std::io::Result<()> {
/// let mut reader = ami_files::DigestReader::new(&b"abc"[..], Sha1::new());
/// assert_eq!(reader.exhaust()?, 3);
/// let digest = reader.into_digest().finalize();
/// assert_eq!(hex::encode(digest), "a9993e364706816aba3e25717850c26c9cd0d89d");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DigestReader<R, D> {
    inner: R,
    digest: D,
}

impl<R, D> DigestReader<R, D> {
    /// Feeds `digest` with what is read from `inner`.
    pub fn new(inner: R, digest: D) -> Self {
        Self { inner, digest }
    }

    /// The digest of what has been read.
    pub fn into_digest(self) -> D {
        self.digest
    }

    /// The inner reader, and the digest of what has been read.
    pub fn into_parts(self) -> (R, D) {
        (self.inner, self.digest)
    }
}

impl<R: Read, D: Update> DigestReader<R, D> {
    /// Reads up to the end and returns the number of bytes.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn exhaust(&mut self) -> io::Result<u64> {
        let mut buffer = vec![0; STEP];
        let mut size = 0;
        loop {
            match read_some(self, &mut buffer)? {
                0 => return Ok(size),
                count => size += count as u64,
            }
        }
    }
}

impl<R: Read, D: Update> Read for DigestReader<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// Fails with [`FileTooLarge`](io::ErrorKind::FileTooLarge) if there are more bytes than allowed, instead of cutting them off.
#[derive(Debug)]
pub struct LimitReader<R> {
    inner: R,
    left: u64,
}

impl<R> LimitReader<R> {
    /// Reads at most `most` bytes from `inner`.
    pub fn new(inner: R, most: u64) -> Self {
        Self { inner, left: most }
    }
}

impl<R: Read> Read for LimitReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One more byte shows that there are too many.
        let room = self.left.saturating_add(1);
        let room = buffer
            .len()
            .min(usize::try_from(room).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..room])?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::ErrorKind::FileTooLarge.into()),
        }
        Ok(count)
    }
}

/// Reads once, and again if a signal interrupts it.
///
/// # Errors
/// Those of the reader, except `Interrupted`.
pub fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::{Digest, Sha1};

    /// Returns one byte at a time, with an interruption before each.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn digests_are_of_exactly_what_was_read() {
        let bytes = vec![7; 3 * STEP + 5];
        let inner = DigestReader::new(&bytes[..], Sha1::new());
        let mut outer = DigestReader::new(inner, Sha1::new());
        let mut first = vec![0; STEP];
        outer.read_exact(&mut first).unwrap();
        assert_eq!(outer.exhaust().unwrap(), 2 * STEP as u64 + 5);
        let (inner, digest) = outer.into_parts();
        let expected = Sha1::digest(&bytes);
        assert_eq!(digest.finalize(), expected);
        assert_eq!(inner.into_digest().finalize(), expected);

        let mut slow = DigestReader::new(Slow(b"abc", false), Sha1::new());
        assert_eq!(slow.exhaust().unwrap(), 3);
        assert_eq!(slow.into_digest().finalize(), Sha1::digest(b"abc"));
    }

    #[test]
    fn what_is_larger_than_its_limit_is_an_error_and_not_cut_off() {
        let read = |most| {
            let mut bytes = Vec::new();
            let result = LimitReader::new(&b"abcde"[..], most).read_to_end(&mut bytes);
            result.map(|_| bytes).map_err(|e| e.kind())
        };
        for most in [5, 6, u64::MAX] {
            assert_eq!(read(most).unwrap(), b"abcde");
        }
        for most in [0, 1, 4] {
            assert_eq!(read(most), Err(io::ErrorKind::FileTooLarge));
        }
    }
}
