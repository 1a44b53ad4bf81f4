//! Cutting a stream into parts of one size, each with its SHA-1.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use sha1::{Digest, Sha1};

use crate::dir::Dir;
use crate::error::Error;
use crate::folder::Folder;
use crate::names::part_file_name;
use crate::publish::NewFile;
use crate::staging::Staging;

/// The size in bytes of every part but the last: 10 MiB, as the older suite cuts them.
pub const PART_SIZE: NonZeroU64 = NonZeroU64::new(10 * 1024 * 1024).unwrap();

/// A part that has been written: its size in bytes and its SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedPart {
    /// Bytes.
    pub size: u64,
    /// SHA-1 of the file.
    pub digest: [u8; 20],
}

/// The parts of a bundle, written and synced under temporary names.
#[derive(Debug)]
pub struct StagedParts(Vec<StagedPart>);

impl StagedParts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none: an empty stream has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts in order.
    pub fn iter(&self) -> impl Iterator<Item = &StagedPart> {
        self.0.iter()
    }

    /// The sum of their sizes in bytes: the manifest's `bundled_size`.
    pub fn bundled_size(&self) -> u64 {
        self.0.iter().map(|part| part.size).sum()
    }

    /// What is to be published of them as parts of the bundle `bundle`, in order.
    pub fn of_bundle(&self, bundle: &str) -> Vec<NewFile> {
        let count = self.len();
        let target = |index| part_file_name(bundle, index, count);
        (0..count)
            .map(|index| NewFile::replacing(staged_name(index), target(index)))
            .collect()
    }
}

fn staged_name(index: usize) -> String {
    format!("part.{index}")
}

/// Writes a stream into numbered files of a folder. How many digits a part's number has is known only at the end, so the
/// files have temporary names until [`Staging::publish`](crate::Staging::publish).
///
/// A finished part is synced by a thread of its own while the next one is written: the disk works while the processors do. Where
/// there is no thread to be had, it is synced before the next one is begun.
#[derive(Debug)]
pub struct PartWriter {
    folder: Dir,
    part_size: u64,
    current: Option<Open>,
    parts: Vec<StagedPart>,
    syncer: Syncer,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    digest: Sha1,
    size: u64,
}

impl PartWriter {
    /// A writer of parts of `part_size` bytes into the private folder of `staging`.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn new(staging: &Staging, part_size: NonZeroU64) -> Result<Self, Error> {
        Ok(Self {
            folder: staging.folder()?,
            part_size: part_size.get(),
            current: None,
            parts: Vec::new(),
            syncer: Syncer::start(),
        })
    }

    /// Appends to the stream.
    ///
    /// # Errors
    /// A part cannot be created or written.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let mut part = match self.current.take() {
                Some(part) => part,
                None => self.open_next()?,
            };
            let room = usize::try_from(self.part_size - part.size).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            part.file
                .write_all(now)
                .map_err(Error::io("write", &part.path))?;
            part.digest.update(now);
            part.size += now.len() as u64;
            bytes = later;
            if part.size == self.part_size {
                self.close(part)?;
            } else {
                self.current = Some(part);
            }
        }
        Ok(())
    }

    /// Ends the stream and waits until every part is on the disk.
    ///
    /// # Errors
    /// A part could not be synced.
    pub fn finish(mut self) -> Result<StagedParts, Error> {
        if let Some(part) = self.current.take() {
            self.close(part)?;
        }
        self.syncer.finish()?;
        Ok(StagedParts(self.parts))
    }

    fn open_next(&self) -> Result<Open, Error> {
        let name = staged_name(self.parts.len());
        let path = self.folder.path().join(&name);
        let file = self
            .folder
            .create(&name, 0o666)
            .map_err(Error::io("create", &path))?;
        Ok(Open {
            file,
            path,
            digest: Sha1::new(),
            size: 0,
        })
    }

    fn close(&mut self, part: Open) -> Result<(), Error> {
        self.parts.push(StagedPart {
            size: part.size,
            digest: part.digest.finalize().into(),
        });
        self.syncer.sync(part.file, part.path)
    }
}

#[derive(Debug)]
enum Syncer {
    /// The thread takes files until the sender is dropped, so there is always a receiver.
    Thread {
        files: mpsc::Sender<(File, PathBuf)>,
        thread: thread::JoinHandle<Result<(), Error>>,
    },
    /// There is no thread to be had.
    AtOnce,
}

impl Syncer {
    fn start() -> Self {
        let (files, queue) = mpsc::channel::<(File, PathBuf)>();
        let thread = thread::Builder::new().spawn(move || {
            let mut result = Ok(());
            for (file, path) in queue {
                result = result.and(sync(&file, &path));
            }
            result
        });
        match thread {
            Ok(thread) => Self::Thread { files, thread },
            Err(_) => Self::AtOnce,
        }
    }

    fn sync(&self, file: File, path: PathBuf) -> Result<(), Error> {
        match self {
            Self::Thread { files, .. } => {
                let _ = files.send((file, path));
                Ok(())
            }
            Self::AtOnce => sync(&file, &path),
        }
    }

    fn finish(self) -> Result<(), Error> {
        let Self::Thread { files, thread } = self else {
            return Ok(());
        };
        drop(files);
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn sync(file: &File, path: &Path) -> Result<(), Error> {
    file.sync_data().map_err(Error::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(part_size: u64, stream: &[&[u8]]) -> Vec<u64> {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let mut writer = PartWriter::new(&staging, NonZeroU64::new(part_size).unwrap()).unwrap();
        for bytes in stream {
            writer.write(bytes).unwrap();
        }
        let parts = writer.finish().unwrap();
        let mut joined = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let bytes = std::fs::read(staging.path().join(staged_name(index))).unwrap();
            assert_eq!(part.size, bytes.len() as u64);
            assert_eq!(part.digest, <[u8; 20]>::from(Sha1::digest(&bytes)));
            joined.extend(bytes);
        }
        assert_eq!(joined, stream.concat());
        parts.iter().map(|part| part.size).collect()
    }

    #[test]
    fn a_stream_is_cut_at_multiples_of_the_part_size() {
        assert_eq!(sizes(4, &[b"abcdefghij"]), [4, 4, 2]);
        assert_eq!(sizes(4, &[b"a", b"bcdefg", b"", b"hij"]), [4, 4, 2]);
    }

    #[test]
    fn an_exact_multiple_has_no_empty_last_part() {
        assert_eq!(sizes(4, &[b"abcd"]), [4]);
        assert_eq!(sizes(4, &[b"abcd", b"efgh"]), [4, 4]);
        assert_eq!(sizes(4, &[]), [] as [u64; 0]);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_that_names_the_part() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let mut writer = PartWriter::new(&staging, PART_SIZE).unwrap();
        folder.close().unwrap();
        let error = writer.write(b"x").unwrap_err();
        assert!(error.to_string().ends_with("part.0"), "{error}");
    }
}
