//! xfs.

use ami_disk::Unread;

use crate::image::{Disk, FILL, with_blocks};

const CHECK: &str = "xfs_repair -n disk";

/// The free extents that xfs_db lists, in bytes.
fn listed(disk: &Disk) -> Vec<(u64, u64)> {
    let printed = disk.sh(
        "xfs_db -r -c 'sb 0' -c 'p blocksize agblocks agcount' disk
        for i in $(seq 0 $(xfs_db -r -c 'sb 0' -c 'p agcount' disk | sed 's/.* //;s/$/ - 1/' | xargs expr)); do
            xfs_db -r -c \"agf $i\" -c 'p flcount' disk
        done
        xfs_db -r -c 'freesp -d' disk",
    );
    let fields = |name: &str| -> Vec<u64> {
        let lines = printed
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        lines.map(|number| number.parse().unwrap()).collect()
    };
    let (block, group) = (fields("blocksize")[0], fields("agblocks")[0]);
    // The blocks that are kept for B-trees are listed too, before the others of their group.
    let mut kept = fields("flcount");
    let rows = printed.lines().map(|line| {
        line.split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect()
    });
    rows.filter_map(|words: Vec<u64>| match words.as_slice() {
        &[number, start, length] => {
            let kept = &mut kept[number as usize];
            let is_kept = *kept > 0;
            *kept -= u64::from(is_kept);
            (!is_kept).then_some(((number * group + start) * block, length * block))
        }
        _ => None,
    })
    .collect()
}

fn check_free(disk: &Disk) {
    let extents = listed(disk);
    assert_eq!(disk.survey().free, with_blocks(extents.clone()));
    let all: u64 = extents.iter().map(|(_, length)| length).sum();
    assert_eq!(disk.free_bytes(), all);
}

fn check(options: &str) {
    let disk = Disk::new("96M", &format!("mkfs.xfs -q {options} disk"));
    check_free(&disk);
    disk.fill();
    check_free(&disk);
    disk.survives_noise(CHECK);
}

#[test]
fn what_is_free_can_be_overwritten() {
    check("");
    check("-b size=1k -d agcount=5 -l agnum=3");
    check("-m rmapbt=0,reflink=0,bigtime=0,finobt=0 -s size=4096 -l su=16384");
}

#[test]
fn all_zeros_must_not_be_taken_for_free() {
    let disk = Disk::new("96M", "mkfs.xfs -q disk");
    disk.fill();
    disk.does_not_survive_noise_in_zeros(CHECK);
}

#[test]
fn a_tree_of_several_levels_is_read() {
    let disk = Disk::new("96M", "mkfs.xfs -q -b size=1k -d agcount=4 disk");
    // Every other block of a file is a hole.
    let _ = disk.mounted(
        "",
        "head -c 8M /dev/urandom > m/file
        for i in $(seq 0 2 3998); do fallocate -p -o $((i * 2048)) -l 1024 m/file; done; sync -f m
        head -c 1M /dev/zero > m/zeros",
    );
    let levels = disk.sh("for i in 0 1 2 3; do xfs_db -r -c \"agf $i\" -c 'p bnolevel' disk; done");
    assert!(levels.contains("bnolevel = 2"), "{levels}");
    check_free(&disk);
    disk.survives_noise(CHECK);
}

#[test]
fn version_4_is_read() {
    // Kernels of today do not mount it, so mkfs.xfs fills it.
    let disk = Disk::new(
        "96M",
        "head -c 3M /dev/urandom > file
        head -c 2M /dev/zero > zeros
        printf 'boot 0 0\\nd--755 0 0\\nf ---644 0 0 file\\nz ---644 0 0 zeros\\n$\\n' > proto
        mkfs.xfs -q -m crc=0 -d agcount=5 -p proto disk",
    );
    check_free(&disk);
    disk.add_noise(&disk.survey().free);
    let _ = disk.sh(CHECK);
    check_free(&disk);
    let (image, file) = (disk.path(), disk.folder.path().join("file"));
    let [image, file] = [image, file].map(|path| std::fs::read(path).unwrap());
    let mut blocks = image.chunks_exact(4096);
    assert!(
        file.chunks_exact(4096)
            .all(|wanted| blocks.any(|block| block == wanted))
    );
}

