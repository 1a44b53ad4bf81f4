//! The journal: which blocks of a snapshot were written, or have come, with their digests. A pending snapshot can be neither read nor
//! listed (EBS user guide, "EBS direct APIs"), so whoever writes it must remember.
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 511, 512 to 1023 | the head, twice: each change goes to the older of the two |
//! | 4096 + 40 × i | the record of block i; zeros where there is none |
//!
//! | head | | record | |
//! |---|---|---|---|
//! | 0 | magic, 8 bytes | 0 | state: 1 sending, 2 written |
//! | 8 | number of the change, u64 | 4 | SHA-256 of the block |
//! | 16 | digest of the source's identity | 36 | CRC-32 of the head's seal and all before |
//! | 48 | digest of the parameters | | |
//! | 80 | blocks of the volume, u64 | | |
//! | 88 | generation, u32 | | |
//! | 92 | stage, u32 | | |
//! | 96 | snapshot ID, up to 64 bytes, then zeros | | |
//! | 160 | when it was started, in seconds since 1970, u64 | | |
//! | 168 | digest of the region | | |
//! | 508 | CRC-32 of all before | | |
//!
//! Numbers are little-endian. A record is torn, or of an earlier snapshot, if its check is wrong: the seal is the CRC-32 of generation and
//! snapshot ID. A block is *sending* before its request begins, and *written* after EBS has acknowledged it: so a run that is killed has said
//! nothing that is not true, and the next one knows which blocks may have been written. Nothing is synced but the head: what a power
//! cut loses is sent again, and if EBS has more blocks than are counted, it refuses to complete the snapshot.

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

/// The format and its version.
const MAGIC: [u8; 8] = *b"ebs-jrn1";

const HEAD: usize = 512;
const RECORDS: u64 = 4096;
const RECORD: usize = 40;

/// The longest ID: those of AWS have 22 characters.
const LONGEST_ID: usize = 64;

/// How many records are read at once.
const STRETCH: usize = 16_384;

/// What the records are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    /// A digest of what identifies the source, whatever it holds.
    pub(crate) source: Digest,
    /// A digest of the snapshot's parameters.
    pub(crate) parameters: Digest,
    /// How many blocks the volume has.
    pub(crate) blocks: u64,
    /// A digest of the region that the snapshot is in.
    pub(crate) region: Digest,
}

/// How far a snapshot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Blocks are written.
    Writing,
    /// All were written, and EBS is, or was, told so.
    Completing,
    /// EBS has said that it is complete, or will be.
    Complete,
}

/// What is in the head, besides the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// How many snapshots of this subject were given up.
    pub(crate) generation: u32,
    /// How far the snapshot has come.
    pub(crate) stage: Stage,
    /// Its ID; `None` before it was started.
    pub(crate) snapshot: Option<String>,
    /// When it was started: seconds since 1970.
    pub(crate) started: u64,
}

impl Head {
    /// That of a snapshot that is to be started.
    pub(crate) fn of_generation(generation: u32) -> Self {
        Self {
            generation,
            stage: Stage::Writing,
            snapshot: None,
            started: 0,
        }
    }

    fn seal(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.generation.to_le_bytes());
        crc.update(self.snapshot.as_deref().unwrap_or_default().as_bytes());
        crc.finalize()
    }
}

