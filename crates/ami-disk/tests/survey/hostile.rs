//! Disks that were made to do harm: reading one ends, soon, without a panic.

use std::io;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ami_disk::{Error, Passing, ReadAt, Survey, survey};
use ami_image::Extent;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::image::sh;
use crate::passing::is_subset;

/// The most bytes that may be read of a disk of 64 MiB, however often.
const MOST: u64 = 1 << 30;

/// A disk of which little is not zeros, kept as pieces; counts what is read.
#[derive(Clone)]
struct Sparse {
    size: u64,
    pieces: std::collections::BTreeMap<u64, Vec<u8>>,
}

const PIECE: u64 = 4096;

impl Sparse {
    fn load(path: &PathBuf) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let pieces = (0..)
            .step_by(PIECE as usize)
            .zip(bytes.chunks(PIECE as usize));
        let used = pieces.filter(|(_, piece)| piece.iter().any(|&byte| byte != 0));
        Self {
            size: bytes.len() as u64,
            pieces: used.map(|(at, piece)| (at, piece.to_vec())).collect(),
        }
    }
}

struct Counted {
    disk: Sparse,
    read: AtomicU64,
}

impl ReadAt for Counted {
    fn size(&self) -> u64 {
        self.disk.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let _ = self
            .read
            .fetch_add(buffer.len() as u64 + 512, Ordering::Relaxed);
        assert!(offset + buffer.len() as u64 <= self.disk.size);
        buffer.fill(0);
        let (start, end) = (offset, offset + buffer.len() as u64);
        for (&at, piece) in self.disk.pieces.range(start / PIECE * PIECE..end) {
            let (first, last) = (start.max(at), end.min(at + PIECE));
            buffer[(first - start) as usize..(last - start) as usize]
                .copy_from_slice(&piece[(first - at) as usize..(last - at) as usize]);
        }
        Ok(())
    }
}

/// Those of the disks below whose metadata has checksums.
const EXT4: usize = 0;
const XFS: usize = 3;
const BTRFS: usize = 5;
const MIXED_BTRFS: usize = 6;

/// Small disks of every kind that is read, and what is free of them.
static DISKS: LazyLock<Vec<(Sparse, Survey)>> = LazyLock::new(|| {
    let folder: TempDir = tempfile::tempdir_in("/dev/shm").unwrap();
    let scripts = [
        "mke2fs -q -F -t ext4 -d root disk 20M",
        "mke2fs -q -F -t ext2 -b 1024 -O ^resize_inode -d root disk 20M",
        "mke2fs -q -F -t ext4 -O ^metadata_csum,uninit_bg,bigalloc -d root disk 40M",
        "truncate -s 32M disk; mkfs.xfs -q -d agcount=2 disk",
        "truncate -s 32M disk; mkfs.xfs -q -m crc=0 -d agcount=2 disk",
        "mkfs.btrfs -q -b 110M disk",
        "mkfs.btrfs -q --mixed -b 30M disk",
        "truncate -s 24M disk; printf 'label: gpt\\nsize=20M\\nsize=1M,type=U\\n' | sfdisk -q disk; mke2fs -q -F -t ext4 -d root -E offset=1048576 disk 20M",
        "truncate -s 24M disk; printf 'label: dos\\nsize=8M\\ntype=5\\nsize=4M\\nsize=4M\\n' | sfdisk -q disk; mke2fs -q -F -E offset=1048576 disk 8M",
    ];
    let made = scripts.map(|script| {
        let script = format!("rm -f disk; mkdir -p root/bin; ln -sf bash root/bin/sh; printf '\\177ELF\\001\\001' > root/bin/bash; truncate -s 110M disk; {script}");
        let _ = sh(folder.path(), &script.replace("truncate -s 110M disk; mke2fs", "mke2fs"));
        let disk = Sparse::load(&folder.path().join("disk"));
        let (found, _) = look(&disk).unwrap();
        assert!(!found.free.is_empty(), "{script}: {found:?}");
        (disk, found)
    });
    made.into()
});

/// The survey, and how much was read for it.
fn look(disk: &Sparse) -> Result<(Survey, u64), Error> {
    let counted = Counted {
        disk: disk.clone(),
        read: AtomicU64::new(0),
    };
    let found = survey(&counted, &AtomicBool::new(false))?;
    Ok((found, counted.read.into_inner()))
}

/// Whether it ends as it must: extents in order, apart, and on the disk.
fn check(disk: &Sparse) {
    let (found, read) = look(disk).unwrap();
    assert!(read <= MOST, "{read}");
    let mut last = None;
    for extent in &found.free {
        assert!(extent.length >= ami_disk::BLOCK && extent.offset > last.unwrap_or(0));
        last = Some(extent.offset + extent.length);
    }
    assert!(last.unwrap_or(0) <= disk.size);
    assert!(is_subset(&passed(disk), &found.free));
}

