//! The journal: which blocks of a snapshot were written, or have come, with their digests. A pending snapshot can be neither read nor
//! listed (EBS user guide, "EBS direct APIs"), so whoever writes it must remember. `layout.rs` says how.
//!
//! A block is *sending* before its request begins, and *written* after EBS has acknowledged it: so a run that is killed has said
//! nothing that is not true, and the next one knows which blocks may have been written. Nothing is synced but the head: what a power
//! cut loses is sent again, and if EBS has more blocks than are counted, it refuses to complete the snapshot.

mod layout;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::block::Digest;
use crate::error::Error;
use crate::locked::{lock_if_free, open_locked};

use self::layout::{
    Found, HEAD, RECORD, RECORDS, head_bytes, parse_heads, parse_record, place_of, record_bytes,
};
pub(crate) use self::layout::{Head, Record, Stage, Subject, is_id};

/// How many records are read at once.
const STRETCH: usize = 16_384;

/// An open journal, which no other run uses meanwhile.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    subject: Subject,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    change: u64,
    head: Head,
    seal: u32,
}

impl Journal {
    /// Opens the journal at `path`, or makes it (mode 0600). If it is of another subject, the head that it has is given too: it stays in the
    /// file until [`Journal::begin`].
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Foreign`], [`Error::File`]; [`Error::Elsewhere`]: nobody here could delete the snapshot that it is of.
    pub(crate) fn open(path: &Path, subject: Subject) -> Result<(Self, Option<Head>), Error> {
        let file = open_locked(path)?;
        let found = read_heads(&file).map_err(Error::io("read", path))?;
        let (change, known) = match found {
            Found::Nothing => (0, None),
            Found::Foreign => {
                return Err(Error::Foreign {
                    path: path.to_owned(),
                    reason: "it holds something else",
                });
            }
            Found::Head(change, known, head) => (change, Some((known, head))),
        };
        if let Some((known, head)) = &known
            && known.region != subject.region
            && head.stage != Stage::Complete
            && let Some(snapshot) = &head.snapshot
        {
            return Err(Error::Elsewhere {
                path: path.to_owned(),
                snapshot: snapshot.clone(),
            });
        }
        let (head, other) = match known {
            Some((known, head)) if known == subject => (Some(head), None),
            Some((_, other)) => (None, Some(other)),
            None => (None, None),
        };
        let journal = Self {
            file,
            path: path.to_owned(),
            subject,
            state: Mutex::new(State {
                change,
                seal: 0,
                head: Head::of_generation(0),
            }),
        };
        match head {
            Some(head) => {
                let mut state = journal.state();
                (state.seal, state.head) = (head.seal(), head);
            }
            None if other.is_none() => journal.begin(Head::of_generation(0))?,
            None => {}
        }
        Ok((journal, other))
    }

    /// The snapshot that the journal at `path` is of, whether or not a run uses it. `None`: no snapshot was started, or it is no journal.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn snapshot_at(path: &Path) -> Result<Option<String>, Error> {
        let file = ami_files::open_regular(path).map_err(Error::io("open", path))?;
        match read_heads(&file).map_err(Error::io("read", path))? {
            Found::Head(_, _, head) => Ok(head.snapshot),
            Found::Nothing | Found::Foreign => Ok(None),
        }
    }

    /// Whether a run uses the journal at `path`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn is_in_use(path: &Path) -> Result<bool, Error> {
        Ok(lock_if_free(path)?.is_none())
    }

    /// Removes the journal at `path`, unless a run uses it; gives whether it is gone.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn discard(path: &Path) -> Result<bool, Error> {
        let Some(_lock) = lock_if_free(path)? else {
            return Ok(false);
        };
        std::fs::remove_file(path).map_err(Error::io("remove", path))?;
        Ok(true)
    }

    /// The same, for another task; the lock is held until both are dropped.
    pub(crate) fn again(&self) -> Result<Self, Error> {
        let state = self.state();
        Ok(Self {
            file: self.file.try_clone().map_err(self.error("open"))?,
            path: self.path.clone(),
            subject: self.subject,
            state: Mutex::new(State {
                change: state.change,
                head: state.head.clone(),
                seal: state.seal,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::io(operation, &self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The snapshot's ID, once it was started.
    pub fn snapshot(&self) -> Option<String> {
        self.state().head.snapshot.clone()
    }

    pub(crate) fn head(&self) -> Head {
        self.state().head.clone()
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Gives the snapshot up, for good: the next [`upload`](crate::upload()) of the same begins another.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn give_up(&self) -> Result<(), Error> {
        let next = self.head().generation.saturating_add(1);
        self.begin(Head::of_generation(next))
    }

    /// Forgets all records and begins with this head.
    pub(crate) fn begin(&self, head: Head) -> Result<(), Error> {
        self.file.set_len(RECORDS).map_err(self.error("shorten"))?;
        self.change(head)
    }

    /// Changes the head; records of another generation or snapshot become void. It outlasts a power cut.
    pub(crate) fn change(&self, head: Head) -> Result<(), Error> {
        let mut state = self.state();
        let change = state.change + 1;
        let bytes = head_bytes(change, &self.subject, &head);
        let place = (change % 2) * HEAD as u64;
        let written = self.file.write_all_at(&bytes, place);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(self.error("write"))?;
        *state = State {
            change,
            seal: head.seal(),
            head,
        };
        Ok(())
    }

    /// Notes that a block is about to be sent.
    pub(crate) fn sending(&self, index: u64) -> Result<(), Error> {
        self.write(index, Record::Sending)
    }

    /// Notes that EBS has acknowledged a block.
    pub(crate) fn written(&self, index: u64, digest: &Digest) -> Result<(), Error> {
        self.write(index, Record::Written(*digest))
    }

    fn write(&self, index: u64, record: Record) -> Result<(), Error> {
        let seal = self.state().seal;
        self.file
            .write_all_at(&record_bytes(seal, index, record), place_of(index))
            .map_err(self.error("write"))
    }

    /// The records of the blocks from `first` on.
    pub(crate) fn read(&self, first: u64, count: usize) -> Result<Vec<Record>, Error> {
        let seal = self.state().seal;
        let mut bytes = vec![0; count * RECORD];
        let place = place_of(first);
        let _ = read_to_end_of_file(&self.file, &mut bytes, place).map_err(self.error("read"))?;
        let records = bytes.chunks_exact(RECORD).zip(first..);
        Ok(records
            .map(|(record, index)| parse_record(seal, index, record))
            .collect())
    }

    /// Calls `take` for each block from `first` on that is not [`Record::None`], in the order of their indices.
    pub(crate) fn each(
        &self,
        mut first: u64,
        mut take: impl FnMut(u64, Record) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(data) = self.next_data(first)? {
            first = data;
            let left = self.subject.blocks - first;
            let count = usize::try_from(left).unwrap_or(STRETCH).min(STRETCH);
            for (record, index) in self.read(first, count)?.into_iter().zip(first..) {
                if record != Record::None {
                    take(index, record)?;
                }
            }
            first += count as u64;
        }
        Ok(())
    }

    /// The first block from `first` on that may have a record: where the file has no hole.
    fn next_data(&self, first: u64) -> Result<Option<u64>, Error> {
        if first >= self.subject.blocks {
            return Ok(None);
        }
        let place = place_of(first);
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(place)) {
            Ok(data) => {
                let index = data.saturating_sub(RECORDS) / RECORD as u64;
                Ok(Some(index.max(first)).filter(|index| *index < self.subject.blocks))
            }
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(first)),
            Err(error) => Err(self.error("read")(error.into())),
        }
    }

    /// The number of blocks that were written, and the SHA-256 of their digests in the order of their indices (EBS API reference,
    /// "CompleteSnapshot": the aggregation `LINEAR`).
    pub(crate) fn total(&self) -> Result<(u64, Digest), Error> {
        let (mut count, mut all) = (0, Sha256::new());
        self.each(0, |_, record| {
            if let Record::Written(digest) = record {
                count += 1;
                all.update(digest);
            }
            Ok(())
        })?;
        Ok((count, all.finalize().into()))
    }

    /// Removes the file: nothing is resumed any more.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(self) -> Result<(), Error> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove")(error))
            }
            _ => Ok(()),
        }
    }
}

fn read_heads(file: &File) -> io::Result<Found> {
    let mut bytes = [0; 2 * HEAD];
    let _ = read_to_end_of_file(file, &mut bytes, 0)?;
    Ok(parse_heads(&bytes))
}

/// The rest of the buffer becomes zeros.
fn read_to_end_of_file(file: &File, buffer: &mut [u8], place: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], place + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[count..].fill(0);
    Ok(count)
}

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
