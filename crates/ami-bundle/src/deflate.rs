//! Chunks of a stream, compressed each by itself, that joined end to end make one deflate stream.
//!
//! libdeflate makes of a chunk a whole deflate stream, whose last block carries the final-block bit (RFC 1951, 3.2.3). To stand
//! before another chunk, that bit must be cleared and the stream must end at a byte: an empty stored block (three zero bits,
//! padding, `00 00 FF FF`) sees to that, and marks for readers where a chunk ends. Where the last block is comes from a search
//! ([`last_block`]). Then the very bytes that are written are inflated, and must give what was read. If they do not, zlib walks
//! through the chunk's blocks to the last.

use ami_pool::{Buffer, Buffers};
use libdeflater::{CompressionLvl, Compressor};

use crate::error::Error;
use crate::last_block;
use crate::schedule::Work;
use crate::settings::{Level, TURN};
use crate::standalone::{MARK, MARKED_END, Standalone};
use crate::zlib::{BlockWalker, LastBlock};

/// How much of the stream is compressed by itself, in bytes. Larger chunks compress a little better; smaller ones
/// take less memory and keep more threads busy.
pub(crate) const CHUNK: usize = 2 * 1024 * 1024;

/// The end of an empty stored block, LEN and NLEN (RFC 1951, 3.2.4): a chunk's last bytes.
pub(crate) const CHUNK_END: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A final block of fixed codes that holds nothing: the end of the deflate stream.
pub(crate) const STREAM_END: [u8; 2] = [0x03, 0x00];

/// What the empty stored block can add to a chunk, in bytes.
const JOINT: usize = 1 + CHUNK_END.len();

/// A piece of the stream as it is.
pub(crate) struct Chunk {
    /// Where it begins in the stream, in bytes.
    pub(crate) offset: u64,
    pub(crate) data: Buffer,
}

/// A piece of the stream compressed.
pub(crate) struct Packed {
    pub(crate) deflated: Buffer,
    /// CRC-32 and length of what it holds.
    pub(crate) crc: u32,
    pub(crate) length: u64,
}

/// Compresses chunks; one a thread.
pub(crate) struct Packer {
    /// For one chunk in [`TURN`], and for the others.
    compressors: [Compressor; 2],
    /// What a chunk is compressed into.
    buffer: Vec<u8>,
    standalone: Standalone,
    walker: BlockWalker,
    /// Where chunks are inflated to.
    proof: Vec<u8>,
    /// For what is made.
    buffers: Buffers,
}

impl Packer {
    pub(crate) fn new(level: Level, buffers: &Buffers) -> Self {
        Self {
            compressors: level.both().map(Compressor::new),
            buffer: Vec::new(),
            standalone: Standalone::new(),
            walker: BlockWalker::new(),
            proof: Vec::new(),
            buffers: buffers.clone(),
        }
    }

    /// The most bytes that a stream of `size` bytes in chunks can take when it is compressed.
    pub(crate) fn bound(size: u64) -> u64 {
        let mut compressor = Compressor::new(CompressionLvl::fastest());
        let mut chunk = |size: usize| (compressor.deflate_compress_bound(size) + JOINT) as u64;
        let rest = usize::try_from(size % CHUNK as u64).unwrap_or(0);
        size / CHUNK as u64 * chunk(CHUNK) + chunk(rest) + STREAM_END.len() as u64
    }

    /// Joins where the last block is likely to be, and proves it.
    fn join_by_search(&mut self, deflated: &mut Vec<u8>, data: &[u8]) -> bool {
        let size = deflated.len();
        let Some(guess) = last_block::find(deflated) else {
            return false;
        };
        if make_joinable(deflated, guess).is_some() {
            self.proof.resize(data.len() + MARK, 0);
            let inflated = self.standalone.inflate(deflated, &mut self.proof);
            if inflated == Ok(data.len()) && self.proof[..data.len()] == *data {
                return true;
            }
        }
        undo_join(deflated, guess, size);
        false
    }

    /// Joins where zlib finds the last block, which proves that the chunk comes back.
    fn join_by_walk(&mut self, deflated: &mut Vec<u8>, data: &[u8]) -> Result<(), &'static str> {
        self.proof.resize(data.len(), 0);
        let last = self
            .walker
            .walk(deflated, &mut self.proof)
            .ok_or("the compressed data is invalid")?;
        if self.proof != *data {
            return Err("the compressed data is that of other bytes");
        }
        make_joinable(deflated, last).ok_or("the last block is not where it was found")
    }
}

impl Work for Packer {
    type In = Chunk;
    type Out = Packed;

