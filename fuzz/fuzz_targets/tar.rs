//! The tar reader: never panics, keeps to its limits, and gives the same result however the stream is cut.
#![no_main]

use ami_bundle::fuzzing::read_tar;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (step, stream) = input;
    let whole = read_tar(stream, usize::MAX);
    let in_steps = read_tar(stream, usize::from(step).max(1));
    assert_eq!(whole.is_ok(), in_steps.is_ok());
    if let (Ok(whole), Ok(in_steps)) = (whole, in_steps) {
        assert!(whole == in_steps);
        assert!(whole.data.len() <= stream.len());
    }
});
