//! Chunks of a stream, compressed each by itself, that joined end to end make one deflate stream.
//!
//! libdeflate makes of a chunk a whole deflate stream, whose last block carries the final-block bit (RFC 1951, 3.2.3). To stand
//! before another chunk, that bit must be cleared and the stream must end at a byte: an empty stored block (three zero bits,
//! padding, `00 00 FF FF`) sees to that, and marks for readers where a chunk ends. Both positions, of the last block's header
//! and of its end, come from inflating the chunk with zlib, which at the same time proves that it comes back as it went in.

use libdeflater::{CompressionLvl, Compressor};

use crate::error::Error;
use crate::schedule::Work;
use crate::zlib::BlockWalker;

/// How much of the stream is compressed by itself, in bytes. Larger chunks compress a little better; smaller ones
/// take less memory and keep more threads busy.
pub(crate) const CHUNK: usize = 1024 * 1024;

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
    pub(crate) data: Vec<u8>,
}

/// A piece of the stream compressed.
pub(crate) struct Packed {
    pub(crate) deflated: Vec<u8>,
    /// CRC-32 and length of what it holds.
    pub(crate) crc: u32,
    pub(crate) length: u64,
}

/// Compresses chunks; one a thread.
pub(crate) struct Packer {
    compressor: Compressor,
    walker: BlockWalker,
    /// Where chunks are inflated to.
    proof: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: CompressionLvl) -> Self {
        Self {
            compressor: Compressor::new(level),
            walker: BlockWalker::new(),
            proof: Vec::new(),
        }
    }

    /// The most bytes that a stream of `size` bytes in chunks can take when it is compressed.
    pub(crate) fn bound(size: u64) -> u64 {
        let mut compressor = Compressor::new(CompressionLvl::fastest());
        let mut chunk = |size: usize| (compressor.deflate_compress_bound(size) + JOINT) as u64;
        let rest = usize::try_from(size % CHUNK as u64).unwrap_or(0);
        size / CHUNK as u64 * chunk(CHUNK) + chunk(rest) + STREAM_END.len() as u64
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
        let mut deflated = vec![0; self.compressor.deflate_compress_bound(data.len()) + JOINT];
        let size = self
            .compressor
            .deflate_compress(data, &mut deflated)
            .map_err(|_| wrong("the compressor's own bound was too small"))?;
        deflated.truncate(size);

        self.proof.resize(data.len(), 0);
        let last = self
            .walker
            .walk(&deflated, &mut self.proof)
            .ok_or(wrong("the compressed data is invalid"))?;
        if self.proof != *data {
            return Err(wrong("the compressed data is that of other bytes"));
        }
        make_joinable(&mut deflated, last.header, last.end)
            .ok_or(wrong("the last block is not where it was found"))?;
        Ok(Packed {
            deflated,
            crc: crc32fast::hash(data),
            length: data.len() as u64,
        })
    }
}

/// Clears the last block's final-block bit and puts an empty stored block behind it. Positions are in bits.
fn make_joinable(deflated: &mut Vec<u8>, header: u64, end: u64) -> Option<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn pack(level: i32, chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut packer = Packer::new(CompressionLvl::new(level).unwrap());
        let mut stream = Vec::new();
        let mut offset = 0;
        for data in chunks {
            let packed = packer
                .run(Chunk {
                    offset,
                    data: data.clone(),
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
            make_joinable(&mut stream, header, end).map(|()| stream)
        };
        assert_eq!(join(0, 10).unwrap(), [2, 0, 0, 0, 0xff, 0xff]);
        for (header, end) in [(3, 10), (8, 10), (0, 2), (0, 8), (0, 17), (99, 10)] {
            assert_eq!(join(header, end), None, "{header} {end}");
        }
    }

    proptest! {
        #[test]
        fn random_chunks_join(sizes in proptest::collection::vec((0usize..3000, 1u8..=255), 1..12), level in 1i32..=12) {
            let chunks: Vec<Vec<u8>> = sizes
                .iter()
                .map(|&(size, variety)| noise(size, size as u64 + 1).into_iter().map(|b| b % variety).collect())
                .collect();
            prop_assert_eq!(inflated(&pack(level, &chunks)), chunks.concat());
        }
    }
}
