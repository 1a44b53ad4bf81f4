//! Reading parts. No byte of a part is passed on before the part's SHA-1 has been checked.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ami_files::{DigestReader, read_some};
use ami_pool::Pool;
use sha1::digest::Update;
use sha1::{Digest, Sha1};

use crate::error::Error;
use crate::source::PartSource;

/// Parts up to this size (bytes) are read into memory. Larger ones, which other bundlers may have made, are read twice.
const WHOLE: u64 = 16 * 1024 * 1024;

/// A part's file, and the SHA-1 that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFile {
    /// The file.
    pub path: PathBuf,
    /// The manifest's SHA-1.
    pub digest: [u8; 20],
}

impl PartFile {
    /// The part with the file name `name` in `folder`.
    pub fn in_folder(folder: &Path, name: &str, digest: [u8; 20]) -> Self {
        // Messages need not show `.`.
        let folder = if folder == Path::new(".") {
            Path::new("")
        } else {
            folder
        };
        Self {
            path: folder.join(name),
            digest,
        }
    }
}

/// The parts of a bundle in files.
#[derive(Debug)]
pub struct PartFiles {
    parts: std::vec::IntoIter<PartFile>,
    current: Option<Open>,
}

#[derive(Debug)]
struct Open {
    part: PartFile,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Whole { data: Vec<u8>, position: usize },
    Again(DigestReader<File, Sha1>),
}

impl PartFiles {
    /// These parts in this order.
    pub fn new(parts: Vec<PartFile>) -> Self {
        Self {
            parts: parts.into_iter(),
            current: None,
        }
    }
}

impl PartSource for PartFiles {
    type Error = Error;

    /// # Errors
    /// [`Error::Missing`], [`Error::Digest`] or [`Error::File`], each naming the part.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
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
        let (file, size) = open(&part.path)?;
        let bytes = if size <= WHOLE {
            let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            let _ = file
                .take(WHOLE + 1)
                .read_to_end(&mut data)
                .map_err(Error::io("read", &part.path))?;
            part.expect(Sha1::digest(&data).into())?;
            Bytes::Whole { data, position: 0 }
        } else {
            let _ = part.verify()?;
            let (file, _) = open(&part.path)?;
            Bytes::Again(DigestReader::new(file, Sha1::new()))
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
            Bytes::Again(file) => {
                read_some(file, buffer).map_err(Error::io("read", &self.part.path))
            }
        }
    }

    /// Checks that a large part was not changed between its two readings.
    fn finish(self) -> Result<(), Error> {
        match self.bytes {
            Bytes::Whole { .. } => Ok(()),
            Bytes::Again(file) => self.part.expect(file.into_digest().finalize().into()),
        }
    }
}

impl PartFile {
    /// Reads the whole file, compares its SHA-1 with the manifest's, and returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Digest`] or [`Error::File`].
    pub fn verify(&self) -> Result<u64, Error> {
        let (file, _) = open(&self.path)?;
        let mut reader = DigestReader::new(file, Sha1::new());
        let size = reader.exhaust().map_err(Error::io("read", &self.path))?;
        self.expect(reader.into_digest().finalize().into())?;
        Ok(size)
    }

    /// The same, and computes another digest of the file as well.
    ///
    /// # Errors
    /// As of [`verify`](Self::verify).
    pub fn verify_with<D: Update>(&self, digest: D) -> Result<(u64, D), Error> {
        let (file, _) = open(&self.path)?;
        let file = DigestReader::new(file, Sha1::new());
        let mut reader = DigestReader::new(file, digest);
        let size = reader.exhaust().map_err(Error::io("read", &self.path))?;
        let (file, digest) = reader.into_parts();
        self.expect(file.into_digest().finalize().into())?;
        Ok((size, digest))
    }

    fn expect(&self, found: [u8; 20]) -> Result<(), Error> {
        if found == self.digest {
            return Ok(());
        }
        Err(Error::Digest {
            path: self.path.clone(),
            found: hex::encode(found),
            expected: hex::encode(self.digest),
        })
    }
}

/// Checks all parts on at most `threads` threads, and returns the results in the parts' order. `None` if `interrupted` was set
/// meanwhile.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{PartSources, StoredPart, check_source};
    use std::fs;

    fn part(folder: &Path, name: &str, bytes: &[u8]) -> PartFile {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        PartFile {
            path,
            digest: Sha1::digest(bytes).into(),
        }
    }

    struct InFiles(tempfile::TempDir);

    impl PartSources for InFiles {
        type Source = PartFiles;

        fn source(&mut self, parts: &[StoredPart]) -> PartFiles {
            let named = |(index, stored): (usize, &StoredPart)| {
                let path = self.0.path().join(index.to_string());
                let _ = fs::remove_file(&path);
                if let Some(bytes) = &stored.bytes {
                    fs::write(&path, bytes).unwrap();
                }
                PartFile {
                    path,
                    digest: stored.sha1,
                }
            };
            PartFiles::new(parts.iter().enumerate().map(named).collect())
        }
    }

    #[test]
    fn they_are_a_part_source() {
        check_source(&mut InFiles(tempfile::tempdir().unwrap()));
    }

    #[test]
    fn a_damaged_or_missing_part_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = part(folder.path(), "good", b"good");
        assert_eq!(good.verify().unwrap(), 4);
        let (size, digest) = good.verify_with(Sha1::new()).unwrap();
        assert_eq!((size, digest.finalize().into()), (4, good.digest));

        let bad = part(folder.path(), "bad", b"bad");
        fs::write(&bad.path, b"bad!").unwrap();
        let mut buffer = [0; 100];
        for result in [
            bad.verify(),
            bad.verify_with(Sha1::new()).map(|(size, _)| size),
            PartFiles::new(vec![bad.clone()])
                .read(&mut buffer)
                .map(|count| count as u64),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(&error, Error::Digest { path, .. } if *path == bad.path));
        }
        let missing = PartFile {
            path: folder.path().join("missing"),
            ..good
        };
        assert!(matches!(missing.verify(), Err(Error::Missing { .. })));
    }
}