/// What is free of it when it goes by.
fn passed(disk: &Sparse) -> Vec<Extent> {
    let mut passing = Passing::new(disk.size);
    for (&at, piece) in &disk.pieces {
        passing.write(at, piece);
    }
    passing.finish()
}

/// Values that break arithmetic.
fn number() -> impl Strategy<Value = [u8; 8]> {
    prop_oneof![
        any::<[u8; 8]>(),
        Just([0; 8]),
        Just([0xFF; 8]),
        Just([0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0]),
        Just([1, 0, 0, 0, 0, 0, 0, 0x80]),
        (0..8_usize, any::<u8>()).prop_map(|(at, byte)| {
            let mut number = [0; 8];
            number[at] = byte;
            number
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_disk_makes_it_fail(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..PIECE as usize, 1..=8_usize, number()), 1..4),
    ) {
        let (disk, _) = which.get(&DISKS);
        let mut disk = disk.clone();
        let places: Vec<u64> = disk.pieces.keys().copied().collect();
        for (piece, at, length, number) in changes {
            let piece = disk.pieces.get_mut(piece.get(&places)).unwrap();
            let end = (at + length).min(piece.len());
            piece[at..end].copy_from_slice(&number[..end - at]);
            repair(piece);
        }
        check(&disk);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn where_there_are_checksums_damage_frees_nothing(
        which in prop::sample::select(vec![EXT4, XFS, BTRFS, MIXED_BTRFS]),
        piece in any::<prop::sample::Index>(),
        at in 0..PIECE as usize,
        length in 1..=8_usize,
        number in number(),
    ) {
        let (disk, before) = &DISKS[which];
        let mut disk = disk.clone();
        let places: Vec<u64> = disk.pieces.keys().copied().collect();
        let bytes = disk.pieces.get_mut(piece.get(&places)).unwrap();
        let end = (at + length).min(bytes.len());
        bytes[at..end].copy_from_slice(&number[..end - at]);
        let (found, _) = look(&disk).unwrap();
        prop_assert!(found.free.is_empty() || found.free == before.free, "{:?}", found);
    }
}

/// Gives a piece the checksums that belong to it, as whoever wants to do harm would.
fn repair(piece: &mut [u8]) {
    let seal = |bytes: &mut [u8], at: usize| {
        bytes[at..at + 4].fill(0);
        let sum = crc32c::crc32c(bytes);
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    };
    if piece[1024 + 0x38..1024 + 0x3A] == [0x53, 0xEF] {
        let sum = !crc32c::crc32c(&piece[1024..1024 + 0x3FC]);
        piece[2044..2048].copy_from_slice(&sum.to_le_bytes());
    }
    if piece.starts_with(b"XFSB") {
        seal(&mut piece[..512], 224);
    }
    if piece[512..].starts_with(b"XAGF") {
        seal(&mut piece[512..1024], 216);
    }
    if piece.starts_with(b"AB3B") {
        seal(piece, 52);
    }
    if piece[0x40..].starts_with(b"_BHRfS_M") {
        let sum = crc32c::crc32c(&piece[32..]);
        piece[..4].copy_from_slice(&sum.to_le_bytes());
    }
    if piece[512..].starts_with(b"EFI PART") {
        piece[528..532].fill(0);
        let sum = crc32fast::hash(&piece[512..604]);
        piece[528..532].copy_from_slice(&sum.to_le_bytes());
    }
}

#[test]
fn every_number_of_a_superblock_may_be_anything() {
    for (disk, _) in DISKS.iter() {
        for (&place, piece) in disk.pieces.range(..(64 << 10) + PIECE) {
            let is_first = place == 0 || place == 64 << 10;
            let used = (0..piece.len())
                .filter(|at| is_first && piece[at & !7..].iter().take(8).any(|&byte| byte != 0));
            for at in used.step_by(2) {
                for value in [0, 0x7F, 0xFF] {
                    let mut disk = disk.clone();
                    let piece = disk.pieces.get_mut(&place).unwrap();
                    piece[at] = value;
                    repair(piece);
                    check(&disk);
                }
            }
        }
    }
}

#[test]
fn a_read_error_or_an_interrupt_ends_it() {
    struct Broken;
    impl ReadAt for Broken {
        fn size(&self) -> u64 {
            1 << 30
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::Other.into())
        }
    }
    let found = survey(&Broken, &AtomicBool::new(false));
    assert!(matches!(found, Err(Error::Read { offset: 0, .. })));
    let (disk, _) = &DISKS[0];
    let counted = Counted {
        disk: disk.clone(),
        read: AtomicU64::new(0),
    };
    let interrupted = AtomicBool::new(true);
    assert!(matches!(
        survey(&counted, &interrupted),
        Err(Error::Interrupted)
    ));
    assert_eq!(counted.read.into_inner(), 0);
}
