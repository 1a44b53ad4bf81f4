//! The one place with `unsafe`: calls to zlib's C interface that no safe wrapper offers.
//!
//! - [`BlockWalker`]: inflates and says where deflate blocks begin and end, to the bit (zlib's `Z_BLOCK`; zlib.h, `inflate`).
//! - [`Inflater`]: streaming inflate of raw deflate data that says whether a block has just ended.
#![allow(unsafe_code)]

use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_NO_FLUSH, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateInit2_,
    inflateReset, inflateSetDictionary, z_stream, zlibVersion,
};

use crate::effort;

/// zlib's window bits for raw deflate data with the largest window (zlib.h, `inflateInit2`).
const RAW_DEFLATE: i32 = -15;

/// How far back a deflate stream can refer, in bytes (RFC 1951, 2).
pub(crate) const HISTORY: usize = 32 * 1024;

/// A raw-deflate `z_stream`.
///
/// Invariant: `stream` was set up by `inflateInit2_` and is ended once, on drop. Its buffer pointers are set before every call
/// and taken away after it, so they never outlive the slices that they came from. It is boxed because zlib's state points back to it.
struct Stream {
    stream: Box<z_stream>,
}

// SAFETY: the state behind the stream is owned by it alone, and no call is made but through `&mut self`.
unsafe impl Send for Stream {}

/// The part of `data_type` that counts unused bits.
const UNUSED_BITS: i32 = 63;

/// What one call of `inflate` did.
struct Call {
    used: usize,
    written: usize,
    code: i32,
    /// zlib's `data_type` after the call: the low six bits count the bits that were read and not used (zlib-rs reads ahead by more
    /// than the 7 of zlib's manual), 64 = in the last block, 128 = at a block's end.
    data_type: i32,
}

impl Stream {
    fn new() -> Self {
        let mut stream = Box::new(z_stream::default());
        let size = i32::try_from(size_of::<z_stream>()).unwrap_or(i32::MAX);
        // SAFETY: the stream is valid and default (no buffers, default allocator); version and size are this library's own.
        let code = unsafe { inflateInit2_(&raw mut *stream, RAW_DEFLATE, zlibVersion(), size) };
        assert_eq!(code, Z_OK, "zlib cannot be set up: out of memory");
        Self { stream }
    }

    fn reset(&mut self) {
        // SAFETY: the stream is set up (invariant).
        let code = unsafe { inflateReset(&raw mut *self.stream) };
        assert_eq!(code, Z_OK, "a stream that was set up can be reset");
    }

    fn set_history(&mut self, history: &[u8]) {
        let recent = &history[history.len().saturating_sub(HISTORY)..];
        effort::count(recent.len());
        let length = u32::try_from(recent.len()).unwrap_or(0);
        // SAFETY: the stream is set up (invariant); pointer and length are those of a live slice, which is copied.
        let code = unsafe { inflateSetDictionary(&raw mut *self.stream, recent.as_ptr(), length) };
        assert_eq!(code, Z_OK, "a raw stream takes any history");
    }

    fn call(&mut self, input: &[u8], output: &mut [u8], flush: i32) -> Call {
        let available = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let (avail_in, avail_out) = (available(input.len()), available(output.len()));
        let stream = &mut *self.stream;
        stream.next_in = input.as_ptr();
        stream.avail_in = avail_in;
        stream.next_out = output.as_mut_ptr();
        stream.avail_out = avail_out;
        // SAFETY: the stream is set up (invariant); the pointers and lengths are those of live slices; inflate reads only the
        // input and writes only the output.
        let code = unsafe { inflate(&raw mut *stream, flush) };
        let call = Call {
            used: (avail_in - stream.avail_in) as usize,
            written: (avail_out - stream.avail_out) as usize,
            code,
            data_type: stream.data_type,
        };
        effort::count(1 + call.used + call.written);
        stream.next_in = std::ptr::null();
        stream.next_out = std::ptr::null_mut();
        call
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is set up and has not been ended (invariant).
        let _ = unsafe { inflateEnd(&raw mut *self.stream) };
    }
}

/// Where the last block of a deflate stream is, in bits from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastBlock {
    /// The first bit of the block's header: the final-block bit.
    pub(crate) header: u64,
    /// The bit after the block's end-of-block code.
    pub(crate) end: u64,
}

/// Inflates whole deflate streams and finds their last block.
pub(crate) struct BlockWalker {
    stream: Stream,
}

impl BlockWalker {
    pub(crate) fn new() -> Self {
        Self {
            stream: Stream::new(),
        }
    }

    /// Inflates `deflated`, one whole stream, into `output`; `None` if it is invalid or does not fill `output` exactly.
    pub(crate) fn walk(&mut self, deflated: &[u8], output: &mut [u8]) -> Option<LastBlock> {
        self.stream.reset();
        let (mut used, mut written) = (0, 0);
        let (mut header, mut end) = (0, None);
        loop {
            let call = self
                .stream
                .call(deflated.get(used..)?, output.get_mut(written..)?, Z_BLOCK);
            used += call.used;
            written += call.written;
            match call.code {
                Z_STREAM_END => break,
                Z_OK if call.used + call.written > 0 => {}
                _ => return None,
            }
            if call.data_type & 128 != 0 {
                let unused = u64::try_from(call.data_type & UNUSED_BITS).ok()?;
                let position = (used as u64) * 8 - unused;
                if call.data_type & 64 == 0 {
                    header = position;
                } else {
                    end = Some(position);
                }
            }
        }
        let whole = used == deflated.len() && written == output.len();
        whole.then_some(LastBlock { header, end: end? })
    }
}