/// What is known of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// Nothing was sent.
    None,
    /// It was, or is, on its way: what EBS has is not known.
    Sending,
    /// EBS has what has this digest.
    Written(Digest),
}

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
        self.write(index, 1, &Digest::default())
    }

    /// Notes that EBS has acknowledged a block.
    pub(crate) fn written(&self, index: u64, digest: &Digest) -> Result<(), Error> {
        self.write(index, 2, digest)
    }

    fn write(&self, index: u64, state: u8, digest: &Digest) -> Result<(), Error> {
        let seal = self.state().seal;
        let mut record = [0; RECORD];
        record[0] = state;
        record[4..36].copy_from_slice(digest);
        let check = check(seal, index, &record[..36]);
        record[36..].copy_from_slice(&check.to_le_bytes());
        let place = RECORDS + index * RECORD as u64;
        self.file
            .write_all_at(&record, place)
            .map_err(self.error("write"))
    }

    /// The records of the blocks from `first` on.
    pub(crate) fn read(&self, first: u64, count: usize) -> Result<Vec<Record>, Error> {
        let seal = self.state().seal;
        let mut bytes = vec![0; count * RECORD];
        let place = RECORDS + first * RECORD as u64;
        let _ = read_to_end_of_file(&self.file, &mut bytes, place).map_err(self.error("read"))?;
        let records = bytes.chunks_exact(RECORD).zip(first..);
        Ok(records
            .map(|(record, index)| parse(seal, index, record))
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
        let place = RECORDS + first * RECORD as u64;
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

enum Found {
    Nothing,
    Foreign,
    Head(u64, Subject, Head),
}

fn read_heads(file: &File) -> io::Result<Found> {
    let mut bytes = [0; 2 * HEAD];
    let count = read_to_end_of_file(file, &mut bytes, 0)?;
    let heads = bytes.chunks_exact(HEAD);
    let newest = heads
        .filter_map(parse_head)
        .max_by_key(|(change, ..)| *change);
    let is_ours = |head: &[u8]| head.starts_with(&MAGIC) || head.iter().all(|byte| *byte == 0);
    Ok(match newest {
        Some((change, subject, head)) => Found::Head(change, subject, head),
        // It was torn when it was made.
        None if count == 0 || bytes.chunks_exact(HEAD).all(is_ours) => Found::Nothing,
        None => Found::Foreign,
    })
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

fn head_bytes(change: u64, subject: &Subject, head: &Head) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &MAGIC);
    put(8, &change.to_le_bytes());
    put(16, &subject.source);
    put(48, &subject.parameters);
    put(80, &subject.blocks.to_le_bytes());
    put(88, &head.generation.to_le_bytes());
    let stage: u32 = match head.stage {
        Stage::Writing => 0,
        Stage::Completing => 1,
        Stage::Complete => 2,
    };
    put(92, &stage.to_le_bytes());
    put(96, head.snapshot.as_deref().unwrap_or_default().as_bytes());
    put(160, &head.started.to_le_bytes());
    put(168, &subject.region);
    let check = crc32fast::hash(&bytes[..HEAD - 4]);
    bytes[HEAD - 4..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn parse_head(bytes: &[u8]) -> Option<(u64, Subject, Head)> {
    let (rest, check) = bytes.split_last_chunk::<4>()?;
    if !rest.starts_with(&MAGIC) || u32::from_le_bytes(*check) != crc32fast::hash(rest) {
        return None;
    }
    let u32_at = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
    let subject = Subject {
        source: rest.get(16..48)?.try_into().ok()?,
        parameters: rest.get(48..80)?.try_into().ok()?,
        blocks: u64_at(80)?,
        region: rest.get(168..200)?.try_into().ok()?,
    };
    let id = rest.get(96..96 + LONGEST_ID)?;
    let id = id.split(|byte| *byte == 0).next().unwrap_or_default();
    let id = std::str::from_utf8(id).ok()?;
    let head = Head {
        generation: u32_at(88)?,
        stage: match u32_at(92)? {
            0 => Stage::Writing,
            1 => Stage::Completing,
            2 => Stage::Complete,
            _ => return None,
        },
        snapshot: (!id.is_empty()).then(|| id.to_owned()),
        started: u64_at(160)?,
    };
    Some((u64_at(8)?, subject, head))
}

/// Whether an ID has a form that the head can hold.
pub(crate) fn is_id(id: &str) -> bool {
    id.len() <= LONGEST_ID
        && id.starts_with("snap-")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check(seal: u32, index: u64, record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seal.to_le_bytes());
    crc.update(&index.to_le_bytes());
    crc.update(record);
    crc.finalize()
}

fn parse(seal: u32, index: u64, bytes: &[u8]) -> Record {
    let Some((record, found)) = bytes.split_last_chunk::<4>() else {
        return Record::None;
    };
    if bytes.iter().all(|byte| *byte == 0) {
        return Record::None;
    }
    let is_whole = u32::from_le_bytes(*found) == check(seal, index, record);
    match (record[0], record[4..].try_into()) {
        (2, Ok(digest)) if is_whole => Record::Written(digest),
        (1, _) if is_whole => Record::Sending,
        // What is torn was about to become something else.
        _ => Record::Sending,
    }
}

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
