//! Large memory goes back to the system when it is freed.
#![allow(unsafe_code)]

/// From this size (bytes) on, memory is not part of a thread's heap.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 << 10;

/// Has large memory go back to the system whenever it is freed. To be called once, before other threads begin.
///
/// By itself, glibc keeps memory of a size in the heap of each thread once memory of that size, up to 32 MiB, was freed (mallopt(3),
/// `M_MMAP_THRESHOLD`). Where parts, chunks and blocks of several MiB pass from thread to thread, such heaps have more holes than
/// contents: 80 of 240 MiB of a run that makes a snapshot of a bundle.
pub fn return_large_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time before there are other threads, which is all that it requires.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::hint::black_box;

    use super::*;

    const MIB: usize = 1 << 20;

    /// Memory that is in use, in MiB.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096 / MIB
    }

    #[test]
    fn freed_memory_is_not_kept_though_larger_memory_was_freed_before() {
        return_large_memory();
        drop(black_box(vec![1_u8; 28 * MIB]));
        let large = black_box(vec![1_u8; 24 * MIB]);
        // It lies behind the other in a heap, which could not become shorter.
        let behind = black_box(vec![1_u8; 1000]);
        let before = resident();
        drop(large);
        let after = resident();
        assert!(after + 16 < before, "{before} MiB, then {after} MiB");
        drop(behind);
    }
}
