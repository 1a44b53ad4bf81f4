//! A disk that goes by once: it always goes by, and nothing of it is free that the survey of the whole disk does not call free.
#![no_main]

use std::sync::atomic::AtomicBool;

use ami_disk::{Passing, survey};
use fuzz::Disk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(disk) = Disk::parse(bytes) else {
        return;
    };
    let mut passing = Passing::new(disk.size);
    for (number, sector) in &disk.sectors {
        passing.write(number * sector.len() as u64, sector);
    }
    let passed = passing.finish();
    let free = survey(&disk, &AtomicBool::new(false))
        .expect("the disk can be read")
        .free;
    let is_free = |start: u64, end: u64| {
        free.iter()
            .any(|extent| extent.offset <= start && end <= extent.offset + extent.length)
    };
    assert!(
        passed
            .iter()
            .all(|extent| is_free(extent.offset, extent.offset + extent.length))
    );
});
