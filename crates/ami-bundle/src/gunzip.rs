//! Inflating a gzip stream on all threads where it was written in chunks, and in order where it was not.
//!
//! A stream that [`bundle`](crate::bundle()) wrote is made of chunks that stand alone and end in `00 00 FF FF`. The decrypted
//! stream is cut there, and every thread inflates pieces as if they were such chunks. Whether a piece was one is known only in
//! order: if all before it ended at the end of a block, it began at the beginning of one, and if it then inflated without
//! reference to anything before it, what came out is right. Any other piece (the pattern by chance, or a stream of the older
//! suite, which is one long chunk) is inflated in order, from where the last one ended.
//!
//! Whoever made a stream chooses where its pieces end and what they refer to. So that this cannot cost more than in proportion to
//! what is read and written: a piece has a smallest size, every byte is copied a fixed number of times, and pieces are no longer
//! tried alone when more has been inflated in vain than for good ([`Guesses`]).

use std::sync::atomic::{AtomicU64, Ordering};

use ami_pool::{Buffer, Buffers};
use crc32fast::Hasher as Crc32;

use crate::cutter::Piece;
use crate::deflate::CHUNK;
use crate::effort;
use crate::error::{Error, StreamError};
use crate::gzip::{self, HeaderReader, TrailerReader};
use crate::schedule::{Join, Work};
use crate::standalone::{Failed, MARK, Standalone};
use crate::zlib::{HISTORY, Inflater, Stop};

/// The most that a piece is inflated to by itself, in bytes: a chunk of ours. What would give more is inflated in order, in bounded memory.
const MAX_ALONE: usize = CHUNK;

/// How much is inflated in order at a time, in bytes.
const OUTPUT: usize = 512 * 1024;

/// How much may be inflated in vain before it is compared with what was inflated for good, in bytes.
const MAX_IN_VAIN: u64 = 64 * 1024 * 1024;

/// Whether it is worth while to try pieces alone: what was inflated so in vain, and all that came out of the stream, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    in_vain: AtomicU64,
    given: AtomicU64,
}

impl Guesses {
    fn are_worth_while(&self) -> bool {
        let given = self.given.load(Ordering::Relaxed);
        self.in_vain.load(Ordering::Relaxed) <= given.saturating_add(MAX_IN_VAIN)
    }

    fn was_in_vain(&self, length: usize) {
        let _ = self.in_vain.fetch_add(length as u64, Ordering::Relaxed);
    }

    fn was_given(&self, length: usize) {
        let _ = self.given.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// A piece, and what it gives if it stands alone.
pub(crate) struct Tried {
    piece: Piece,
    alone: Option<Buffer>,
}

/// Inflates pieces as if nothing came before them; one a thread.
pub(crate) struct InflateAlone<'a> {
    standalone: Standalone,
    guesses: &'a Guesses,
    buffers: Buffers,
    /// How much the last piece gave, in bytes: the next is likely to give as much.
    likely: usize,
}

impl Work for InflateAlone<'_> {
    type In = Piece;
    type Out = Tried;

    fn run(&mut self, mut piece: Piece) -> Result<Tried, Error> {
        let alone = if piece.may_stand_alone && self.guesses.are_worth_while() {
            self.inflate(&mut piece.bytes)
        } else {
            None
        };
        Ok(Tried { piece, alone })
    }
}

impl<'a> InflateAlone<'a> {
    pub(crate) fn new(guesses: &'a Guesses, buffers: &Buffers) -> Self {
        Self {
            standalone: Standalone::new(),
            guesses,
            buffers: buffers.clone(),
            likely: 0,
        }
    }

    fn inflate(&mut self, bytes: &mut Vec<u8>) -> Option<Buffer> {
        // Not more room than the piece or the one before it makes likely: what is inflated in vain is lost work.
        let mut room = match self.likely {
            0 => 4 * bytes.len(),
            likely => likely,
        };
        loop {
            room = room.min(MAX_ALONE);
            let mut output = self.buffers.filled(room + MARK);
            match self.standalone.inflate(bytes, &mut output) {
                Ok(length) => {
                    output.truncate(length);
                    self.likely = length;
                    return Some(output);
                }
                Err(Failed::NoRoom) if room < MAX_ALONE => room *= 4,
                Err(_) => {
                    // How much it was before it failed is not known.
                    self.guesses.was_in_vain(room);
                    self.likely = 0;
                    return None;
                }
            }
        }
    }
}

