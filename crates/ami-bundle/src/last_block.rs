//! Finding the last block of a deflate stream from the stream's end.
//!
//! Where a block begins is known only to who reads everything before it. But the header of a block with codes of its own
//! (RFC 1951, 3.2.7) says so much that hardly anything else looks like one, and the search takes a twentieth of the time that
//! inflating takes. What it finds is a guess all the same: whoever uses it must prove it.
//!
//! | bits | a block with codes of its own | must be |
//! |---|---|---|
//! | 1 | final | 1 |
//! | 2 | type | 2 |
//! | 5 | literal/length codes less 257 | at most 29 |
//! | 5 | distance codes less 1 | at most 29 |
//! | 4 | code length codes less 4 | |
//! | 3 each | lengths of the code length code, in [`ORDER`] | a complete code |
//! | | lengths of the literal/length and distance codes, in that code | complete codes |
//!
//! A final stored block ends with the stream, so that its length field says how far back it is.

use crate::zlib::LastBlock;

/// How far back a last block is looked for, in bytes. libdeflate ends a block after 300,000 bytes of data.
const FARTHEST: usize = 320 * 1024;

/// How much is looked at for 64 headers, in bytes.
const WINDOW: usize = 18;

/// The symbols whose code lengths a header gives, in its order (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// The symbol that ends a block.
const END_OF_BLOCK: usize = 256;

/// The longest code for literals, lengths and distances, in bits.
const LONGEST: usize = 15;

/// What four code lengths of 3 bits each use up of a code, in 128ths; 255 for all that is too much.
static USED_BY_FOUR: [u8; 4096] = {
    let mut table = [0; 4096];
    let mut index = 0;
    while index < 4096 {
        let mut lengths = index;
        let mut used = 0u8;
        while lengths > 0 {
            if lengths & 7 > 0 {
                used = used.saturating_add(128 >> (lengths & 7));
            }
            lengths >>= 3;
        }
        table[index] = used;
        index += 1;
    }
    table
};

/// Where the last block most likely is.
pub(crate) fn find(deflated: &[u8]) -> Option<LastBlock> {
    stored(deflated).or_else(|| with_codes(deflated))
}

/// A final stored block that ends with the stream.
fn stored(deflated: &[u8]) -> Option<LastBlock> {
    let size = deflated.len();
    let fields = deflated.windows(4).rev().take(usize::from(u16::MAX) + 1);
    // Counted from the end: so long is the content that would follow, and this is its complement and itself.
    let length = fields
        .zip(0u32..)
        .position(|(field, length)| field == (length | (!length << 16)).to_le_bytes())?;
    // Before the length there are the final-block bit, two zeros, and zeros up to a byte's end.
    let before = &deflated[..size - length - 4];
    let zeros = before
        .iter()
        .rev()
        .take(2)
        .take_while(|&&byte| byte == 0)
        .count();
    let last = *before.get(before.len().checked_sub(zeros + 1)?)?;
    let header = 8 * (before.len() - zeros) as u64 - u64::from(last.leading_zeros()) - 1;
    let after_bit = 8 * before.len() as u64 - header;
    (3..=10).contains(&after_bit).then_some(LastBlock {
        header,
        end: 8 * size as u64,
    })
}

/// The last of what look like final blocks with codes of their own.
fn with_codes(deflated: &[u8]) -> Option<LastBlock> {
    let first = deflated.len().saturating_sub(FARTHEST);
    let (words, _) = deflated[first..].as_chunks::<8>();
    let mut blocks = (0..words.len())
        .rev()
        .map(move |word| first + 8 * word)
        .filter_map(move |byte| Some((byte, deflated.get(byte..byte + WINDOW)?)))
        .flat_map(|(byte, window)| likely_headers(window).map(move |bit| 8 * byte + bit))
        .filter_map(|header| Codes::read(deflated, header));
    blocks.find_map(|codes| codes.end(deflated))
}

/// Sixteen bytes, in which the first bit of the stream is the lowest.
fn load(bytes: &[u8], byte: usize) -> Option<u128> {
    let bytes = bytes.get(byte..)?.first_chunk()?;
    Some(u128::from_le_bytes(*bytes))
}

