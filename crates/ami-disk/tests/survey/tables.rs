//! Partition tables.

use ami_disk::{Allocation, Damage, FileSystem, Survey, Table, Unread};

use crate::image::Disk;

const MIB: u64 = 1 << 20;

/// Makes two file systems in a table that sfdisk makes, at 1 MiB and at 33 MiB, and swap behind them.
fn disk(label: &str) -> Disk {
    let disk = Disk::new(
        "80M",
        &format!(
            "printf 'label: {label}\\nsize=32M\\nsize=32M\\nsize=8M\\n' | sfdisk -q disk
            mke2fs -q -F -t ext4 -b 4096 -E offset=$((1 << 20)) disk 32M
            mke2fs -q -F -t ext4 -b 1024 -E offset=$((33 << 20)) disk 32M
            truncate -s 8M swap; mkswap -q swap; dd if=swap of=disk bs=1M seek=65 conv=notrunc status=none"
        ),
    );
    let _ = disk.sh("cp --sparse=always disk kept");
    disk
}

fn kinds(survey: &Survey) -> Vec<(Option<u32>, u64, u64, Option<FileSystem>)> {
    let volumes = survey.volumes.iter();
    volumes
        .map(|volume| {
            (
                volume.partition,
                volume.offset / MIB,
                volume.length / MIB,
                volume.kind,
            )
        })
        .collect()
}

fn unread(survey: &Survey) -> Vec<Option<Unread>> {
    let volumes = survey.volumes.iter();
    volumes
        .map(|volume| match &volume.allocation {
            Allocation::Read { .. } => None,
            Allocation::Unread(reason) => Some(reason.clone()),
        })
        .collect()
}

#[test]
fn partitions_are_found_each_with_its_free_space() {
    for (label, table) in [("gpt", Table::Gpt), ("dos", Table::Mbr)] {
        let disk = disk(label);
        let survey = disk.survey();
        assert_eq!((survey.table, survey.damage), (Some(table), None));
        assert_eq!(
            kinds(&survey),
            [
                (Some(1), 1, 32, Some(FileSystem::Ext)),
                (Some(2), 33, 32, Some(FileSystem::Ext)),
                (Some(3), 65, 8, Some(FileSystem::Swap)),
            ]
        );
        assert_eq!(unread(&survey), [None, None, Some(Unread::Kind)]);
        // Nothing is free outside the file systems.
        let inside = |extent: &ami_image::Extent| {
            (extent.offset > MIB && extent.offset + extent.length <= 65 * MIB)
                && !(extent.offset < 33 * MIB && extent.offset + extent.length > 33 * MIB)
        };
        assert!(
            survey.free.len() >= 2 && survey.free.iter().all(inside),
            "{survey:?}"
        );
        disk.add_noise(&survey.free);
        let _ = disk.sh("for at in 1 33; do dd if=disk of=fs bs=1M skip=$at count=32 status=none; e2fsck -fn fs; done");
    }
}

#[test]
fn logical_partitions_are_found() {
    let disk = Disk::new(
        "64M",
        "printf 'label: dos\\nsize=8M\\ntype=5\\nsize=20M\\nsize=20M\\n' | sfdisk -q disk
        mke2fs -q -F -t ext2 -E offset=$((1 << 20)) disk 8M
        sfdisk -d disk > table
        start=$(sed -n 's/^disk6.*start= *\\([0-9]*\\).*/\\1/p' table)
        mke2fs -q -F -t ext4 -E offset=$((start * 512)) disk 20M",
    );
    let survey = disk.survey();
    let found: Vec<_> = kinds(&survey)
        .into_iter()
        .map(|(number, .., kind)| (number, kind))
        .collect();
    let ext = Some(FileSystem::Ext);
    assert_eq!(found, [(Some(1), ext), (Some(5), None), (Some(6), ext)]);
    assert_eq!(unread(&survey), [None, Some(Unread::Unknown), None]);
    // The second record is the first one again.
    let _ = disk.sh(
        "start=$(sed -n 's/^disk2.*start= *\\([0-9]*\\).*/\\1/p' table)
        dd if=/dev/zero of=disk bs=1 seek=$((start * 512 + 446 + 16 + 8)) count=4 conv=notrunc status=none",
    );
    let survey = disk.survey();
    assert_eq!(
        (survey.table, survey.damage),
        (Some(Table::Mbr), Some(Damage::Mbr))
    );
    assert_eq!((survey.free, survey.volumes), (vec![], vec![]));
}