#[test]
fn one_whose_log_was_not_written_out_is_not_read() {
    for options in ["", "-l su=32768"] {
        let disk = Disk::new("96M", &format!("mkfs.xfs -q {options} disk"));
        let _ = disk.mounted("", &format!("{FILL} sync; cp --sparse=always disk copy"));
        assert!(disk.free_bytes() > 0);
        let _ = disk.sh("mv copy disk");
        assert!(matches!(disk.unread(), Unread::Dirty(_)), "{options}");
    }
}

/// The round ("cycle") that the log's first block was written in.
fn round_of_log(disk: &Disk) -> u32 {
    let bytes = std::fs::read(disk.path()).unwrap();
    let number = |at: usize| u64::from(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()));
    let (start, bits) = (number(48) << 32 | number(52), bytes[124]);
    let block = (start >> bits) * number(84) + (start & ((1 << bits) - 1));
    let place = (block * number(4)) as usize;
    // Behind the magic number of a record's header, which may begin there.
    let at = if number(place) == 0xFEED_BABE {
        place + 4
    } else {
        place
    };
    number(at) as u32
}

#[test]
fn the_log_is_read_in_each_of_its_rounds() {
    let disk = Disk::new("96M", "mkfs.xfs -q disk");
    let bytes = disk.free_bytes();
    let mut rounds = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let _ = disk.mounted(
            "",
            "mkdir m/d; for j in $(seq 12); do for i in $(seq 400); do : > m/d/$i; done; sync -f m; rm -r m/d/*; done
            sync -f m; rmdir m/d; cp --sparse=always disk copy",
        );
        assert!(disk.free_bytes() >= bytes / 2);
        let _ = rounds.insert(round_of_log(&disk));
        let _ = disk.sh("mv disk kept; mv copy disk");
        assert!(matches!(disk.unread(), Unread::Dirty(_)));
        let _ = disk.sh("mv kept disk");
    }
    assert!(rounds.len() > 1, "{rounds:?}");
}

#[test]
fn one_with_a_section_or_log_elsewhere_or_damage_is_not_read() {
    let disk = Disk::new(
        "96M",
        "mkfs.xfs -q disk; xfs_db -r -c 'agf 1' -c 'addr' disk",
    );
    let bytes = std::fs::read(disk.path()).unwrap();
    let group = u32::from_be_bytes(bytes[84..88].try_into().unwrap()) as usize * 4096;
    // Changes a number in a sector that has its checksum at that place, and makes that one right again.
    let with = |sector: usize, checksum: usize, at: usize, number: u8| {
        let mut bytes = bytes.clone();
        let sector = &mut bytes[sector..sector + 512];
        sector[at] = number;
        sector[checksum..checksum + 4].fill(0);
        let right = crc32c::crc32c(sector).to_le_bytes();
        sector[checksum..checksum + 4].copy_from_slice(&right);
        std::fs::write(disk.path(), bytes).unwrap();
        disk.unread()
    };
    let superblock = |at, number| with(0, 224, at, number);
    let header = |at, number| with(group + 512, 216, at, number);
    assert_eq!(superblock(23, 5), Unread::Form("with a realtime section"));
    let log = u64::from_be_bytes(bytes[48..56].try_into().unwrap());
    assert!(log < 1 << 24 && log & 0xFF00 != 0);
    assert!(matches!(superblock(53, 0x7F), Unread::Damaged { .. }));
    assert!(matches!(superblock(126, 1), Unread::Dirty(_)));
    assert!(matches!(superblock(219, 0x13), Unread::Dirty(_)));
    assert!(matches!(superblock(223, 1), Unread::Dirty(_)));
    assert_eq!(superblock(218, 1), Unread::Features("incompat", 0x100));
    assert_eq!(
        superblock(212, 1),
        Unread::Features("ro_compat", 0x100_0000)
    );
    assert_eq!(
        superblock(101, 0x86),
        Unread::Form("xfs of another version")
    );
    assert_eq!(superblock(15, 0xFF), Unread::BehindVolume);
    let damaged = |reason| matches!(reason, Unread::Damaged { .. });
    // The number of free blocks, the root of the B-tree, its height, whose header it is.
    for (at, number) in [(55, 5), (19, 9), (31, 2), (11, 2), (64, 0)] {
        assert!(damaged(header(at, number)), "{at}");
    }
    let mut wrong = bytes.clone();
    wrong[group + 512 + 63] ^= 1;
    std::fs::write(disk.path(), wrong).unwrap();
    assert!(damaged(disk.unread()));
    std::fs::write(disk.path(), bytes).unwrap();
    assert!(disk.free_bytes() > 0);
}
