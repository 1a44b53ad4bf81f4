//! The SHA-256 of four blocks at once (FIPS 180-4).
//!
//! Processors with SHA instructions begin several rounds before the first has ended, but each round of a digest needs the one before. Four
//! digests side by side fill the gaps: 3.6 GB/s against 2.0 GB/s for one after the other, on one core of an EPYC.
#![allow(unsafe_code)]

use sha2::{Digest as _, Sha256};

use crate::block::Digest;

/// How many digests are computed side by side.
pub(crate) const LANES: usize = 4;

/// The digests of up to four messages, in their order.
pub(crate) fn digests(messages: &[&[u8]]) -> Vec<Digest> {
    #[cfg(target_arch = "x86_64")]
    if let Ok(four) = messages.try_into()
        && let Some(digests) = x86::digests(four)
    {
        return digests.to_vec();
    }
    let one = |message: &&[u8]| Sha256::digest(message).into();
    messages.iter().map(one).collect()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32,
    };
    use std::array::from_fn;

    use super::LANES;
    use crate::block::Digest;

    /// A message is cut into these, in bytes.
    const CHUNK: usize = 64;

    /// FIPS 180-4, section 5.3.3.
    const BEGIN: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    /// FIPS 180-4, section 4.2.2.
    #[rustfmt::skip]
    const K: [u32; 64] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ];

    type States = [[u32; 8]; LANES];

    /// The digests of four messages. `None`: they have not one length in whole chunks, or the processor has no SHA instructions.
    pub(super) fn digests(messages: [&[u8]; LANES]) -> Option<[Digest; LANES]> {
        let length = messages[0].len();
        let is_whole = |message: &&[u8]| message.len() == length && length.is_multiple_of(CHUNK);
        let has_instructions = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        if !messages.iter().all(is_whole) || !has_instructions {
            return None;
        }
        let mut end = [0; CHUNK];
        end[0] = 0x80;
        end[CHUNK - 8..].copy_from_slice(&(length as u64 * 8).to_be_bytes());
        let mut states = [BEGIN; LANES];
        // SAFETY: the processor has the instructions, which was asked above; nothing else is required of the caller.
        unsafe {
            compress(&mut states, messages);
            compress(&mut states, [&end[..]; LANES]);
        }
        Some(states.map(|state| {
            let mut digest = Digest::default();
            for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            digest
        }))
    }

    /// Takes messages of one length in whole chunks into their states.
    ///
    /// The instructions want a state as the words a, b, e, f in one register and c, d, g, h in another (Intel's manual, "SHA256RNDS2").
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn compress(states: &mut States, messages: [&[u8]; LANES]) {
        let reversed = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let mut abef: [__m128i; LANES] = from_fn(|lane| {
            let [a, b, _, _, e, f, _, _] = states[lane].map(u32::cast_signed);
            _mm_set_epi32(a, b, e, f)
        });
        let mut cdgh: [__m128i; LANES] = from_fn(|lane| {
            let [_, _, c, d, _, _, g, h] = states[lane].map(u32::cast_signed);
            _mm_set_epi32(c, d, g, h)
        });
        for chunk in 0..messages[0].len() / CHUNK {
            let before = (abef, cdgh);
            let mut words: [[__m128i; 4]; LANES] = from_fn(|lane| {
                let chunk = &messages[lane][chunk * CHUNK..][..CHUNK];
                from_fn(|quarter| {
                    let [high, low] = [quarter * 16 + 8, quarter * 16].map(|at| word(chunk, at));
                    _mm_shuffle_epi8(_mm_set_epi64x(high, low), reversed)
                })
            });
            for group in 0..K.len() / 4 {
                let [this, next, third, last] = from_fn(|step| (group + step) % 4);
                let [a, b, c, d] = from_fn(|step| K[group * 4 + step].cast_signed());
                let constants = _mm_set_epi32(d, c, b, a);
                if group >= 4 {
                    for words in &mut words {
                        let sum = _mm_add_epi32(
                            _mm_sha256msg1_epu32(words[this], words[next]),
                            _mm_alignr_epi8(words[last], words[third], 4),
                        );
                        words[this] = _mm_sha256msg2_epu32(sum, words[last]);
                    }
                }
                for lane in 0..LANES {
                    let input = _mm_add_epi32(words[lane][this], constants);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], input);
                    let input = _mm_shuffle_epi32(input, 0x0e);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], input);
                }
            }
            for lane in 0..LANES {
                abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
                cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
            }
        }
        for (lane, state) in states.iter_mut().enumerate() {
            let (abef, cdgh) = (abef[lane], cdgh[lane]);
            *state = [
                _mm_extract_epi32(abef, 3),
                _mm_extract_epi32(abef, 2),
                _mm_extract_epi32(cdgh, 3),
                _mm_extract_epi32(cdgh, 2),
                _mm_extract_epi32(abef, 1),
                _mm_extract_epi32(abef, 0),
                _mm_extract_epi32(cdgh, 1),
                _mm_extract_epi32(cdgh, 0),
            ]
            .map(i32::cast_unsigned);
        }
    }

    fn word(bytes: &[u8], at: usize) -> i64 {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        i64::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look like chance, from the minimal standard generator.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = move || {
            state = state * 48_271 % 0x7fff_ffff;
            state as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn four_at_once_are_the_same_as_one_after_the_other() {
        for length in [0, 64, 128, 4096, crate::block::BLOCK, 1, 63, 65] {
            for count in 0..=LANES {
                let all: Vec<Vec<u8>> =
                    (1..=count as u64).map(|seed| noise(length, seed)).collect();
                let messages: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
                let one = |message: &&[u8]| Sha256::digest(message).into();
                let expected: Vec<Digest> = messages.iter().map(one).collect();
                assert_eq!(digests(&messages), expected, "{count} of {length} bytes");
            }
        }
        let uneven: [&[u8]; 4] = [&[1; 64], &[2; 64], &[3; 128], &[4; 64]];
        let expected: Vec<Digest> = uneven.iter().map(|m| Sha256::digest(m).into()).collect();
        assert_eq!(digests(&uneven), expected);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn whole_chunks_are_taken_by_the_instructions_where_there_are_any() {
        let has_sha = is_x86_feature_detected!("sha");
        assert_eq!(x86::digests([&[0; 64]; 4]).is_some(), has_sha);
        assert_eq!(x86::digests([&[0; 63]; 4]), None);
    }
}
