//! Cuts a compressed stream where the chunks that it was written in may end.
//!
//! The stream may be hostile, so pieces have a minimum size, and each byte is searched and copied only once.

use ami_pool::{Buffer, Buffers};
use memchr::memmem;

use crate::deflate::{CHUNK, CHUNK_END};
use crate::effort;
use crate::gzip;

/// The smallest piece that ends where a chunk may end, in bytes. The chunks written here are larger.
const MIN_PIECE: usize = 512;

/// The largest piece, in bytes: larger than any chunk written here.
const MAX_PIECE: usize = CHUNK + 64 * 1024;

/// A piece of the compressed stream.
pub(crate) struct Piece {
    pub(crate) bytes: Buffer,
    /// Whether it begins where a chunk may begin.
    pub(crate) may_stand_alone: bool,
    /// Whether it ends where a chunk may end.
    pub(crate) may_end_chunk: bool,
}

/// Cuts the compressed stream where chunks may end.
pub(crate) struct Cutter {
    /// Decrypted bytes; those from `begin` on have not been returned yet.
    pending: Vec<u8>,
    begin: usize,
    /// How far `pending` has been searched.
    searched: usize,
    chunk_end: memmem::Finder<'static>,
    next_is: Begin,
    buffers: Buffers,
}

/// How the next piece begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// With gzip's header, which is cut off so that the first chunk stands alone.
    Header,
    /// Where a chunk may begin.
    Chunk,
    /// Within a chunk.
    Middle,
}

impl Default for Cutter {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            begin: 0,
            searched: 0,
            chunk_end: memmem::Finder::new(&CHUNK_END),
            next_is: Begin::Header,
            buffers: Buffers::default(),
        }
    }
}

impl Cutter {
    /// The buffer to append the next bytes of the stream to.
    pub(crate) fn pending(&mut self) -> &mut Vec<u8> {
        if self.begin > 0 {
            effort::count(self.pending.len() - self.begin);
            let _ = self.pending.drain(..self.begin);
            self.searched = self.searched.saturating_sub(self.begin);
            self.begin = 0;
        }
        &mut self.pending
    }

    /// The next piece, if its end is known yet.
    pub(crate) fn cut(&mut self) -> Option<Piece> {
        let (end, next_is) = self.find()?;
        Some(self.cut_at(end, next_is))
    }

    /// What is left at the end of the stream.
    pub(crate) fn rest(&mut self) -> Option<Piece> {
        let end = self.pending.len();
        (end > self.begin).then(|| self.cut_at(end, Begin::Middle))
    }

    fn cut_at(&mut self, end: usize, next_is: Begin) -> Piece {
        let mut bytes = self.buffers.empty();
        bytes.extend_from_slice(&self.pending[self.begin..end]);
        effort::count(bytes.len());
        self.begin = end;
        let this_is = std::mem::replace(&mut self.next_is, next_is);
        Piece {
            bytes,
            may_stand_alone: this_is == Begin::Chunk,
            may_end_chunk: next_is == Begin::Chunk,
        }
    }

    /// Where in `pending` the next piece ends, and how the one after it begins.
    fn find(&mut self) -> Option<(usize, Begin)> {
        let available = self.pending.len() - self.begin;
        if self.next_is == Begin::Header {
            let length = gzip::HEADER.len();
            return (available >= length).then_some((self.begin + length, Begin::Chunk));
        }
        // The pattern may begin in bytes that were already searched.
        let seen = self.searched.saturating_sub(CHUNK_END.len() - 1);
        let from = seen.max(self.begin + MIN_PIECE - CHUNK_END.len());
        let unsearched = self.pending.get(from..).unwrap_or_default();
        if let Some(found) = self.chunk_end.find(unsearched) {
            let end = from + found + CHUNK_END.len();
            effort::count(end - from);
            self.searched = end;
            return Some((end, Begin::Chunk));
        }
        effort::count(unsearched.len());
        self.searched = self.pending.len();
        (available >= MAX_PIECE).then_some((self.begin + MAX_PIECE, Begin::Middle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::{Chunk, Packer};
    use crate::schedule::Work;
    use crate::settings::Level;

    fn pieces(stream: &[u8], step: usize) -> Vec<usize> {
        let mut cutter = Cutter::default();
        let mut lengths = Vec::new();
        let mut joined = Vec::new();
        for bytes in stream.chunks(step) {
            cutter.pending().extend_from_slice(bytes);
            while let Some(piece) = cutter.cut() {
                lengths.push(piece.bytes.len());
                joined.extend_from_slice(&piece.bytes);
            }
        }
        if let Some(piece) = cutter.rest() {
            lengths.push(piece.bytes.len());
            joined.extend_from_slice(&piece.bytes);
        }
        assert!(joined == stream);
        lengths
    }

    #[test]
    fn pieces_end_in_the_pattern_and_are_neither_too_small_nor_too_large() {
        let filler = |length| vec![7; length];
        let stream = [
            filler(gzip::HEADER.len()),
            CHUNK_END.repeat(128),
            filler(508),
            CHUNK_END.to_vec(),
            filler(700),
            CHUNK_END.to_vec(),
            filler(MAX_PIECE + 5),
        ]
        .concat();
        for step in [1, 3, 511, 4096, stream.len()] {
            assert_eq!(
                pieces(&stream, step),
                [10, 512, 512, 704, MAX_PIECE, 5],
                "steps of {step}"
            );
        }
    }

    #[test]
    fn a_chunk_of_ours_is_never_smaller_than_the_smallest_piece() {
        for level in 1..=12 {
            let mut packer = Packer::new(Level::new(level).unwrap(), &Buffers::default());
            let chunk = Chunk {
                offset: 0,
                data: vec![0; CHUNK].into(),
            };
            let length = packer.run(chunk).unwrap().deflated.len();
            assert!(length >= MIN_PIECE, "level {level}: {length}");
        }
    }

    #[test]
    fn a_chunk_of_ours_is_never_larger_than_the_largest_piece() {
        assert!(Packer::bound(CHUNK as u64) <= MAX_PIECE as u64);
    }
}
