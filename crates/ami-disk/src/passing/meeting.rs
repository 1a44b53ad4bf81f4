//! Where a disk that goes by and its survey meet.
//!
//! The disk stands still until the survey waits for bytes that lie ahead, and goes on as far as these, or until the survey has ended.
//! So the survey has always said what is to be kept before it passes. Whatever is read behind is there if it was kept; else it has
//! gone by.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::SECTOR;
use super::kept::Kept;
use super::piece::Piece;
use crate::error::GoneBy;
use crate::read::{Expected, ReadAt};

#[derive(Debug)]
pub(super) struct Meeting {
    size: u64,
    /// Ends the survey.
    pub(super) interrupted: AtomicBool,
    state: Mutex<State>,
    /// It is the other's turn.
    turn: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Everything before has gone by, in bytes: whole sectors.
    position: u64,
    expected: Expected,
    /// How many of the expected ranges have gone by.
    passed_ranges: usize,
    /// Everything up to there is kept.
    keep_until: u64,
    kept: Kept,
    /// There was no room: of what has gone by, and of what comes, nothing is known until something else is expected.
    is_full: bool,
    /// What the survey waits for.
    wanted: Option<Wanted>,
    given: Option<Vec<u8>>,
    /// The survey has ended.
    is_over: bool,
}

/// Bytes that lie ahead.
#[derive(Debug)]
struct Wanted {
    offset: u64,
    bytes: Vec<u8>,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl Meeting {
    /// For a disk of so many bytes.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            interrupted: AtomicBool::new(false),
            state: Mutex::default(),
            turn: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.turn
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the disk's next bytes go by: whole sectors. Waits for the survey.
    pub(super) fn pass(&self, mut piece: Piece<'_>) {
        let mut state = self.lock();
        while piece.length() > 0 && !state.is_over {
            let Some(end) = state.wanted.as_ref().map(Wanted::end) else {
                state = self.wait(state);
                continue;
            };
            let (front, rest) = piece.split((end - state.position).next_multiple_of(SECTOR));
            state.take(front);
            piece = rest;
            if state.position >= end {
                state.given = state.wanted.take().map(|wanted| wanted.bytes);
                self.turn.notify_all();
            }
        }
    }

    /// The survey has ended: everything may go by.
    pub(super) fn survey_is_over(&self) {
        self.lock().is_over = true;
        self.turn.notify_all();
    }

    /// Ends the survey soon.
    pub(super) fn interrupt(&self) {
        let _state = self.lock();
        self.interrupted.store(true, Ordering::Relaxed);
        self.turn.notify_all();
    }
}

impl ReadAt for Meeting {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        let end = end.filter(|&end| end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut state = self.lock();
        let position = state.position.clamp(offset, end);
        let (behind, ahead) = buffer.split_at_mut((position - offset) as usize);
        if state.is_full || !state.kept.read(offset, behind) {
            return Err(io::Error::other(GoneBy));
        }
        if ahead.is_empty() {
            return Ok(());
        }
        state.wanted = Some(Wanted {
            offset: position,
            bytes: vec![0; ahead.len()],
        });
        self.turn.notify_all();
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if let Some(bytes) = state.given.take() {
                ahead.copy_from_slice(&bytes);
                return Ok(());
            }
            state = self.wait(state);
        }
    }

    fn expect(&self, expected: Expected) {
        self.lock().expect(expected);
    }
}

impl State {
    fn expect(&mut self, mut expected: Expected) {
        expected.whole.sort_unstable_by_key(|range| range.start);
        self.kept.forget_before(expected.from);
        self.expected = expected;
        self.passed_ranges = 0;
        self.keep_until = 0;
        self.is_full = false;
    }

    /// Takes the bytes at the position: gives the survey those that it waits for, and keeps those that it expects to read later.
    fn take(&mut self, piece: Piece<'_>) {
        let (start, end) = (self.position, self.position + piece.length());
        if let (Piece::Data(bytes), Some(wanted)) = (piece, &mut self.wanted) {
            let (first, last) = (start.max(wanted.offset), end.min(wanted.end()));
            if first < last {
                wanted.bytes[(first - wanted.offset) as usize..(last - wanted.offset) as usize]
                    .copy_from_slice(&bytes[(first - start) as usize..(last - start) as usize]);
            }
        }
        let has_room = match piece {
            Piece::Data(bytes) if self.is_expected(start, end) => self.keep(bytes),
            Piece::Data(_) => true,
            Piece::Zeros(_) => self.keep_zeros(start, end),
        };
        if !has_room {
            self.kept = Kept::default();
            self.expected = Expected::default();
            self.is_full = true;
        }
        self.position = end;
    }

    /// The first of the expected ranges that do not end before `at`, which never goes back.
    fn next_range(&mut self, at: u64) -> Option<&Range<u64>> {
        let rest = &self.expected.whole[self.passed_ranges..];
        self.passed_ranges += rest.iter().take_while(|range| range.end <= at).count();
        self.expected.whole.get(self.passed_ranges)
    }

    /// Whether anything between these bytes may have to be kept.
    fn is_expected(&mut self, start: u64, end: u64) -> bool {
        let patterns = &self.expected.patterns;
        self.keep_until > start
            || patterns
                .iter()
                .any(|pattern| pattern.range.start < end && start < pattern.range.end)
            || self
                .next_range(start)
                .is_some_and(|range| range.start < end)
    }

    /// `false` if there is no room.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        let places = (self.position..).step_by(SECTOR as usize);
        for (at, sector) in places.zip(bytes.chunks_exact(SECTOR as usize)) {
            let mut length = self.keep_until.saturating_sub(at);
            for pattern in &self.expected.patterns {
                if pattern.range.contains(&at)
                    && (at - pattern.range.start).is_multiple_of(pattern.unit)
                {
                    length = length.max((pattern.keep)(sector));
                }
            }
            self.keep_until = self.keep_until.max(at + length);
            if self.next_range(at).is_some_and(|range| range.contains(&at)) {
                length = length.max(SECTOR);
            }
            let length = length.min(SECTOR) as usize;
            if length > 0 && !self.kept.add(at, &sector[..length]) {
                return false;
            }
        }
        true
    }

    /// `false` if there is no room.
    fn keep_zeros(&mut self, start: u64, end: u64) -> bool {
        let begun = start..self.keep_until;
        let mut ranges = vec![begun];
        for pattern in &self.expected.patterns {
            if (pattern.keep)(&[0; SECTOR as usize]) > 0 {
                ranges.push(pattern.range.clone());
            }
        }
        if self.next_range(start).is_some() {
            let rest = &self.expected.whole[self.passed_ranges..];
            ranges.extend(rest.iter().take_while(|range| range.start < end).cloned());
        }
        ranges.sort_unstable_by_key(|range| range.start);
        let mut position = start;
        for range in ranges {
            let (first, last) = (range.start.max(position), range.end.min(end));
            if first < last {
                if !self.kept.add_zeros(first, last - first) {
                    return false;
                }
                position = last;
            }
        }
        true
    }
}
