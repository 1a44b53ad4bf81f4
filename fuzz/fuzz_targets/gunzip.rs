//! The parallel inflater: gives what an ordinary one gives, and an error where that does.
#![no_main]

use std::io::Read;

use ami_bundle::fuzzing::gunzip;
use flate2::bufread::MultiGzDecoder;
use libfuzzer_sys::fuzz_target;

/// More than this is not compared: a short input can inflate to much.
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
        // flate2 takes what follows a member for another one; zeros there are padding.
        (Ok(ours), Err(_)) => assert!(stream.ends_with(&[0]) && ours.starts_with(&expected)),
        (Err(error), Ok(_)) => panic!("flate2 reads what is refused here: {error}"),
        (Err(_), Err(_)) => {}
    }
});
