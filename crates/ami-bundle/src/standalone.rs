//! Inflating a piece of a deflate stream by itself, as if nothing came before or after it.
//!
//! libdeflate inflates whole deflate streams only, and does not say how much of its input it used. So a final stored block
//! (RFC 1951, 3.2.4) that holds a mark is put behind the piece. The mark comes out if, and only if, the piece consists of whole
//! blocks, the last of which ends at the piece's end, and none of which is final.

use std::hash::{BuildHasher, RandomState};

use libdeflater::{DecompressionError, Decompressor};

use crate::effort;

/// The mark's size in bytes.
pub(crate) const MARK: usize = 8;

/// The size of the block that holds the mark, in bytes: what a piece's vector should have room for.
pub(crate) const MARKED_END: usize = 5 + MARK;

/// Why a piece was not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It is not made of whole blocks that refer to nothing before them.
    Invalid,
    /// The output has too little room.
    NoRoom,
}

/// Inflates pieces by themselves.
pub(crate) struct Standalone {
    decompressor: Decompressor,
    /// The block that is put behind a piece. Whoever made the piece does not know the mark, so that no final block of the
    /// piece's own can end in it.
    end: [u8; MARKED_END],
}

impl Standalone {
    pub(crate) fn new() -> Self {
        let mut end = [0; MARKED_END];
        // The final-block bit, then the length and its complement.
        end[..5].copy_from_slice(&[1, MARK as u8, 0, !(MARK as u8), 0xff]);
        end[5..].copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
        Self {
            decompressor: Decompressor::new(),
            end,
        }
    }

    /// Inflates `piece` into the beginning of `output` and gives the length of what came out, in bytes. `output` must have room for
    /// [`MARK`] more bytes. `piece` is extended meanwhile, and comes back as it was.
    pub(crate) fn inflate(
        &mut self,
        piece: &mut Vec<u8>,
        output: &mut [u8],
    ) -> Result<usize, Failed> {
        let size = piece.len();
        piece.extend_from_slice(&self.end);
        let inflated = self.decompressor.deflate_decompress(piece, output);
        piece.truncate(size);
        effort::count(size + *inflated.as_ref().unwrap_or(&output.len()));
        match inflated {
            Ok(length) => output[..length]
                .strip_suffix(&self.end[5..])
                .map(<[u8]>::len)
                .ok_or(Failed::Invalid),
            Err(DecompressionError::BadData) => Err(Failed::Invalid),
            Err(DecompressionError::InsufficientSpace) => Err(Failed::NoRoom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1951 by hand: a stored block, `ab`.
    const STORED: &[u8] = &[0, 2, 0, 0xfd, 0xff, b'a', b'b'];

    fn inflate(piece: &[u8], room: usize) -> Result<Vec<u8>, Failed> {
        let mut output = vec![0; room + MARK];
        let mut copy = piece.to_vec();
        let length = Standalone::new().inflate(&mut copy, &mut output);
        assert_eq!(copy, piece);
        length.map(|length| output[..length].to_vec())
    }

    #[test]
    fn whole_blocks_come_out() {
        assert_eq!(inflate(&[], 0).unwrap(), b"");
        assert_eq!(inflate(STORED, 2).unwrap(), b"ab");
        assert_eq!(inflate(&STORED.repeat(3), 9).unwrap(), b"ababab");
    }

    #[test]
    fn what_needs_more_room_is_told_from_what_is_invalid() {
        assert_eq!(inflate(STORED, 1), Err(Failed::NoRoom));
        assert_eq!(inflate(&[7], 10), Err(Failed::Invalid));
    }

    #[test]
    fn the_whole_piece_must_be_used() {
        // It ends within its block.
        assert_eq!(inflate(&STORED[..6], 100), Err(Failed::Invalid));
        // A final block, alone and before others.
        let last = [&[1], &STORED[1..]].concat();
        assert_eq!(inflate(&last, 100), Err(Failed::Invalid));
        assert_eq!(
            inflate(&[&last, STORED].concat(), 100),
            Err(Failed::Invalid)
        );
        // Fixed codes that end within a byte: what follows is at another bit.
        assert_eq!(inflate(&[2, 0], 100), Err(Failed::Invalid));
    }
}
