//! The journal reader: never panics, accepts only the canonical form, and no name leads out of a folder.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ami_parts::fuzzing::journal(bytes));