/// Of the first 64 bits, those at which the first three fields of a header are possible and its code length code is complete; the
/// last first.
fn likely_headers(window: &[u8]) -> impl Iterator<Item = usize> {
    let bits = load(window, 0).unwrap_or(0);
    let two_bytes_on = load(window, 2).unwrap_or(0);
    // What is so many bits after each of the 64.
    let after = |count: u32| (bits >> count) as u64;
    let too_many_literals = after(4) & after(5) & after(6) & after(7);
    let too_many_distances = after(9) & after(10) & after(11) & after(12);
    let mut likely = after(0) & !after(1) & after(2) & !too_many_literals & !too_many_distances;
    std::iter::from_fn(move || {
        while likely != 0 {
            let bit = 63 - likely.leading_zeros();
            likely ^= 1 << bit;
            let count = 4 + (bits >> (bit + 13)) as u32 % 16;
            let lengths = (two_bytes_on >> (bit + 1)) as u64 & ((1 << (3 * count)) - 1);
            if is_complete_code_of_lengths(lengths) {
                return Some(bit as usize);
            }
        }
        None
    })
}

/// Whether these lengths, 3 bits each, are those of a complete code.
fn is_complete_code_of_lengths(lengths: u64) -> bool {
    let used = |index: u32| u32::from(USED_BY_FOUR[(lengths >> (12 * index)) as usize % 4096]);
    used(0) + used(1) + used(2) + used(3) + used(4) == 128
}

/// What is needed of a block's codes to know where it can end.
struct Codes {
    header: usize,
    /// The bit after the header's last.
    end_of_header: usize,
    /// The code that ends the block, as it stands in the stream, first bit lowest; and its length in bits.
    end_code: u64,
    end_length: usize,
}

impl Codes {
    /// The codes of the header at this bit, if they are those of a block.
    fn read(deflated: &[u8], header: usize) -> Option<Self> {
        let fields = load(deflated, header / 8)? >> (header % 8);
        let literals = 257 + (fields >> 3) as usize % 32;
        let distances = 1 + (fields >> 8) as usize % 32;
        let count = 4 + (fields >> 13) as usize % 16;
        let mut of_lengths = [0; 19];
        for (index, &symbol) in ORDER[..count].iter().enumerate() {
            of_lengths[symbol] = (fields >> (17 + 3 * index)) as u8 % 8;
        }
        let table = decoding_table(&of_lengths);
        let mut position = header + 17 + 3 * count;
        let mut lengths = [0; 288 + 32];
        let wanted = literals + distances;
        let mut known = 0;
        // Of two codes, in parts of the longest: what goes beyond is noticed early.
        let mut used_up = 0;
        while known < wanted {
            let bits = (load(deflated, position / 8)? >> (position % 8)) as u64;
            let (symbol, used) = table[bits as usize % 128];
            let extra = |count: u32| (bits >> used) as usize % (1 << count);
            let (length, times, more) = match symbol {
                16 => (*lengths.get(known.checked_sub(1)?)?, 3 + extra(2), 2),
                17 => (0, 3 + extra(3), 3),
                18 => (0, 11 + extra(7), 7),
                length => (length, 1, 0),
            };
            if length > 0 {
                used_up += times << (LONGEST - usize::from(length));
            }
            if known + times > wanted || used_up > 2 << LONGEST {
                return None;
            }
            lengths[known..known + times].fill(length);
            known += times;
            position += usize::from(used) + more;
        }
        let (literals, distances) = lengths[..wanted].split_at(literals);
        // A block may have no distances, or one.
        let few = distances.iter().filter(|&&length| length > 0).count() <= 1;
        let complete = is_complete(literals) && (few || is_complete(distances));
        if !complete || literals[END_OF_BLOCK] == 0 {
            return None;
        }
        let end_length = usize::from(literals[END_OF_BLOCK]);
        let code = first_codes(literals)[end_length] + same_before(literals, END_OF_BLOCK) as u64;
        Some(Self {
            header,
            end_of_header: position,
            end_code: code.reverse_bits() >> (64 - end_length),
            end_length,
        })
    }

    /// Where in the stream's last byte the block can end: behind the code for that, and nothing but zeros follow.
    fn end(self, deflated: &[u8]) -> Option<LastBlock> {
        // A header alone is longer than four bytes.
        let bits = u64::from(u32::from_le_bytes(*deflated.last_chunk()?));
        let used = (1..=8).find(|used| {
            let code = bits << (64 - 24 - used) >> (64 - self.end_length);
            bits >> (24 + used) == 0 && code == self.end_code
        })?;
        let end = 8 * (deflated.len() - 1) + used;
        (self.end_of_header + self.end_length <= end).then_some(LastBlock {
            header: self.header as u64,
            end: end as u64,
        })
    }
}

