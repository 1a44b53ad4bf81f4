//! Inflating a gzip stream on all threads where it was written in chunks, and in order where it was not.
//!
//! A stream that [`bundle`](crate::bundle()) wrote is made of chunks that stand alone and end in `00 00 FF FF`. The decrypted
//! stream is cut there, and every thread inflates pieces as if they were such chunks. Whether a piece was one is known only in
//! order: if all before it ended at the end of a block, it began at the beginning of one, and if it then inflated without
//! reference to anything before it, what came out is right. Any other piece (the pattern by chance, or a stream of the older
//! suite, which is one long chunk) is inflated in order, from where the last one ended.

use crc32fast::Hasher as Crc32;
use memchr::memmem;

use crate::deflate::{CHUNK, CHUNK_END};
use crate::error::{Error, StreamError};
use crate::gzip::{self, HeaderReader, TrailerReader};
use crate::schedule::{Emit, Join, Work};
use crate::zlib::{HISTORY, Inflater};

/// The largest piece, in bytes: larger than a chunk of ours can become.
const MAX_PIECE: usize = 1280 * 1024;

/// The most that a piece is inflated to by itself, in bytes. What would give more is inflated in order, in bounded memory.
const MAX_ALONE: usize = 4 * 1024 * 1024;

/// How much is inflated in order at a time, in bytes.
const OUTPUT: usize = 512 * 1024;

/// A piece of the compressed stream.
pub(crate) struct Piece {
    bytes: Vec<u8>,
    may_stand_alone: bool,
}

/// Cuts the compressed stream where chunks may end.
pub(crate) struct Cutter {
    /// Decrypted and not yet given.
    pending: Vec<u8>,
    /// How much of `pending` has been searched.
    searched: usize,
    chunk_end: memmem::Finder<'static>,
    next_is: Begin,
}

/// What the next piece begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// gzip's header, cut off so that the first chunk stands alone.
    Header,
    /// Perhaps a chunk.
    Chunk,
    /// The middle of something.
    Middle,
}

impl Default for Cutter {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            searched: 0,
            chunk_end: memmem::Finder::new(&CHUNK_END),
            next_is: Begin::Header,
        }
    }
}

impl Cutter {
    /// Where the next bytes of the stream are put.
    pub(crate) fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// The next piece, if it is known where it ends.
    pub(crate) fn cut(&mut self) -> Option<Piece> {
        let (length, next_is) = self.find()?;
        Some(self.cut_at(length, next_is))
    }

    /// What is left at the end of the stream.
    pub(crate) fn rest(&mut self) -> Option<Piece> {
        let length = self.pending.len();
        (length > 0).then(|| self.cut_at(length, Begin::Middle))
    }

    fn cut_at(&mut self, length: usize, next_is: Begin) -> Piece {
        let rest = self.pending.split_off(length);
        let bytes = std::mem::replace(&mut self.pending, rest);
        self.searched = 0;
        let this_is = std::mem::replace(&mut self.next_is, next_is);
        Piece {
            bytes,
            may_stand_alone: this_is == Begin::Chunk,
        }
    }

    fn find(&mut self) -> Option<(usize, Begin)> {
        if self.next_is == Begin::Header {
            let length = gzip::HEADER.len();
            return (self.pending.len() >= length).then_some((length, Begin::Chunk));
        }
        // The pattern may have begun in what was searched before.
        let from = self.searched.saturating_sub(CHUNK_END.len() - 1);
        let unsearched = self.pending.get(from..).unwrap_or_default();
        if let Some(found) = self.chunk_end.find(unsearched) {
            return Some((from + found + CHUNK_END.len(), Begin::Chunk));
        }
        self.searched = self.pending.len();
        (self.pending.len() >= MAX_PIECE).then_some((MAX_PIECE, Begin::Middle))
    }
}

/// A piece, and what it gives if it stands alone.
pub(crate) struct Tried {
    bytes: Vec<u8>,
    alone: Option<Alone>,
}

struct Alone {
    output: Vec<u8>,
    used: usize,
    /// The deflate stream's last block ended in it.
    ended: bool,
}

/// Inflates pieces as if nothing came before them; one a thread.
pub(crate) struct InflateAlone(Inflater);

