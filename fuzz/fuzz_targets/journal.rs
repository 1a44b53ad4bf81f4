//! The journal reader: never panics, reads only what is written in the one way, and no name leads out of a folder.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ami_parts::fuzzing::journal(bytes));
