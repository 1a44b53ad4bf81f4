//! btrfs.

use ami_disk::Unread;

use crate::image::{Disk, FILL};

const CHECK: &str = "btrfs check --readonly disk";
/// Free bytes by btrfs's own account: the device without the first MiB, the copy of the superblock, and what chunks have in use.
fn listed(disk: &Disk) -> u64 {
    let printed = disk.mounted(",ro", "btrfs filesystem df -b m");
    let in_use: u64 = printed
        .lines()
        .filter(|line| !line.contains("GlobalReserve"))
        .map(|line| {
            let used: u64 = line.rsplit('=').next().unwrap().parse().unwrap();
            if line.contains("DUP") { 2 * used } else { used }
        })
        .sum();
    let size = disk.path().metadata().unwrap().len();
    size - (1 << 20) - (64 << 10) - in_use
}

fn check(options: &str) {
    let disk = Disk::new("240M", &format!("mkfs.btrfs -q {options} disk"));
    assert_eq!(disk.free_bytes(), listed(&disk), "{options}");
    disk.fill();
    let _ = disk.mounted(
        "",
        "btrfs -q subvolume snapshot m m/snap; rm m/big.1; sync -f m",
    );
    let survey = disk.survey();
    assert_eq!(disk.free_bytes(), listed(&disk), "{options}");
    let kept: u64 = survey.free.iter().map(|extent| extent.length).sum();
    assert!(
        kept > disk.free_bytes() - (16 << 20),
        "{options}: {survey:?}"
    );
    disk.survives_noise(CHECK);
}

#[test]
fn what_is_free_can_be_overwritten() {
    check("");
    check("-m single -d single -R ^free-space-tree");
    check("-m dup -d dup -n 4096 -O ^no-holes,^extref");
    check("--mixed -m dup -d dup");
}

#[test]
fn all_zeros_must_not_be_taken_for_free() {
    let disk = Disk::new("160M", "mkfs.btrfs -q disk");
    disk.fill();
    disk.does_not_survive_noise_in_zeros(CHECK);
}

#[test]
fn trees_of_several_levels_are_read() {
    let disk = Disk::new("160M", "mkfs.btrfs -q -n 4096 disk");
    let _ = disk.mounted(
        "",
        "for i in $(seq 600); do head -c 5000 /dev/urandom > m/$i; done; head -c 6M /dev/zero > m/zeros; sync -f m; rm m/*5",
    );
    let level: u32 = disk
        .sh("btrfs inspect-internal dump-tree -t extent disk | sed -n 's/^node .* level \\([0-9]\\).*/\\1/p' | head -1")
        .trim()
        .parse()
        .unwrap();
    assert!(level > 0);
    assert_eq!(disk.free_bytes(), listed(&disk));
    disk.survives_noise(CHECK);
}

#[test]
fn one_with_a_log_tree_is_not_read() {
    let disk = Disk::new("160M", "mkfs.btrfs -q disk");
    let _ = disk.mounted(
        ",commit=300",
        &format!("{FILL} sync -f m; echo more > m/last; sync m/last; cp --sparse=always disk copy"),
    );
    assert!(disk.free_bytes() > 0);
    let _ = disk.sh("mv copy disk");
    assert_eq!(
        disk.unread(),
        Unread::Dirty("the log tree has not been replayed")
    );
}

#[test]
fn one_of_several_devices_or_with_other_checksums_is_not_read() {
    let disk = Disk::new(
        "160M",
        "truncate -s 160M other; mkfs.btrfs -q -d single -m single disk other",
    );
    assert!(matches!(disk.unread(), Unread::Form(_)));
    let disk = Disk::new("160M", "mkfs.btrfs -q --csum xxhash disk");
    assert!(matches!(disk.unread(), Unread::Form(_)));
}

#[test]
fn a_node_is_read_from_its_other_place_and_damage_of_both_is_not_read() {
    let disk = Disk::new("160M", "mkfs.btrfs -q disk");
    disk.fill();
    let places: Vec<u64> = disk
        .sh("for copy in 1 2; do btrfs-map-logical -c $copy -l $(btrfs inspect-internal dump-super disk | awk '$1 == \"root\" { print $2 }') disk; done 2>&1 \
            | sed -n 's/.*physical \\([0-9]*\\).*/\\1/p' | sort -u")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(places.len(), 2);
    let before = disk.survey();
    let damage = |place: u64| {
        let _ = disk.sh(&format!(
            "printf xxxx | dd of=disk bs=1 seek={} conv=notrunc status=none",
            place + 200
        ));
    };
    damage(places[0]);
    assert_eq!(disk.survey(), before);
    damage(places[1]);
    assert!(matches!(disk.unread(), Unread::Damaged { .. }));
}
