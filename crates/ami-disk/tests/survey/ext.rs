//! ext2, ext3 and ext4.

use ami_disk::{Allocation, Unread};

use crate::image::{Disk, FILL, with_blocks};

const CHECK: &str = "e2fsck -fn disk";

/// The free extents that dumpe2fs lists, in bytes, and the number of free bytes that it states.
fn listed(disk: &Disk) -> (Vec<(u64, u64)>, u64) {
    let printed = disk.sh("dumpe2fs disk 2>/dev/null");
    let field = |name: &str| -> Option<u64> {
        let line = printed.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let block = field("Block size:").unwrap();
    let cluster = field("Cluster size:").unwrap_or(block);
    let blocks = field("Block count:").unwrap();
    let extents = printed
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "))
        .flat_map(|list| list.split(", "))
        .filter(|range| !range.is_empty())
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let [first, last]: [u64; 2] = [first, last].map(|number| number.parse().unwrap());
            // With clusters, the first block of the last cluster is named.
            let end =
                ((last + cluster / block) / (cluster / block) * (cluster / block)).min(blocks);
            let end = if cluster == block { last + 1 } else { end };
            (first * block, (end - first) * block)
        })
        .collect();
    (extents, field("Free blocks:").unwrap() * block)
}

/// A file system with these options, that was filled, has what dumpe2fs lists free, and survives noise there.
fn check(size: &str, options: &str) {
    let disk = Disk::new(size, &format!("mke2fs -q -F {options} disk"));
    for is_filled in [false, true] {
        if is_filled {
            disk.fill();
        }
        let (extents, bytes) = listed(&disk);
        let survey = disk.survey();
        assert_eq!(disk.free_bytes(), bytes, "{options}");
        assert_eq!(survey.free, with_blocks(extents), "{options}");
    }
    disk.survives_noise(CHECK);
}

#[test]
fn what_is_free_of_usual_file_systems_can_be_overwritten() {
    check("64M", "-t ext2");
    check("64M", "-t ext2 -r 0 -b 1024");
    check("64M", "-t ext3 -b 1024");
    check("64M", "-t ext4 -b 4096");
}

#[test]
fn what_is_free_of_groups_without_bitmaps_can_be_overwritten() {
    for (size, options) in [
        // 34 groups of 2 MiB, so that groups 1, 3, 5, 7, 9, 25, 27 have copies.
        ("68M", "-t ext4 -b 1024 -g 2048"),
        ("68M", "-t ext4 -b 1024 -g 2048 -O ^resize_inode,^flex_bg"),
        ("68M", "-t ext4 -b 1024 -g 2048 -O ^metadata_csum,uninit_bg"),
        (
            "68M",
            "-t ext4 -b 1024 -g 2048 -O ^metadata_csum,uninit_bg,64bit -E desc_size=128",
        ),
        (
            "68M",
            "-t ext4 -b 1024 -g 2048 -O ^metadata_csum,^uninit_bg,^64bit",
        ),
        (
            "68M",
            "-t ext4 -b 1024 -g 2048 -O sparse_super2 -E num_backup_sb=2",
        ),
        (
            "68M",
            "-t ext4 -b 1024 -g 2048 -O ^sparse_super,^flex_bg,^resize_inode",
        ),
    ] {
        check(size, options);
    }
}

#[test]
fn what_is_free_of_groups_of_groups_can_be_overwritten() {
    check("68M", "-t ext4 -b 1024 -g 2048 -O meta_bg,^resize_inode");
    check(
        "68M",
        "-t ext4 -b 1024 -g 2048 -O meta_bg,^resize_inode,^flex_bg,^64bit",
    );
    check(
        "68M",
        "-t ext4 -b 1024 -g 2048 -O meta_bg,^resize_inode,^sparse_super,^metadata_csum,^flex_bg",
    );
    check(
        "66M",
        "-t ext4 -b 4096 -g 1024 -O meta_bg,^resize_inode,metadata_csum_seed",
    );
}

