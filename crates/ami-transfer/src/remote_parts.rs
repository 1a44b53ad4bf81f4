//! The parts of a bundle in S3 as one stream: fetched ahead, each checked before its bytes are used.
//!
//! Parts are fetched in pieces over several connections. The pieces of a part stay in memory until its SHA-1 has been compared. A part
//! that is too large for that is read twice: the first time its SHA-1 is compared, and those of its pieces are noted; the second time
//! the pieces are compared with these. What came wrong is fetched again, as a transfer that broke off is: bytes may have changed on the way.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use ami_parts::PartSource;
use ami_s3::{Bucket, HALF};
use sha1::{Digest, Sha1};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::error::Error;
use crate::held_parts::{HeldPart, operation};
use crate::link::joined;

/// The size of a piece in bytes.
pub(crate) const PIECE: u64 = HALF;

/// How many pieces are in memory at most, fetched or being fetched: 45 MiB.
pub(crate) const MOST_PIECES: usize = 9;

/// Parts up to this size (bytes) stay in memory. Larger ones, which other bundlers may have made, are read twice.
pub(crate) const WHOLE: u64 = 16 << 20;

/// The parts of a [`RemoteBundle`](crate::RemoteBundle) as one stream.
///
/// It is read on a thread that may block. The bundle's runtime, which must run meanwhile, fetches up to 45 MiB ahead. Dropping the
/// stream ends that; dropping the bundle, or the runtime's end, ends a read with [`Error::Interrupted`].
pub struct RemoteParts {
    bucket: Bucket,
    parts: Arc<[HeldPart]>,
    runtime: Handle,
    /// Its sender is dropped with the bundle.
    alive: watch::Receiver<()>,
    /// How many pieces may be in memory.
    most: usize,
    /// The pieces that are not being fetched yet.
    plan: Box<dyn Iterator<Item = Piece> + Send>,
    fetching: VecDeque<Fetching>,
    /// The pieces that came wrong, which are needed before all others, and how often that has happened to this part or piece.
    again: VecDeque<Piece>,
    failed: u32,
    /// Of the part that is being checked: its SHA-1, its pieces, and their SHA-1s if it is read twice.
    digest: Sha1,
    pieces: VecDeque<Vec<u8>>,
    noted: VecDeque<[u8; 20]>,
    /// What has been checked, and how many bytes of its first piece have been read.
    checked: VecDeque<Vec<u8>>,
    position: usize,
}

/// A piece that is being fetched.
type Fetching = (Piece, JoinHandle<Result<Vec<u8>, Error>>);

/// A piece of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The part's number, from 0.
    pub(crate) part: usize,
    pub(crate) reading: Reading,
    /// Bytes of the part.
    pub(crate) range: Range<u64>,
    /// Whether it is the part's last one.
    pub(crate) is_last: bool,
}

/// Which reading of a part it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Only,
    First,
    Second,
}

/// The pieces of a part of that size, in the order in which they are needed. An empty part has one.
pub(crate) fn pieces_of(part: usize, size: u64) -> impl Iterator<Item = Piece> {
    let readings: &[Reading] = match size <= WHOLE {
        true => &[Reading::Only],
        false => &[Reading::First, Reading::Second],
    };
    let starts = move || (0..size.max(1)).step_by(PIECE as usize);
    readings.iter().flat_map(move |&reading| {
        starts().map(move |start| {
            let end = size.min(start + PIECE);
            Piece {
                part,
                reading,
                range: start..end,
                is_last: end == size,
            }
        })
    })
}

impl std::fmt::Debug for RemoteParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteParts({:?})", self.bucket)
    }
}

impl RemoteParts {
    pub(crate) fn new(
        bucket: Bucket,
        parts: Arc<[HeldPart]>,
        runtime: Handle,
        alive: watch::Receiver<()>,
    ) -> Self {
        let sizes: Vec<u64> = parts.iter().map(|part| part.held.size).collect();
        let plan = sizes.into_iter().enumerate();
        Self {
            bucket,
            parts,
            runtime,
            alive,
            most: MOST_PIECES,
            plan: Box::new(plan.flat_map(|(part, size)| pieces_of(part, size))),
            fetching: VecDeque::new(),
            again: VecDeque::new(),
            failed: 0,
            digest: Sha1::new(),
            pieces: VecDeque::new(),
            noted: VecDeque::new(),
            checked: VecDeque::new(),
            position: 0,
        }
    }

    /// Fetches no more than two pieces at once, for a reader that needs only the start.
    pub(crate) fn without_haste(self) -> Self {
        let mut parts = self;
        parts.most = 2;
        parts
    }

