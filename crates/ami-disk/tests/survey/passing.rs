//! A disk that goes by once has the same free space.

use ami_disk::{Passing, Unread};
use ami_image::Extent;
use proptest::prelude::*;

use crate::image::{Disk, FILL};

const MIB: usize = 1 << 20;

/// The unit in which zeros are left out.
const HOLE: usize = 4096;

/// Numbers that are the same in each run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// What is free of a disk that goes by in pieces of any size, most of its zeros left out.
fn passed(disk: &[u8]) -> Vec<Extent> {
    let mut numbers = Numbers(13);
    let mut passing = Passing::new(disk.len() as u64);
    let mut at = 0;
    while at < disk.len() {
        let length = match numbers.below(4) {
            0 => numbers.below(2000),
            1 => numbers.below(20_000),
            _ => numbers.below(512 << 10),
        };
        let piece = &disk[at..disk.len().min(at + length)];
        for (index, part) in piece.chunks(HOLE).enumerate() {
            // The pieces that a file's extents are read in are longer, but begin and end anywhere.
            if part.iter().any(|&byte| byte != 0) || numbers.below(8) == 0 {
                passing.write((at + index * HOLE) as u64, part);
            }
        }
        at += piece.len();
    }
    passing.finish()
}

fn surveyed(disk: &[u8]) -> Vec<Extent> {
    ami_disk::survey(&disk, &false.into()).unwrap().free
}

/// Holds that all that is free of a disk is known when it has gone by.
fn check(disk: &Disk, what: &str) {
    let bytes = std::fs::read(disk.path()).unwrap();
    let free = surveyed(&bytes);
    assert!(!free.is_empty(), "{what}");
    assert_eq!(passed(&bytes), free, "{what}");
}

#[test]
fn free_space_of_ext_is_known() {
    for (size, options) in [
        ("64M", "-t ext2 -r 0 -b 1024"),
        ("64M", "-t ext3 -b 1024"),
        ("300M", "-t ext4"),
        ("68M", "-t ext4 -b 1024 -g 2048"),
        // Its descriptors take 75 KiB, more than what is looked at first.
        ("600M", "-t ext4 -b 1024 -g 512 -O ^resize_inode"),
        ("68M", "-t ext4 -b 1024 -g 2048 -G 64"),
        ("68M", "-t ext4 -b 1024 -g 2048 -O ^resize_inode,^flex_bg"),
        (
            "68M",
            "-t ext4 -b 1024 -g 2048 -O ^metadata_csum,uninit_bg,64bit",
        ),
        ("68M", "-t ext4 -b 1024 -g 2048 -E packed_meta_blocks=1"),
        ("68M", "-t ext4 -b 1024 -g 2048 -O meta_bg,^resize_inode"),
        (
            "66M",
            "-t ext4 -b 4096 -g 1024 -O meta_bg,^resize_inode,^flex_bg",
        ),
        ("129M", "-t ext4 -b 4096 -O bigalloc -C 65536 -g 16384"),
    ] {
        let disk = Disk::new(size, &format!("mke2fs -q -F {options} disk"));
        check(&disk, options);
        disk.fill();
        check(&disk, options);
    }
}

/// As `resize2fs` leaves them when it has moved the first ones to make room for descriptors.
#[test]
fn free_space_of_ext_is_known_though_bitmaps_go_back() {
    let disk = Disk::new(
        "68M",
        "mke2fs -q -F -t ext4 -b 1024 -g 2048 -O ^metadata_csum,^uninit_bg,^64bit disk",
    );
    disk.fill();
    let mut bytes = std::fs::read(disk.path()).unwrap();
    let free = surveyed(&bytes);
    // The descriptors of 32 bytes begin with where the bitmap is.
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    for (one, other) in [(0, 15), (1, 14), (20, 21), (22, 31)] {
        let [one, other] = [one, other].map(|group| 2048 + group * 32);
        let places = [one, other].map(|at| number(&bytes, at) as usize * 1024);
        assert!(places.iter().all(|&place| place > 100 << 10));
        for at in 0..1024 {
            bytes.swap(places[0] + at, places[1] + at);
        }
        for at in 0..4 {
            bytes.swap(one + at, other + at);
        }
    }
    std::fs::write(disk.path(), &bytes).unwrap();
    let _ = disk.sh("e2fsck -fn disk");
    assert_eq!(surveyed(&bytes), free);
    assert_eq!(passed(&bytes), free);
}

#[test]
fn free_space_of_xfs_is_known() {
    for options in [
        "",
        "-b size=1k -d agcount=5 -l agnum=3",
        "-d agcount=4 -l agnum=0",
        "-m rmapbt=0,reflink=0,bigtime=0,finobt=0 -s size=4096 -l su=16384",
    ] {
        let disk = Disk::new("96M", &format!("mkfs.xfs -q {options} disk"));
        check(&disk, options);
        disk.fill();
        check(&disk, options);
    }
    let disk = Disk::new("96M", "mkfs.xfs -q -m crc=0 -d agcount=5 disk");
    check(&disk, "version 4");
}