/// Where [`Inflater::inflate`] stops on its way, which takes time at each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the end of each block: zlib tells of it only so.
    AtBlocks,
    /// Nowhere: whether the input ends with a block does not matter.
    Nowhere,
}

/// How far a call of [`Inflater::inflate`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of input used.
    pub(crate) used: usize,
    /// Bytes of output written.
    pub(crate) written: usize,
    /// The deflate stream's last block has ended; the input after `used` is what follows it.
    pub(crate) ended: bool,
    /// The input used so far ends with a block, and that at a byte's end: a new chunk can begin here. Not told with [`Stop::Nowhere`].
    pub(crate) at_block_end: bool,
}

/// Inflates one raw deflate stream after the other, step by step.
pub(crate) struct Inflater {
    stream: Stream,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self {
            stream: Stream::new(),
        }
    }

    /// Makes ready for a new deflate stream, or for the blocks that follow `history`, the output so far (its last 32 KiB).
    pub(crate) fn reset(&mut self, history: &[u8]) {
        self.stream.reset();
        self.stream.set_history(history);
    }

    /// Inflates as much as input and output allow; `None` if the data is invalid.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Option<Progress> {
        let mut progress = Progress {
            used: 0,
            written: 0,
            ended: false,
            at_block_end: false,
        };
        let flush = match stop {
            Stop::AtBlocks => Z_BLOCK,
            Stop::Nowhere => Z_NO_FLUSH,
        };
        loop {
            let call = self.stream.call(
                input.get(progress.used..)?,
                output.get_mut(progress.written..)?,
                flush,
            );
            progress.used += call.used;
            progress.written += call.written;
            progress.ended = call.code == Z_STREAM_END;
            let at_end = stop == Stop::AtBlocks && call.data_type & 128 != 0;
            progress.at_block_end = at_end && call.data_type & UNUSED_BITS == 0;
            // The end of the last block is told first, and that of the stream only by one more call.
            let stream_ends = at_end && call.data_type & 64 != 0;
            let has_more = progress.used < input.len() || stream_ends;
            match call.code {
                Z_OK if has_more && call.used + call.written > 0 => {}
                Z_OK | Z_BUF_ERROR | Z_STREAM_END => return Some(progress),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1951 by hand: two stored blocks, `ab` and (final) `c`.
    const TWO_STORED: &[u8] = &[0, 2, 0, 0xfd, 0xff, b'a', b'b', 1, 1, 0, 0xfe, 0xff, b'c'];
    /// A final block of fixed codes with nothing but its end: 3 + 7 bits.
    const EMPTY_FIXED: &[u8] = &[3, 0];

    #[test]
    fn the_last_block_is_found_to_the_bit() {
        let mut walker = BlockWalker::new();
        let mut output = [0; 3];
        let last = walker.walk(TWO_STORED, &mut output).unwrap();
        assert_eq!(&output, b"abc");
        assert_eq!(
            last,
            LastBlock {
                header: 56,
                end: 104
            }
        );
        let last = walker.walk(EMPTY_FIXED, &mut []).unwrap();
        assert_eq!(last, LastBlock { header: 0, end: 10 });
    }

    #[test]
    fn a_walk_must_use_and_fill_everything() {
        let mut walker = BlockWalker::new();
        assert_eq!(walker.walk(TWO_STORED, &mut [0; 2]), None);
        assert_eq!(walker.walk(TWO_STORED, &mut [0; 4]), None);
        assert_eq!(walker.walk(&[TWO_STORED, &[0]].concat(), &mut [0; 3]), None);
        assert_eq!(walker.walk(&TWO_STORED[..9], &mut [0; 3]), None);
        assert_eq!(walker.walk(&[], &mut []), None);
        assert_eq!(walker.walk(&[7], &mut []), None);
    }

    #[test]
    fn a_stream_is_inflated_in_any_steps() {
        let steps = 1..=TWO_STORED.len();
        for (step, stop) in steps.flat_map(|step| [(step, Stop::AtBlocks), (step, Stop::Nowhere)]) {
            let mut inflater = Inflater::new();
            let mut all = Vec::new();
            let mut ended = false;
            for input in TWO_STORED.chunks(step) {
                let mut rest = input;
                loop {
                    let mut output = [0; 1];
                    let progress = inflater.inflate(rest, &mut output, stop).unwrap();
                    all.extend_from_slice(&output[..progress.written]);
                    rest = &rest[progress.used..];
                    ended = progress.ended;
                    // A full buffer may have kept the rest back.
                    if rest.is_empty() && progress.written == 0 {
                        break;
                    }
                }
            }
            assert!(ended);
            assert_eq!(all, b"abc");
        }
    }

    #[test]
    fn the_end_of_the_last_block_is_that_of_the_stream() {
        // A final stored block that holds nothing ends in the bytes that chunks end in.
        let mut inflater = Inflater::new();
        let progress = inflater
            .inflate(&[1, 0, 0, 0xff, 0xff], &mut [0; 8], Stop::AtBlocks)
            .unwrap();
        assert!(progress.ended && progress.used == 5);
    }

    #[test]
    fn a_block_end_at_a_byte_is_told_from_one_within() {
        let inflate = |input| {
            let mut inflater = Inflater::new();
            inflater.inflate(input, &mut [0; 8], Stop::AtBlocks)
        };
        let progress = inflate(&TWO_STORED[..7]).unwrap();
        assert!(progress.at_block_end && !progress.ended);
        let progress = inflate(&TWO_STORED[..6]).unwrap();
        assert!(!progress.at_block_end);
        assert_eq!(inflate(&[7]), None);
    }
}