    /// Begins to fetch as many pieces as there is room for; one at least.
    fn fetch_ahead(&mut self) {
        loop {
            let held = self.pieces.len() + self.checked.len();
            if !self.fetching.is_empty() && self.fetching.len() + held >= self.most {
                return;
            }
            let Some(piece) = self.plan.next() else {
                return;
            };
            let fetching = self.fetch(piece);
            self.fetching.push_back(fetching);
        }
    }

    fn fetch(&self, piece: Piece) -> Fetching {
        let (bucket, parts) = (self.bucket.clone(), self.parts.clone());
        let (index, range) = (piece.part, piece.range.clone());
        let task = self.runtime.spawn(async move {
            let HeldPart { name, held, .. } = &parts[index];
            let operation = operation(&bucket.path().key(name));
            let got = bucket.get_held(&operation, name, held, range).await;
            got.map_err(|error| Error::if_archived(error.into(), &bucket, name))
        });
        (piece, task)
    }

    /// Waits for the next piece; `None` at the end.
    fn next_piece(&mut self) -> Result<Option<(Piece, Vec<u8>)>, Error> {
        let next = match self.again.pop_front() {
            Some(piece) => Some(self.fetch(piece)),
            None => {
                self.fetch_ahead();
                self.fetching.pop_front()
            }
        };
        let Some((piece, mut task)) = next else {
            return Ok(None);
        };
        let alive = &mut self.alive;
        let ended = self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = alive.changed() => None,
                ended = &mut task => Some(ended),
            }
        });
        match ended {
            Some(ended) => Ok(Some((piece, joined(ended)??))),
            None => {
                task.abort();
                Err(Error::Interrupted)
            }
        }
    }

    fn take(&mut self, piece: &Piece, bytes: Vec<u8>) -> Result<(), Error> {
        match piece.reading {
            Reading::Only => {
                self.digest.update(&bytes);
                self.pieces.push_back(bytes);
                if piece.is_last && self.has_digest(piece)? {
                    self.checked.append(&mut self.pieces);
                }
            }
            Reading::First => {
                self.digest.update(&bytes);
                self.noted.push_back(Sha1::digest(&bytes).into());
                if piece.is_last {
                    let _ = self.has_digest(piece)?;
                }
            }
            Reading::Second => {
                if self.noted.front() == Some(&Sha1::digest(&bytes).into()) {
                    let _ = self.noted.pop_front();
                    self.failed = 0;
                    self.checked.push_back(bytes);
                } else {
                    let operation = self.operation(piece.part);
                    self.fail(ami_s3::Error::Changed { operation })?;
                    self.again.push_back(piece.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether the part that ends with this piece has its digest. If not, it is fetched again.
    fn has_digest(&mut self, piece: &Piece) -> Result<bool, Error> {
        let part = &self.parts[piece.part];
        let (expected, size) = (part.digest.0, part.held.size);
        let found: [u8; 20] = self.digest.finalize_reset().into();
        if found == expected {
            self.failed = 0;
            return Ok(true);
        }
        let operation = self.operation(piece.part);
        self.fail(ami_s3::Error::of_digest(&operation, found, expected))?;
        self.pieces.clear();
        self.noted.clear();
        let pieces = pieces_of(piece.part, size);
        self.again = pieces.filter(|it| it.reading == piece.reading).collect();
        Ok(false)
    }

    /// Something came wrong. Fails if that has happened as often as it may.
    fn fail(&mut self, error: ami_s3::Error) -> Result<(), Error> {
        self.failed += 1;
        match self.failed < self.bucket.tries() {
            true => {
                debug!("{error}: fetching it again");
                Ok(())
            }
            false => Err(error.into()),
        }
    }

    /// The beginning of an error about a part.
    fn operation(&self, part: usize) -> String {
        operation(&self.bucket.path().key(&self.parts[part].name))
    }
}

impl PartSource for RemoteParts {
    type Error = Error;

    /// Must not be called on a thread of the runtime that runs futures.
    ///
    /// # Errors
    /// [`Error::S3`] and [`Error::Archived`], which name the part; [`Error::Interrupted`].
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let Some(first) = self.checked.front() else {
                match self.next_piece()? {
                    Some((piece, bytes)) => self.take(&piece, bytes)?,
                    None => return Ok(0),
                }
                continue;
            };
            let rest = &first[self.position..];
            let count = rest.len().min(buffer.len());
            if count > 0 || buffer.is_empty() {
                buffer[..count].copy_from_slice(&rest[..count]);
                self.position += count;
                return Ok(count);
            }
            let _ = self.checked.pop_front();
            self.position = 0;
            self.fetch_ahead();
        }
    }
}

impl Drop for RemoteParts {
    fn drop(&mut self) {
        for (_, task) in &self.fetching {
            task.abort();
        }
    }
}