/// How many codes there are of each length.
fn counts(lengths: &[u8]) -> [u64; LONGEST + 1] {
    let mut counts = [0; LONGEST + 1];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    counts[0] = 0;
    counts
}

fn is_complete(lengths: &[u8]) -> bool {
    let used = (0..)
        .zip(counts(lengths))
        .map(|(length, count)| count << (LONGEST as u32 - length));
    used.sum::<u64>() == 1 << LONGEST
}

/// The first code of each length (RFC 1951, 3.2.2).
fn first_codes(lengths: &[u8]) -> [u64; LONGEST + 1] {
    let counts = counts(lengths);
    let mut first = [0; LONGEST + 1];
    for length in 1..=LONGEST {
        first[length] = (first[length - 1] + counts[length - 1]) << 1;
    }
    first
}

/// How many symbols before this one have codes as long.
fn same_before(lengths: &[u8], symbol: usize) -> usize {
    let own = lengths[symbol];
    lengths[..symbol]
        .iter()
        .filter(|&&length| length == own)
        .count()
}

/// For each 7 bits of the stream, first bit lowest: the symbol that they begin with and how many bits it has. The code is complete.
fn decoding_table(lengths: &[u8; 19]) -> [(u8, u8); 128] {
    let mut codes = first_codes(lengths);
    let mut table = [(0, 0); 128];
    for (symbol, &length) in (0..).zip(lengths) {
        if length > 0 {
            let code = &mut codes[usize::from(length)];
            let first = code.reverse_bits() >> (64 - u32::from(length));
            *code += 1;
            for entry in table.iter_mut().skip(first as usize).step_by(1 << length) {
                *entry = (symbol, length);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zlib::BlockWalker;
    use libdeflater::{CompressionLvl, Compressor};

    fn noise(size: usize) -> impl Iterator<Item = u8> {
        let mut x = 1u64;
        (0..size).map(move |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
    }

    /// What the search finds, and where the last block is.
    fn compare(data: &[u8], level: i32) -> (Option<LastBlock>, LastBlock) {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut deflated = vec![0; compressor.deflate_compress_bound(data.len())];
        let size = compressor.deflate_compress(data, &mut deflated).unwrap();
        deflated.truncate(size);
        let last = BlockWalker::new().walk(&deflated, &mut vec![0; data.len()]);
        (find(&deflated), last.unwrap())
    }

    #[test]
    fn the_last_block_is_found_in_streams_of_every_level() {
        let text: Vec<u8> = (0..90_000u32)
            .flat_map(|i| format!("{} ", i * i % 9773).into_bytes())
            .collect();
        let skewed: Vec<u8> = noise(400_001).map(|byte| byte & (byte >> 3)).collect();
        let all_noise: Vec<u8> = noise(200_000).collect();
        for level in 1..=12 {
            for size in [2000, 70_000, 400_001] {
                for data in [&text, &skewed, &all_noise] {
                    let (found, last) = compare(&data[..size.min(data.len())], level);
                    assert_eq!(found, Some(last), "level {level}, {size} bytes");
                }
            }
        }
    }

    #[test]
    fn a_stored_block_is_found_behind_whatever_bit_it_begins_at() {
        // The final-block bit, at each bit of the byte before the length or at the end of the one before that.
        for (before, header) in (0..6).map(|bit| (vec![1 << bit], bit)).chain([
            (vec![0x40, 0], 6),
            (vec![0x80, 0], 7),
            (vec![0xff, 0x1f], 12),
        ]) {
            let stream = [&before[..], &[2, 0, 0xfd, 0xff, 7, 7]].concat();
            let end = 8 * stream.len() as u64;
            assert_eq!(find(&stream), Some(LastBlock { header, end }));
        }
        for before in [&[][..], &[0], &[0x40], &[0x20, 0], &[0x80, 0, 0]] {
            let stream = [before, &[2, 0, 0xfd, 0xff, 7, 7]].concat();
            assert_eq!(find(&stream), None, "{before:?}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        for stream in [&[][..], &[3, 0], &[0; 100], &[0xff; 100], &[0x05; 100]] {
            assert_eq!(find(stream), None);
        }
    }
}