/// Puts what the pieces give in order, inflates those that do not stand alone, and checks gzip's frame.
pub(crate) struct Gunzip<'a> {
    state: GzipState,
    /// What the piece gave by itself, still to be given.
    alone: Option<Buffer>,
    /// A piece that is taken in order, whatever is in it, and how far it has been taken.
    piece: Option<Piece>,
    position: usize,
    inflater: Inflater,
    /// The inflater has inflated what came last: it need not be told the history to go on.
    inflater_is_there: bool,
    /// The inflater filled its output, and may have more to give.
    inflater_has_more: bool,
    guesses: &'a Guesses,
    buffers: Buffers,
    crc: Crc32,
    /// Bytes out of this gzip member.
    length: u64,
    /// The end of the output so far, which blocks to come may refer to: its last 32 KiB, and perhaps some before.
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

impl<'a> Gunzip<'a> {
    pub(crate) fn new(guesses: &'a Guesses, buffers: &Buffers) -> Self {
        Self {
            state: GzipState::Header(HeaderReader::default()),
            alone: None,
            piece: None,
            position: 0,
            inflater: Inflater::new(),
            inflater_is_there: false,
            inflater_has_more: false,
            guesses,
            buffers: buffers.clone(),
            crc: Crc32::new(),
            length: 0,
            history: Vec::new(),
        }
    }

    fn remember(&mut self, output: &[u8]) {
        let recent = &output[output.len().saturating_sub(HISTORY)..];
        // It is moved only when as much has come as is moved.
        if self.history.len() + recent.len() > 2 * HISTORY {
            let kept = HISTORY - recent.len();
            let excess = self.history.len().saturating_sub(kept);
            let _ = self.history.drain(..excess);
            effort::count(kept);
        }
        self.history.extend_from_slice(recent);
        effort::count(recent.len());
    }

    /// Takes the next byte of gzip's frame.
    fn take_byte(&mut self, byte: u8) -> Result<(), Error> {
        match &mut self.state {
            GzipState::Header(reader) => {
                if reader.push(byte)? {
                    self.crc = Crc32::new();
                    self.length = 0;
                    self.history.clear();
                    self.inflater_is_there = false;
                    self.state = GzipState::BlockStart;
                }
            }
            GzipState::Trailer(reader) => {
                if reader.push(byte, self.crc.clone().finalize(), self.length)? {
                    self.state = GzipState::Between;
                }
            }
            GzipState::Between if byte == gzip::HEADER[0] => {
                let mut reader = HeaderReader::default();
                let _ = reader.push(byte)?;
                self.state = GzipState::Header(reader);
            }
            _ if byte == 0 => self.state = GzipState::Zeros,
            _ => return Err(StreamError::TrailingGarbage.into()),
        }
        self.position += 1;
        Ok(())
    }

    /// Inflates some of the piece, in order.
    fn inflate(&mut self) -> Result<Buffer, Error> {
        let mut output = self.buffers.filled(OUTPUT);
        let (rest, may_end_chunk) = match &self.piece {
            Some(piece) => (&piece.bytes[self.position..], piece.may_end_chunk),
            None => (&[][..], false),
        };
        let stop = if may_end_chunk {
            Stop::AtBlocks
        } else {
            Stop::Nowhere
        };
        let progress = self
            .inflater
            .inflate(rest, &mut output, stop)
            .ok_or(StreamError::Deflate)?;
        let is_full = progress.written == output.len();
        if progress.used == 0 && !is_full && !progress.ended && !rest.is_empty() {
            return Err(StreamError::Deflate.into());
        }
        self.position += progress.used;
        self.inflater_has_more = is_full && !progress.ended;
        if progress.ended {
            self.state = GzipState::Trailer(TrailerReader::default());
        } else if progress.used == rest.len() && !is_full && progress.at_block_end {
            self.state = GzipState::BlockStart;
        }
        effort::count(progress.written);
        output.truncate(progress.written);
        Ok(output)
    }

    /// The next output of the piece; `None` when all of it has been taken.
    fn next_output(&mut self) -> Result<Option<Buffer>, Error> {
        if let Some(output) = self.alone.take() {
            return Ok(Some(output));
        }
        loop {
            let piece = self.piece.as_ref();
            let next = piece.and_then(|piece| piece.bytes.get(self.position).copied());
            match (&self.state, next) {
                (GzipState::Inside, None) if !self.inflater_has_more => return Ok(None),
                (GzipState::Inside, _) => return self.inflate().map(Some),
                (_, None) => return Ok(None),
                (GzipState::BlockStart, _) => {
                    if !self.inflater_is_there {
                        self.inflater.reset(&self.history);
                        self.inflater_is_there = true;
                    }
                    self.state = GzipState::Inside;
                }
                (_, Some(byte)) => self.take_byte(byte)?,
            }
        }
    }
}