    fn run(&mut self, chunk: Chunk) -> Result<Packed, Error> {
        let wrong = |reason| Error::Compression {
            offset: chunk.offset,
            reason,
        };
        let data = &chunk.data;
        let number = chunk.offset / CHUNK as u64;
        let compressor = &mut self.compressors[usize::from(!number.is_multiple_of(TURN))];
        let bound = compressor.deflate_compress_bound(data.len());
        self.buffer.resize(bound.max(self.buffer.len()), 0);
        let size = compressor
            .deflate_compress(data, &mut self.buffer)
            .map_err(|_| wrong("the compressor's own bound was too small"))?;
        let mut deflated = self.buffers.empty();
        deflated.reserve(size + JOINT + MARKED_END);
        deflated.extend_from_slice(&self.buffer[..size]);
        if !self.join_by_search(&mut deflated, data) {
            self.join_by_walk(&mut deflated, data).map_err(wrong)?;
        }
        Ok(Packed {
            deflated,
            crc: crc32fast::hash(data),
            length: data.len() as u64,
        })
    }
}

/// Clears the last block's final-block bit and puts an empty stored block behind it.
fn make_joinable(deflated: &mut Vec<u8>, last: LastBlock) -> Option<()> {
    let LastBlock { header, end } = last;
    let header_byte = deflated.get_mut(usize::try_from(header / 8).ok()?)?;
    let final_bit = 1 << (header % 8);
    if *header_byte & final_bit == 0 {
        return None;
    }
    *header_byte &= !final_bit;
    // The stream ends in the byte that its last block ends in, and what is left of that byte is zeros.
    let padding = (deflated.len() as u64 * 8)
        .checked_sub(end)
        .filter(|&bits| bits < 8)?;
    if padding > 0 && deflated.last()? >> (8 - padding) != 0 {
        return None;
    }
    let stored_header_end = end + 3;
    deflated.resize(usize::try_from(stored_header_end.div_ceil(8)).ok()?, 0);
    deflated.extend_from_slice(&CHUNK_END);
    Some(())
}

/// Takes back what [`make_joinable`] did to a stream of this size.
fn undo_join(deflated: &mut Vec<u8>, last: LastBlock, size: usize) {
    deflated.truncate(size);
    if let Some(byte) = deflated.get_mut((last.header / 8) as usize) {
        *byte |= 1 << (last.header % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn pack(level: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut packer = Packer::new(Level::new(level).unwrap(), &Buffers::default());
        let mut stream = Vec::new();
        let mut offset = 0;
        for data in chunks {
            let packed = packer
                .run(Chunk {
                    offset,
                    data: data.clone().into(),
                })
                .unwrap();
            assert_eq!(packed.crc, crc32fast::hash(data));
            assert_eq!(packed.length, data.len() as u64);
            assert!(packed.deflated.ends_with(&CHUNK_END));
            assert!(packed.deflated.len() as u64 <= Packer::bound(data.len() as u64));
            stream.extend_from_slice(&packed.deflated);
            offset += packed.length;
        }
        stream.extend_from_slice(&STREAM_END);
        stream
    }

    /// flate2 stands for any other reader of deflate data.
    fn inflated(stream: &[u8]) -> Vec<u8> {
        let mut decoder = flate2::bufread::DeflateDecoder::new(stream);
        let mut all = Vec::new();
        let _ = decoder.read_to_end(&mut all).unwrap();
        assert_eq!(decoder.total_in(), stream.len() as u64);
        all
    }

    fn noise(size: usize, seed: u64) -> Vec<u8> {
        let mut x = seed | 1;
        (0..size)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x as u8
            })
            .collect()
    }

    #[test]
    fn chunks_of_every_kind_join() {
        let text: Vec<u8> = (0..200_000u32)
            .flat_map(|i| format!("{} ", i * i % 977).into_bytes())
            .collect();
        let chunks = vec![
            vec![0; CHUNK],
            noise(CHUNK, 1),
            text,
            vec![],
            vec![b'x'],
            noise(65_536, 2),
            noise(7, 3),
            CHUNK_END.repeat(1000),
        ];
        for level in 1..=12 {
            assert!(
                inflated(&pack(level, &chunks)) == chunks.concat(),
                "{level}"
            );
        }
    }

    #[test]
    fn positions_that_cannot_be_are_noticed() {
        // A final block of fixed codes that holds nothing: bits 0 to 9.
        let join = |header, end| {
            let mut stream = STREAM_END.to_vec();
            make_joinable(&mut stream, LastBlock { header, end }).map(|()| stream)
        };
        assert_eq!(join(0, 10).unwrap(), [2, 0, 0, 0, 0xff, 0xff]);
        for (header, end) in [(3, 10), (8, 10), (0, 2), (0, 8), (0, 17), (99, 10)] {
            assert_eq!(join(header, end), None, "{header} {end}");
        }
    }

    proptest! {
        #[test]
        fn random_chunks_join(sizes in proptest::collection::vec((0usize..3000, 1u8..=255), 1..12), level in 1u8..=12) {
            let chunks: Vec<Vec<u8>> = sizes
                .iter()
                .map(|&(size, variety)| noise(size, size as u64 + 1).into_iter().map(|b| b % variety).collect())
                .collect();
            prop_assert_eq!(inflated(&pack(level, &chunks)), chunks.concat());
        }
    }
}