impl Work for InflateAlone {
    type In = Piece;
    type Out = Tried;

    fn run(&mut self, piece: Piece) -> Result<Tried, Error> {
        let alone = if piece.may_stand_alone {
            self.inflate(&piece.bytes)
        } else {
            None
        };
        Ok(Tried {
            bytes: piece.bytes,
            alone,
        })
    }
}

impl InflateAlone {
    pub(crate) fn new() -> Self {
        Self(Inflater::new())
    }

    fn inflate(&mut self, bytes: &[u8]) -> Option<Alone> {
        self.0.reset(&[]);
        let mut output = vec![0; CHUNK];
        let (mut used, mut written) = (0, 0);
        loop {
            let progress = self.0.inflate(&bytes[used..], &mut output[written..])?;
            used += progress.used;
            written += progress.written;
            if progress.ended || (used == bytes.len() && progress.at_block_end) {
                output.truncate(written);
                return Some(Alone {
                    output,
                    used,
                    ended: progress.ended,
                });
            }
            if written < output.len() || output.len() >= MAX_ALONE {
                return None; // it ends within a block, or gives too much
            }
            output.resize(2 * output.len(), 0);
        }
    }
}

/// Puts what the pieces give in order, inflates those that do not stand alone, and checks gzip's frame.
pub(crate) struct Gunzip {
    state: GzipState,
    inflater: Inflater,
    crc: Crc32,
    /// Bytes out of this gzip member.
    length: u64,
    /// The end of the output so far, which blocks to come may refer to.
    history: Vec<u8>,
}

enum GzipState {
    Header(HeaderReader),
    /// At the beginning of a block, which is also that of a piece.
    BlockStart,
    /// Within a piece; the inflater knows where.
    Inside,
    Trailer(TrailerReader),
    /// After a gzip member: another one, or zeros to the end.
    Between,
    Zeros,
}

impl Gunzip {
    pub(crate) fn new() -> Self {
        Self {
            state: GzipState::Header(HeaderReader::default()),
            inflater: Inflater::new(),
            crc: Crc32::new(),
            length: 0,
            history: Vec::new(),
        }
    }

    fn give(&mut self, output: Vec<u8>, emit: &mut Emit<'_, Vec<u8>>) -> Result<(), Error> {
        self.crc.update(&output);
        self.length += output.len() as u64;
        self.history
            .extend_from_slice(&output[output.len().saturating_sub(HISTORY)..]);
        let excess = self.history.len().saturating_sub(HISTORY);
        let _ = self.history.drain(..excess);
        if output.is_empty() {
            return Ok(());
        }
        emit(output)
    }

    /// Takes bytes in order, whatever they are.
    fn feed(&mut self, mut bytes: &[u8], emit: &mut Emit<'_, Vec<u8>>) -> Result<(), Error> {
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = match &mut self.state {
                GzipState::Header(reader) => {
                    if reader.push(first)? {
                        self.crc = Crc32::new();
                        self.length = 0;
                        self.history.clear();
                        self.state = GzipState::BlockStart;
                    }
                    rest
                }
                GzipState::BlockStart => {
                    self.inflater.reset(&self.history);
                    self.state = GzipState::Inside;
                    bytes
                }
                GzipState::Inside => self.inflate(bytes, emit)?,
                GzipState::Trailer(reader) => {
                    if reader.push(first, self.crc.clone().finalize(), self.length)? {
                        self.state = GzipState::Between;
                    }
                    rest
                }
                GzipState::Between if first == gzip::HEADER[0] => {
                    self.state = GzipState::Header(HeaderReader::default());
                    bytes
                }
                GzipState::Between | GzipState::Zeros if first == 0 => {
                    self.state = GzipState::Zeros;
                    rest
                }
                GzipState::Between | GzipState::Zeros => {
                    return Err(StreamError::TrailingGarbage.into());
                }
            };
        }
        Ok(())
    }

    /// Inflates what it can of `bytes` and gives the rest of them.
    fn inflate<'b>(
        &mut self,
        mut bytes: &'b [u8],
        emit: &mut Emit<'_, Vec<u8>>,
    ) -> Result<&'b [u8], Error> {
        loop {
            let mut output = vec![0; OUTPUT];
            let progress = self
                .inflater
                .inflate(bytes, &mut output)
                .ok_or(StreamError::Deflate)?;
            let full = progress.written == output.len();
            output.truncate(progress.written);
            bytes = &bytes[progress.used..];
            self.give(output, emit)?;
            if progress.ended {
                self.state = GzipState::Trailer(TrailerReader::default());
                return Ok(bytes);
            }
            if bytes.is_empty() && !full {
                if progress.at_block_end {
                    self.state = GzipState::BlockStart;
                }
                return Ok(bytes);
            }
            if progress.used == 0 && !full {
                return Err(StreamError::Deflate.into());
            }
        }
    }
}

