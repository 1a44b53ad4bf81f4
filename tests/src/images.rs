//! Images to bundle.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that do not compress, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        bytes.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Makes a sparse image of `size` bytes with noise in these regions (offset, length).
pub fn sparse(path: &Path, size: u64, regions: &[(u64, usize)]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for &(offset, length) in regions {
        file.write_all_at(&noise(length, offset + 1), offset)
            .unwrap();
    }
    // Some file systems report holes only after the data has been written out.
    file.sync_all().unwrap();
}

/// Makes an image of noise.
pub fn incompressible(path: &Path, size: usize) {
    let file = File::create(path).unwrap();
    for (index, offset) in (0..size).step_by(1 << 20).enumerate() {
        let length = (size - offset).min(1 << 20);
        file.write_all_at(&noise(length, index as u64 + 1), offset as u64)
            .unwrap();
    }
    file.sync_all().unwrap();
}
