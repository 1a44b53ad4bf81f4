//! Disks that are mostly zeros, from a fuzzer's bytes.
//!
//! The size is the first two bytes, in units of 64 KiB; then each sector of 512 bytes that is not zeros follows its number in four bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use ami_disk::ReadAt;

const SECTOR: usize = 512;

/// A disk of at most 4 GiB.
pub struct Disk {
    pub size: u64,
    /// By number.
    pub sectors: BTreeMap<u64, Vec<u8>>,
    /// How many bytes were read.
    pub read: AtomicU64,
}

impl Disk {
    /// `None` if there are too few bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let sectors = rest.chunks_exact(4 + SECTOR).map(|record| {
            let (number, sector) = record.split_first_chunk().expect("a record has a number");
            let mut sector = sector.to_vec();
            seal(&mut sector);
            (u64::from(u32::from_le_bytes(*number)), sector)
        });
        Some(Self {
            size: u64::from(u16::from_le_bytes(*size)) << 16,
            sectors: sectors.collect(),
            read: AtomicU64::new(0),
        })
    }
}

impl ReadAt for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let _ = self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        buffer.fill(0);
        let (start, end) = (offset, offset + buffer.len() as u64);
        assert!(end <= self.size);
        let sector = SECTOR as u64;
        for (&number, bytes) in self.sectors.range(start / sector..end.div_ceil(sector)) {
            let at = number * sector;
            let (first, last) = (start.max(at), end.min(at + sector));
            buffer[(first - start) as usize..(last - start) as usize]
                .copy_from_slice(&bytes[(first - at) as usize..(last - at) as usize]);
        }
        Ok(())
    }
}

/// Gives a header the checksum that belongs to it, which chance would not find.
fn seal(sector: &mut [u8]) {
    let checksum = match sector[..4] {
        [b'X', b'F', b'S', b'B'] => 224,
        [b'X', b'A', b'G', b'F'] => 216,
        [b'E', b'F', b'I', b' '] => {
            sector[16..20].fill(0);
            let sum = crc32fast::hash(&sector[..92]).to_le_bytes();
            sector[16..20].copy_from_slice(&sum);
            return;
        }
        _ => return,
    };
    sector[checksum..checksum + 4].fill(0);
    let sum = crc32c::crc32c(sector).to_le_bytes();
    sector[checksum..checksum + 4].copy_from_slice(&sum);
}