#[test]
fn free_space_of_xfs_that_has_aged_is_known() {
    let disk = Disk::new("96M", "mkfs.xfs -q -b size=1k -d agcount=4 disk");
    for _ in 0..3 {
        // Every other block of files is a hole, and the log goes round.
        let _ = disk.mounted(
            "",
            "mkdir -p m/d; rm -f m/file; head -c 8M /dev/urandom > m/file
            for i in $(seq 0 2 3998); do fallocate -p -o $((i * 2048)) -l 1024 m/file; done; sync -f m
            for j in $(seq 6); do for i in $(seq 400); do : > m/d/$i; done; sync -f m; rm -r m/d/*; done",
        );
    }
    let levels = disk.sh("for i in 0 1 2 3; do xfs_db -r -c \"agf $i\" -c 'p bnolevel' disk; done");
    assert!(levels.contains("bnolevel = 2"), "{levels}");
    check(&disk, "aged");
}

#[test]
fn free_space_of_btrfs_is_known() {
    for options in [
        "",
        "-m single -d single -R ^free-space-tree",
        "-m dup -d dup -n 4096",
        "--mixed -m dup -d dup",
    ] {
        let disk = Disk::new("240M", &format!("mkfs.btrfs -q {options} disk"));
        check(&disk, options);
        disk.fill();
        let _ = disk.mounted(
            "",
            "for i in $(seq 600); do head -c 5000 /dev/urandom > m/$i; done; sync -f m; rm m/*5; sync -f m",
        );
        check(&disk, options);
    }
}

#[test]
fn nodes_of_btrfs_are_read_from_their_other_place() {
    let disk = Disk::new("240M", "mkfs.btrfs -q disk");
    disk.fill();
    let mut bytes = std::fs::read(disk.path()).unwrap();
    let free = surveyed(&bytes);
    assert!(!free.is_empty());
    let superblock = 64 << 10;
    let uuid = bytes[superblock + 32..superblock + 48].to_vec();
    // The first copy of every node of the root tree and of the extent tree is of another tree now: so it is not kept.
    let mut found = std::collections::BTreeSet::new();
    for node in bytes.chunks_exact_mut(4096) {
        let is_such = node[32..48] == uuid && (node[88] == 1 || node[88] == 2);
        if is_such && found.insert(node[48..56].to_vec()) {
            node[88] = 7;
        }
    }
    assert_eq!(surveyed(&bytes), free);
    assert_eq!(passed(&bytes), free);
}

/// A table with ext4, xfs and btrfs, not in the order of their numbers.
fn partitioned(label: &str) -> Disk {
    Disk::new(
        "360M",
        &format!(
            "printf 'label: {label}\\nstart=1MiB,size=64M\\nstart=201MiB,size=150M\\nstart=70MiB,size=96M\\nstart=66MiB,size=2M\\n' \
                | sfdisk -q disk
            part() {{ dd if=part of=disk bs=1M seek=$1 conv=notrunc,sparse status=none; rm part; }}
            truncate -s 64M part; mke2fs -q -F -t ext4 part; part 1
            truncate -s 96M part; mkfs.xfs -q part; part 70
            truncate -s 150M part; mkfs.btrfs -q part; part 201"
        ),
    )
}

#[test]
fn free_space_of_partitions_is_known() {
    for label in ["gpt", "dos"] {
        let disk = partitioned(label);
        check(&disk, label);
        let free = disk.survey().free;
        for range in [1..65, 70..166, 201..351] {
            let inside = |extent: &Extent| range.contains(&(extent.offset as usize / MIB));
            assert!(free.iter().any(inside), "{label} {range:?}");
        }
    }
    // As older programs made them: the first begins in sector 63.
    let disk = Disk::new(
        "80M",
        "printf 'label: dos\\nstart=63,size=131072\\n' | sfdisk -q disk
        mke2fs -q -F -t ext4 -b 1024 -E offset=$((63 * 512)) disk 64M",
    );
    check(&disk, "sector 63");
}

/// Their records are between them.
#[test]
fn free_space_of_logical_partitions_is_known() {
    let disk = Disk::new(
        "220M",
        "printf 'label: dos\\nsize=40M\\ntype=5\\nsize=96M\\nsize=48M\\n' | sfdisk -q disk
        sfdisk -d disk > table
        part() { dd if=part of=disk bs=512 seek=$(sed -n \"s/^disk$1.*start= *\\([0-9]*\\).*/\\1/p\" table) conv=notrunc,sparse status=none; rm part; }
        truncate -s 40M part; mke2fs -q -F -t ext4 part; part 1
        truncate -s 96M part; mkfs.xfs -q part; part 5
        truncate -s 48M part; mke2fs -q -F -t ext3 part; part 6",
    );
    check(&disk, "logical");
    assert_eq!(disk.survey().volumes.len(), 3);
    // A primary partition that is found after the logical ones has some of the first of these.
    let mut bytes = std::fs::read(disk.path()).unwrap();
    let start = disk.sh("sed -n 's/^disk5.*start= *\\([0-9]*\\).*/\\1/p' table");
    let start: u32 = start.trim().parse().unwrap();
    let entry = 446 + 2 * 16;
    bytes[entry + 4] = 0x83;
    bytes[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
    bytes[entry + 12..entry + 16].copy_from_slice(&2048_u32.to_le_bytes());
    let free = surveyed(&bytes);
    assert!(!free.is_empty() && free.len() < disk.survey().free.len());
    assert_eq!(passed(&bytes), free);
}

#[test]
fn what_was_not_unmounted_has_nothing_free() {
    for (size, make) in [
        ("64M", "mke2fs -q -F -t ext4 disk"),
        ("96M", "mkfs.xfs -q disk"),
    ] {
        let disk = Disk::new(size, make);
        let _ = disk.mounted("", &format!("{FILL} sync; cp --sparse=always disk copy"));
        check(&disk, make);
        let _ = disk.sh("mv copy disk");
        assert!(matches!(disk.unread(), Unread::Dirty(_)));
        assert_eq!(passed(&std::fs::read(disk.path()).unwrap()), []);
    }
}

/// Writes blocks that look like those of a B-tree of the xfs that begins there into all that is free of it, up to so many.
fn add_blocks(disk: &mut [u8], start: usize, free: &[Extent], most: usize) -> usize {
    let uuid: [u8; 16] = disk[start + 32..start + 48].try_into().unwrap();
    let places = free.iter().flat_map(|extent| {
        let start = extent.offset as usize;
        (start..start + extent.length as usize).step_by(4096)
    });
    let mut count = 0;
    for place in places.take(most) {
        let block = &mut disk[place..place + 4096];
        block.fill(0xA5);
        block[..4].copy_from_slice(b"AB3B");
        block[32..48].copy_from_slice(&uuid);
        count += 1;
    }
    count
}

#[test]
fn behind_the_bound_nothing_of_the_file_system_is_free() {
    let disk = Disk::new(
        "220M",
        "printf 'label: gpt\\nsize=150M\\nsize=64M\\n' | sfdisk -q disk
        truncate -s 150M part; mkfs.xfs -q part; dd if=part of=disk bs=1M seek=1 conv=notrunc,sparse status=none
        truncate -s 64M part; mke2fs -q -F -t ext4 part; dd if=part of=disk bs=1M seek=151 conv=notrunc,sparse status=none",
    );
    let bytes = std::fs::read(disk.path()).unwrap();
    let free = surveyed(&bytes);
    let (xfs, ext): (Vec<_>, Vec<_>) = free.iter().partition(|e| e.offset < 151 << 20);
    assert!(!xfs.is_empty() && !ext.is_empty());
    let with = |most: usize| {
        let mut bytes = bytes.clone();
        assert_eq!(add_blocks(&mut bytes, MIB, &xfs, most), most);
        assert_eq!(surveyed(&bytes), free);
        passed(&bytes)
    };
    // 64 MiB are 16384 such blocks.
    assert_eq!(with(15_000), free);
    assert_eq!(with(17_000), ext);
}

#[test]
fn one_that_goes_back_or_is_dropped_ends() {
    let disk = Disk::new("64M", "mke2fs -q -F -t ext4 disk");
    let bytes = std::fs::read(disk.path()).unwrap();
    for given in [1, 1000, 1 << 20, bytes.len()] {
        let mut passing = Passing::new(bytes.len() as u64);
        passing.write(0, &bytes[..given]);
        drop(passing);
        let mut passing = Passing::new(bytes.len() as u64);
        passing.write(0, &bytes[..given]);
        passing.write(given as u64 - 1, &bytes[given - 1..]);
        assert_eq!(passing.finish(), [], "{given}");
    }
    drop(Passing::new(1 << 40));
    let mut passing = Passing::new(bytes.len() as u64);
    passing.write(0, &bytes);
    passing.write(bytes.len() as u64, &[1; 5000]);
    passing.write(bytes.len() as u64 + 9999, &[1; 5000]);
    assert_eq!(passing.finish(), surveyed(&bytes));
    fn is_send<T: Send + 'static>(_: T) {}
    is_send(Passing::new(0));
}

/// Whether everything in `some` is in `all` too.
pub(crate) fn is_subset(some: &[Extent], all: &[Extent]) -> bool {
    some.iter().all(|extent| {
        all.iter().any(|other| {
            other.offset <= extent.offset
                && extent.offset + extent.length <= other.offset + other.length
        })
    })
}

proptest! {
    #[test]
    fn a_disk_of_any_bytes_ends(bytes in prop::collection::vec(any::<u8>(), 0..200_000)) {
        prop_assert!(is_subset(&passed(&bytes), &surveyed(&bytes)));
    }
}