impl Join for Gunzip<'_> {
    type In = Tried;
    type Out = Buffer;

    fn push(&mut self, tried: Tried) -> Result<(), Error> {
        self.position = 0;
        match (&self.state, tried.alone) {
            (GzipState::BlockStart, Some(output)) => {
                self.alone = Some(output);
                self.piece = None;
                self.inflater_is_there = false;
            }
            (_, alone) => {
                self.guesses
                    .was_in_vain(alone.map_or(0, |output| output.len()));
                self.piece = Some(tried.piece);
            }
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Buffer>, Error> {
        while let Some(output) = self.next_output()? {
            if !output.is_empty() {
                self.crc.update(&output);
                self.length += output.len() as u64;
                self.guesses.was_given(output.len());
                self.remember(&output);
                return Ok(Some(output));
            }
        }
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), Error> {
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
    let mut source = crate::cutter::Cutter::default();
    source.pending().extend_from_slice(compressed);
    let (guesses, buffers) = (Guesses::default(), Buffers::default());
    let mut work = InflateAlone::new(&guesses, &buffers);
    let mut join = Gunzip::new(&guesses, &buffers);
    let mut all = Vec::new();
    while let Some(piece) = source.cut().or_else(|| source.rest()) {
        join.push(work.run(piece)?)?;
        while let Some(output) = join.pull()? {
            all.extend_from_slice(&output);
        }
    }
    join.finish()?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::{CHUNK_END, STREAM_END};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::{Read, Write};

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

    /// The work of inflating, in bytes, is at most so many times what is read and written.
    fn work_is_in_proportion(compressed: &[u8], most: u64) {
        let _ = effort::take();
        let given = gunzip(compressed).unwrap().len();
        let (work, size) = (effort::take(), (compressed.len() + given) as u64);
        assert!(work <= most * size, "{work} for {size} bytes");
    }

    /// Blocks in one gzip member.
    fn member(blocks: &[u8]) -> Vec<u8> {
        let deflated = [blocks, &STREAM_END].concat();
        let mut content = Vec::new();
        let _ = flate2::read::DeflateDecoder::new(&deflated[..])
            .read_to_end(&mut content)
            .unwrap();
        let trailer = gzip::trailer(crc32fast::hash(&content), content.len() as u64);
        [&gzip::HEADER, &deflated[..], &trailer].concat()
    }

    /// Stored blocks of what is no longer than a stored block can be.
    fn stored(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap();
        let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
        [&[0], &lengths[..], content].concat()
    }

    #[test]
    fn finding_09_work_is_in_proportion_to_what_is_read_and_written() {
        const EMPTY: &[u8] = &[0, 0, 0, 0xff, 0xff];
        // Three bytes from 600 bytes back, and an empty stored block: it does not stand alone, and gives little.
        let bits = ["010", "0000001", "10010", "11101010", "0000000", "000"].concat();
        let mut referring = [0; 5].to_vec();
        for (index, _) in bits.match_indices('1') {
            referring[index / 8] |= 1 << (index % 8);
        }
        referring.extend(CHUNK_END);
        // What would give much if it stood alone, but is the content of stored blocks.
        let mut zeros = flate2::Compress::new(Compression::best(), false);
        let mut bomb = Vec::with_capacity(8192);
        let _ = zeros
            .compress_vec(&vec![0; 3 << 20], &mut bomb, flate2::FlushCompress::Sync)
            .unwrap();
        let hidden = stored(&[&[7; 600][..], &CHUNK_END, &bomb].concat());
        for scale in [1, 8] {
            work_is_in_proportion(&member(&EMPTY.repeat(40_000 * scale)), 8);
            work_is_in_proportion(&member(&stored(&[7; 507]).repeat(400 * scale)), 8);
            work_is_in_proportion(&member(&[]).repeat(10_000 * scale), 8);
            let refers = [stored(&[7; 700]), referring.repeat(10_000 * scale)].concat();
            work_is_in_proportion(&member(&refers), 8);
            let in_turn = [referring.repeat(60), EMPTY.repeat(110)].concat();
            let in_turn = [stored(&[7; 700]), in_turn.repeat(200 * scale)].concat();
            work_is_in_proportion(&member(&in_turn), 40);
            let in_vain = hidden.repeat(200 * scale);
            let most = 8 + 2 * MAX_IN_VAIN / in_vain.len() as u64;
            work_is_in_proportion(&member(&in_vain), most);
        }
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