#[test]
fn what_is_free_of_clusters_can_be_overwritten() {
    check("129M", "-t ext4 -b 4096 -O bigalloc -C 65536 -g 16384");
    check("128M", "-t ext4 -b 1024 -O bigalloc -C 16384");
    check("128M", "-t ext4 -b 4096 -O bigalloc,inline_data");
}

#[test]
fn all_zeros_must_not_be_taken_for_free() {
    let disk = Disk::new("64M", "mke2fs -q -F -t ext4 disk");
    disk.fill();
    disk.does_not_survive_noise_in_zeros(CHECK);
}

#[test]
fn a_file_system_need_not_fill_its_space_and_the_rest_is_not_free() {
    let disk = Disk::new("64M", "mke2fs -q -F -t ext4 -b 4096 disk 8000");
    disk.fill();
    let (extents, _) = listed(&disk);
    let survey = disk.survey();
    assert_eq!(survey.free, with_blocks(extents));
    let last = survey.free.last().unwrap();
    assert!(last.offset + last.length <= 8000 * 4096);
}

#[test]
fn one_that_is_in_use_is_not_read() {
    // Without a journal only its state tells.
    for options in ["-t ext4", "-t ext2", "-t ext4 -O ^has_journal"] {
        let disk = Disk::new("64M", &format!("mke2fs -q -F {options} disk"));
        let _ = disk.mounted(
            "",
            &format!("{FILL} sync -f m; cp --sparse=always disk copy"),
        );
        assert!(disk.free_bytes() > 0);
        let _ = disk.sh("mv copy disk");
        assert!(matches!(disk.unread(), Unread::Dirty(_)), "{options}");
    }
}

#[test]
fn one_with_errors_or_with_something_unknown_is_not_read() {
    let disk = Disk::new("16M", "mke2fs -q -F -t ext4 -O ^metadata_csum disk");
    let dirty = |script: &str| {
        let _ = disk.sh(&format!("cp disk kept; debugfs -w -R '{script}' disk"));
        let reason = disk.unread();
        let _ = disk.sh("mv kept disk");
        reason
    };
    assert_eq!(dirty("ssv state 3"), Unread::Dirty("an error is recorded"));
    assert_eq!(dirty("ssv state 0"), Unread::Dirty("it was not unmounted"));
    assert_eq!(
        dirty("ssv feature_incompat 0x800042"),
        Unread::Features("incompat", 0x80_0000)
    );
    assert_eq!(
        dirty("ssv feature_ro_compat 0x4003"),
        Unread::Features("ro_compat", 0x4000)
    );
    assert_eq!(dirty("ssv blocks_count 999999"), Unread::BehindVolume);
    assert!(matches!(
        dirty("set_bg 0 free_blocks_count 7"),
        Unread::Damaged { .. }
    ));
    assert!(matches!(dirty("freeb 5"), Unread::Damaged { .. }));
    assert!(matches!(
        disk.survey().volumes[0].allocation,
        Allocation::Read { .. }
    ));
}

#[test]
fn one_with_a_wrong_checksum_is_not_read() {
    let disk = Disk::new("64M", "mke2fs -q -F -t ext4 -b 4096 disk");
    let bitmap: u64 = disk
        .sh("dumpe2fs disk 2>/dev/null | sed -n 's/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -1")
        .trim()
        .parse()
        .unwrap();
    for place in [1024 + 0x88, 4096 + 0x30, bitmap * 4096 + 8] {
        let _ = disk.sh(&format!(
            "cp disk kept; printf x | dd of=disk bs=1 seek={place} conv=notrunc status=none"
        ));
        assert!(matches!(disk.unread(), Unread::Damaged { .. }), "{place}");
        let _ = disk.sh("mv kept disk");
    }
    assert!(disk.free_bytes() > 0);
}