#[test]
fn a_damaged_table_frees_nothing() {
    let disk = disk("gpt");
    // The header, an entry; in the copy at the end it makes no difference.
    for (place, damage) in [
        (512 + 40, Some(Damage::Gpt)),
        (1024 + 36, Some(Damage::Gpt)),
        (80 * MIB - 512 + 40, None),
    ] {
        let _ = disk.sh(&format!(
            "cp --sparse=always kept disk; printf x | dd of=disk bs=1 seek={place} conv=notrunc status=none"
        ));
        let survey = disk.survey();
        assert_eq!((survey.table, survey.damage), (Some(Table::Gpt), damage));
        assert_eq!(survey.free.is_empty(), damage.is_some());
        assert_eq!(survey.volumes.is_empty(), damage.is_some());
    }
}

#[test]
fn partitions_that_overlap_or_leave_the_disk_have_nothing_free() {
    let disk = disk("dos");
    // Partition 3 begins in partition 2.
    let _ = disk.sh("printf '\\0\\0\\002\\0' | dd of=disk bs=1 seek=486 conv=notrunc status=none");
    let survey = disk.survey();
    assert_eq!(unread(&survey)[..2], [None, Some(Unread::Overlap)]);
    assert!(
        survey
            .free
            .iter()
            .all(|extent| extent.offset + extent.length <= 33 * MIB)
    );
    let _ = disk.sh("cp --sparse=always kept disk; truncate -s 60M disk");
    let survey = disk.survey();
    assert_eq!(unread(&survey)[..2], [None, Some(Unread::BehindDisk)]);
    // Partition 1 begins where the table is.
    let _ = disk.sh("cp --sparse=always kept disk; printf '\\0\\0\\0\\0' | dd of=disk bs=1 seek=454 conv=notrunc status=none");
    assert_eq!(unread(&disk.survey())[0], Some(Unread::Unknown));
}

#[test]
fn a_file_system_below_a_table_has_nothing_free_and_neither_have_its_partitions() {
    let disk = disk("dos");
    // As if it had been partitioned without wiping what was there.
    let _ = disk.sh("mke2fs -q -F -t ext4 whole 80M; dd if=whole of=disk bs=1024 skip=1 seek=1 count=1 conv=notrunc status=none");
    let survey = disk.survey();
    assert_eq!(survey.free, []);
    assert_eq!(survey.volumes.len(), 4);
    assert_eq!(unread(&survey)[0], Some(Unread::Overlap));
}

#[test]
fn a_hybrid_table_counts_where_both_say_the_same() {
    let disk = disk("gpt");
    let free = disk.survey().free;
    let _ = disk.sh("sgdisk -h 1 disk");
    let survey = disk.survey();
    assert_eq!(
        (survey.table, survey.free == free),
        (Some(Table::Gpt), true)
    );
    // In the other table it is a sector shorter now.
    let _ = disk.sh(
        "printf '\\377\\377\\0' | dd of=disk bs=1 seek=$((446 + 16 + 12)) conv=notrunc status=none",
    );
    let survey = disk.survey();
    assert_eq!(unread(&survey)[..2], [Some(Unread::Overlap), None]);
}

#[test]
fn sectors_of_4096_bytes_are_read() {
    let disk = Disk::new(
        "80M",
        "d=$(losetup -f --show -b 4096 disk); trap 'losetup -d $d' EXIT
        printf 'label: gpt\\nsize=32M\\n' | sfdisk -q $d; sync
        mke2fs -q -F -t ext4 -b 4096 -E offset=$((1 << 20)) disk 32M",
    );
    let survey = disk.survey();
    assert_eq!(kinds(&survey), [(Some(1), 1, 32, Some(FileSystem::Ext))]);
    assert_eq!(unread(&survey), [None]);
}

#[test]
fn other_contents_are_known_and_not_free() {
    let known = |script: &str| {
        let survey = Disk::new("64M", script).survey();
        assert_eq!(
            (survey.table, survey.free.as_slice()),
            (None, [].as_slice())
        );
        survey
            .volumes
            .first()
            .map(|volume| (volume.kind, volume.allocation.clone()))
    };
    let unread = Allocation::Unread(Unread::Kind);
    assert_eq!(known("true"), None);
    assert_eq!(
        known("mkswap -q disk"),
        Some((Some(FileSystem::Swap), unread.clone()))
    );
    let luks = "printf 'LUKS\\272\\276' | dd of=disk conv=notrunc status=none";
    assert_eq!(known(luks), Some((Some(FileSystem::Luks), unread.clone())));
    let lvm = "printf LABELONE | dd of=disk bs=512 seek=1 conv=notrunc status=none";
    assert_eq!(known(lvm), Some((Some(FileSystem::Lvm), unread)));
    let two = format!("mke2fs -q -F disk; {luks}");
    assert_eq!(
        known(&two),
        Some((None, Allocation::Unread(Unread::Ambiguous)))
    );
}
