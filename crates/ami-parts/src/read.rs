//! Reading parts back, none of whose bytes are passed on before its SHA-1 has been checked.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ami_pool::Pool;
use sha1::{Digest, Sha1};

use crate::error::Error;

/// Parts up to this size (bytes) are held in memory whole; larger ones, which other bundlers may have cut, are read twice.
const WHOLE: u64 = 16 * 1024 * 1024;

const STEP: usize = 1024 * 1024;

/// Where a part is and the SHA-1 that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFile {
    /// The file.
    pub path: PathBuf,
    /// The manifest's SHA-1.
    pub digest: [u8; 20],
}

/// Reads one part after the other as one stream.
#[derive(Debug)]
pub struct PartReader {
    parts: std::vec::IntoIter<PartFile>,
    current: Option<Open>,
    bytes_read: u64,
}

#[derive(Debug)]
struct Open {
    part: PartFile,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Whole { data: Vec<u8>, position: usize },
    Again { file: File, digest: Sha1 },
}

impl PartReader {
    /// A reader of these parts in this order.
    pub fn new(parts: Vec<PartFile>) -> Self {
        Self {
            parts: parts.into_iter(),
            current: None,
            bytes_read: 0,
        }
    }

    /// How many bytes [`read`](Self::read) has given.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Fills the beginning of `buffer` with the next bytes of the stream and says how many; 0 at the end.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Digest`] or [`Error::Io`], each naming the part.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                None => match self.parts.next() {
                    Some(part) => self.current.insert(Open::verified(part)?),
                    None => return Ok(0),
                },
            };
            let count = current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                self.bytes_read += count as u64;
                return Ok(count);
            }
            if let Some(finished) = self.current.take() {
                finished.finish()?;
            }
        }
    }
}

impl Open {
    fn verified(part: PartFile) -> Result<Self, Error> {
        let (mut file, size) = open(&part.path)?;
        let bytes = if size <= WHOLE {
            let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            let _ = (&mut file)
                .take(WHOLE + 1)
                .read_to_end(&mut data)
                .map_err(Error::io("read", &part.path))?;
            part.expect(Sha1::digest(&data).into())?;
            Bytes::Whole { data, position: 0 }
        } else {
            part.expect(digest_of(&mut file, &part.path, |_| {})?.0)?;
            let (file, _) = open(&part.path)?;
            Bytes::Again {
                file,
                digest: Sha1::new(),
            }
        };
        Ok(Self { part, bytes })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        match &mut self.bytes {
            Bytes::Whole { data, position } => {
                let rest = data.get(*position..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                *position += count;
                Ok(count)
            }
            Bytes::Again { file, digest } => {
                let count =
                    retry(|| file.read(buffer)).map_err(Error::io("read", &self.part.path))?;
                digest.update(&buffer[..count]);
                Ok(count)
            }
        }
    }

    /// A large part may have been changed between its two readings.
    fn finish(self) -> Result<(), Error> {
        match self.bytes {
            Bytes::Whole { .. } => Ok(()),
            Bytes::Again { digest, .. } => self.part.expect(digest.finalize().into()),
        }
    }
}

impl PartFile {
    /// Reads the whole file, compares its SHA-1 with the manifest's, and gives its size in bytes. All that is read is also passed
    /// to `see`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Digest`] or [`Error::Io`].
    pub fn verify(&self, see: impl FnMut(&[u8])) -> Result<u64, Error> {
        let (mut file, _) = open(&self.path)?;
        let (digest, size) = digest_of(&mut file, &self.path, see)?;
        self.expect(digest)?;
        Ok(size)
    }

    fn expect(&self, found: [u8; 20]) -> Result<(), Error> {
        if found == self.digest {
            return Ok(());
        }
        Err(Error::Digest {
            path: self.path.clone(),
            found: lower_hex(&found),
            expected: lower_hex(&self.digest),
        })
    }
}

/// Checks all parts on at most so many threads; results in the parts' order. `None` if `interrupted` was raised meanwhile.
pub fn check_all<T: Send>(
    parts: &[PartFile],
    threads: NonZeroUsize,
    interrupted: &AtomicBool,
    check: impl Fn(&PartFile) -> T + Sync,
) -> Option<Vec<T>> {
    let useful = NonZeroUsize::new(parts.len()).unwrap_or(NonZeroUsize::MIN);
    Pool::new(threads.min(useful)).map(parts, interrupted, check)
}

fn open(path: &Path) -> Result<(File, u64), Error> {
    let file = ami_files::open_regular(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            path: path.to_owned(),
        },
        _ => Error::io("open", path)(e),
    })?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    Ok((file, metadata.len()))
}

fn digest_of(
    file: &mut File,
    path: &Path,
    mut see: impl FnMut(&[u8]),
) -> Result<([u8; 20], u64), Error> {
    let mut digest = Sha1::new();
    let mut size = 0;
    let mut buffer = vec![0; STEP];
    loop {
        let count = retry(|| file.read(&mut buffer)).map_err(Error::io("read", path))?;
        if count == 0 {
            return Ok((digest.finalize().into(), size));
        }
        digest.update(&buffer[..count]);
        see(&buffer[..count]);
        size += count as u64;
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn part(folder: &Path, name: &str, bytes: &[u8]) -> PartFile {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        PartFile {
            path,
            digest: Sha1::digest(bytes).into(),
        }
    }

    fn read_all(reader: &mut PartReader) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 700_001];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn parts_of_any_size_come_back_as_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        let large: Vec<u8> = (0..WHOLE as usize + 12_345)
            .map(|i| (i / 7) as u8)
            .collect();
        let parts = vec![
            part(folder.path(), "a", b"first"),
            part(folder.path(), "empty", b""),
            part(folder.path(), "large", &large),
            part(folder.path(), "z", b"last"),
        ];
        let mut reader = PartReader::new(parts);
        let expected = [b"first", &large[..], b"last"].concat();
        assert!(read_all(&mut reader).unwrap() == expected);
        assert_eq!(reader.bytes_read(), expected.len() as u64);
    }

    #[test]
    fn a_damaged_or_missing_part_is_named_before_its_bytes_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let good = part(folder.path(), "good", b"good");
        let large: Vec<u8> = vec![7; WHOLE as usize + 1];
        for bytes in [&b"small"[..], &large] {
            let bad = part(folder.path(), "bad", bytes);
            fs::write(&bad.path, [bytes, b"!"].concat()).unwrap();
            let mut reader = PartReader::new(vec![good.clone(), bad.clone()]);
            let mut buffer = [0; 100];
            assert_eq!(reader.read(&mut buffer).unwrap(), 4);
            let error = reader.read(&mut buffer).unwrap_err();
            assert!(matches!(&error, Error::Digest { path, .. } if *path == bad.path));
            assert!(matches!(bad.verify(|_| {}), Err(Error::Digest { .. })));
        }
        assert_eq!(good.verify(|_| {}).unwrap(), 4);
        let missing = PartFile {
            path: folder.path().join("missing"),
            ..good
        };
        assert!(matches!(missing.verify(|_| {}), Err(Error::Missing { .. })));
    }
}
