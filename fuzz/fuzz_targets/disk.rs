//! The survey of a disk: never panics, reads little, and what is free is on the disk, in order and apart.
#![no_main]

use std::sync::atomic::AtomicBool;

use ami_disk::{BLOCK, survey};
use fuzz::Disk;
use libfuzzer_sys::fuzz_target;

/// More than this is not read of a disk of at most 4 GiB.
const MOST: u64 = 8 << 30;

fuzz_target!(|bytes: &[u8]| {
    let Some(disk) = Disk::parse(bytes) else {
        return;
    };
    let found = survey(&disk, &AtomicBool::new(false)).expect("the disk can be read");
    assert!(disk.read.into_inner() <= MOST);
    let mut last = 0;
    for extent in found.free {
        assert!(extent.length >= BLOCK && (extent.offset > last || last == 0));
        last = extent.offset + extent.length;
    }
    assert!(last <= disk.size);
});
