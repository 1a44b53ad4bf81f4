//! Free space of a disk that is seen once, from its beginning to its end.
//!
//! - `meeting.rs`: where the bytes that go by and the survey of them meet.
//! - `kept.rs`: what is kept of them for the survey.
//! - here: from pieces of any size to whole sectors.

mod kept;
mod meeting;
mod piece;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ami_image::Extent;

use crate::survey;
use meeting::Meeting;
use piece::Piece;

/// What goes by at a time, in bytes: partitions and everything that is looked for in them begin at multiples of it.
const SECTOR: u64 = crate::read::SECTOR as u64;

/// A disk that goes by once, in order, whose free space is known when it has gone by.
///
/// Free is what [`survey()`](crate::survey()) would call free, without what cannot be known: metadata that the survey must read after they
/// have gone by are kept, in at most 64 MiB. Where a file system's metadata take more nothing of it is free, and neither is anything of
/// one in front of a part of the partition table that is read late: the entries of a GUID partition table in an unusual place.
///
/// The survey has a thread of its own, and what is written waits for it: bytes pass only when it is known which of them it needs.
///
/// ```
/// let mut disk = ami_disk::Passing::new(1 << 30);
/// disk.write(0, &[0x55; 1000]);
/// disk.write(1 << 20, &[0xAA; 1000]);
/// assert_eq!(disk.finish(), []);
/// ```
#[derive(Debug)]
pub struct Passing {
    meeting: Arc<Meeting>,
    survey: Option<JoinHandle<Vec<Extent>>>,
    size: u64,
    /// Up to where bytes have come.
    next: u64,
    /// The beginning of the next sector.
    sector: Vec<u8>,
}

impl Passing {
    /// Begins with the disk's first byte; it has `size` bytes. Starts the survey's thread.
    pub fn new(size: u64) -> Self {
        let meeting = Arc::new(Meeting::new(size));
        let end = SurveyEnd(Arc::clone(&meeting));
        // Without a thread, which there may be no memory for, nothing is known.
        let survey = thread::Builder::new()
            .name("survey".into())
            .spawn(move || survey::free(&*end.0, &end.0.interrupted).unwrap_or_default())
            .ok();
        Self {
            meeting,
            survey,
            size,
            next: 0,
            sector: Vec::new(),
        }
    }

    /// The disk's next bytes, from the byte `offset` on, which never goes back: what was left out since the last call is zeros. Waits for
    /// the survey. Bytes behind the disk's end are ignored. If `offset` goes back, nothing is known to be free.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if offset < self.next {
            self.end();
            return;
        }
        self.pass(Piece::Zeros(offset.min(self.size) - self.next));
        let (data, _) = Piece::Data(data).split(self.size - self.next);
        self.pass(data);
    }

    /// All has gone by, and the rest is zeros. What file systems call free, as in [`Survey::free`](crate::Survey::free).
    pub fn finish(mut self) -> Vec<Extent> {
        self.pass(Piece::Zeros(self.size - self.next));
        // A disk need not end where a sector does.
        if !self.sector.is_empty() {
            self.sector.resize(SECTOR as usize, 0);
        }
        self.meeting.pass(Piece::Data(&self.sector));
        let found = self.survey.take().map(JoinHandle::join);
        found.and_then(Result::ok).unwrap_or_default()
    }

    fn pass(&mut self, mut piece: Piece<'_>) {
        self.next += piece.length();
        if !self.sector.is_empty() {
            let (front, rest) = piece.split(SECTOR - self.sector.len() as u64);
            front.append_to(&mut self.sector);
            if self.sector.len() < SECTOR as usize {
                return;
            }
            self.meeting.pass(Piece::Data(&self.sector));
            self.sector.clear();
            piece = rest;
        }
        let (whole, rest) = piece.split(piece.length() / SECTOR * SECTOR);
        self.meeting.pass(whole);
        rest.append_to(&mut self.sector);
    }

    /// Ends the survey, whatever it has found.
    fn end(&mut self) {
        self.meeting.interrupt();
        if let Some(survey) = self.survey.take() {
            let _ = survey.join();
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says that the survey is over when it is, whatever ends it.
struct SurveyEnd(Arc<Meeting>);

impl Drop for SurveyEnd {
    fn drop(&mut self) {
        self.0.survey_is_over();
    }
}
