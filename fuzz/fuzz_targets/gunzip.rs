//! The parallel inflater: gives the same result as an ordinary one, or fails where that fails.
//!
//! There is one exception: flate2 refuses codes that RFC 1951 reserves even if no data uses them, and libdeflate does not. So data that
//! flate2 refuses may be accepted if gzip's trailer confirms it.
#![no_main]

use std::io::Read;

use ami_bundle::fuzzing::gunzip;
use flate2::Crc;
use flate2::bufread::MultiGzDecoder;
use libfuzzer_sys::fuzz_target;

/// More than this is not compared, because a short input can inflate to a lot.
const LIMIT: u64 = 8 << 20;

fuzz_target!(|stream: &[u8]| {
    let mut expected = Vec::new();
    let read = MultiGzDecoder::new(stream)
        .take(LIMIT + 1)
        .read_to_end(&mut expected);
    if expected.len() as u64 > LIMIT {
        return;
    }
    match (gunzip(stream), read) {
        (Ok(ours), Ok(_)) => assert!(ours == expected),
        (Ok(ours), Err(_)) => assert!(ours.starts_with(&expected) && is_proven(stream, &ours)),
        (Err(error), Ok(_)) => panic!("flate2 reads what is refused here: {error}"),
        (Err(_), Err(_)) => {}
    }
});

/// Whether the stream ends with a trailer that matches the last of these bytes. Zeros may follow it as padding, which flate2 would take
/// for another member.
fn is_proven(stream: &[u8], bytes: &[u8]) -> bool {
    let zeros = stream.iter().rev().take_while(|&&byte| byte == 0).count();
    (0..=zeros).any(|padding| {
        let Some((crc, length)) = stream[..stream.len() - padding]
            .last_chunk::<8>()
            .and_then(|trailer| trailer.split_first_chunk::<4>())
        else {
            return false;
        };
        let length = u32::from_le_bytes(length.try_into().expect("four bytes are left"));
        let Some(start) = bytes.len().checked_sub(length as usize) else {
            return false;
        };
        let mut expected = Crc::new();
        expected.update(&bytes[start..]);
        expected.sum() == u32::from_le_bytes(*crc)
    })
}