impl Join for Gunzip {
    type In = Tried;
    type Out = Vec<u8>;

    fn push(&mut self, piece: Tried, emit: &mut Emit<'_, Vec<u8>>) -> Result<(), Error> {
        match (&self.state, piece.alone) {
            (GzipState::BlockStart, Some(alone)) => {
                self.give(alone.output, emit)?;
                if alone.ended {
                    self.state = GzipState::Trailer(TrailerReader::default());
                }
                self.feed(&piece.bytes[alone.used..], emit)
            }
            _ => self.feed(&piece.bytes, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_, Vec<u8>>) -> Result<(), Error> {
        let part = match self.state {
            GzipState::Between | GzipState::Zeros => return Ok(()),
            GzipState::Header(_) => "gzip's header",
            GzipState::BlockStart | GzipState::Inside => "the compressed data",
            GzipState::Trailer(_) => "gzip's trailer",
        };
        Err(StreamError::Truncated(part).into())
    }
}

/// Does to gzip data what the pipeline does, on one thread.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn gunzip(compressed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut source = Cutter::default();
    source.pending.extend_from_slice(compressed);
    let mut work = InflateAlone::new();
    let mut join = Gunzip::new();
    let mut all = Vec::new();
    let mut emit = |piece: Vec<u8>| {
        all.extend(piece);
        Ok(())
    };
    while let Some(piece) = source.cut().or_else(|| source.rest()) {
        let tried = work.run(piece)?;
        join.push(tried, &mut emit)?;
    }
    join.finish(&mut emit)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn flushed(content: &[u8], step: usize, level: Compression) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), level);
        for piece in content.chunks(step) {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn streams_with_sync_flushes_come_back() {
        let counting: Vec<u8> = (0..300_000u32)
            .flat_map(|i| (i / 3 % 6000).to_le_bytes())
            .collect();
        let pattern = [
            &counting[..50_000],
            &CHUNK_END.repeat(3000),
            &counting[..50_000],
        ]
        .concat();
        let zeros = vec![0; 2 * CHUNK];
        for content in [counting, pattern, zeros] {
            for (step, length) in [
                (7, 20_000),
                (1000, usize::MAX),
                (70_000, usize::MAX),
                (CHUNK, usize::MAX),
            ] {
                let content = &content[..length.min(content.len())];
                for level in [0, 1, 9] {
                    let compressed = flushed(content, step, Compression::new(level));
                    assert!(
                        gunzip(&compressed).unwrap() == content,
                        "step {step}, level {level}"
                    );
                }
            }
        }
    }

    /// What one piece leaves to refer to, the next must see, also where the one stood alone.
    #[test]
    fn pieces_that_refer_to_those_before_come_back() {
        let unit: Vec<u8> = (0..20_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let content = unit.repeat(40);
        let compressed = flushed(&content, unit.len(), Compression::best());
        assert!(
            compressed.len() < 2 * unit.len(),
            "the pieces refer to each other"
        );
        assert!(gunzip(&compressed).unwrap() == content);
    }

    #[test]
    fn a_cut_stream_is_refused_wherever_it_is_cut() {
        let compressed = flushed(
            &[b"some content", &[7; 5000][..]].concat(),
            100,
            Compression::fast(),
        );
        for length in 0..compressed.len() {
            let error = gunzip(&compressed[..length]).unwrap_err();
            assert!(
                matches!(error, Error::Stream(StreamError::Truncated(_))),
                "{length}: {error}"
            );
        }
    }
}
