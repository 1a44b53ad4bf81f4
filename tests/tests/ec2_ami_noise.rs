//! Volumes of snapshots that read as noise wherever nothing was written, as encrypted ones do: the checkers of the file systems find
//! nothing wrong, and every file is the same. A control that also leaves out zeros in use fails.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ebs_server::BLOCK;
use end_to_end::ebs::{Reading, Scene};
use end_to_end::images::noise;
use end_to_end::s3::private_key;
use end_to_end::{bundle, folder, outcome, shell_with_path};

/// What files that were deleted are full of.
const DELETED: &[u8; 8] = b"DELETED\n";

/// The file systems, each with its size in MiB.
const KINDS: [(&str, u64); 3] = [("ext4", 64), ("xfs", 96), ("btrfs", 160)];

/// Where file systems are on a disk: offset and length in bytes of each.
type Places = Vec<(&'static str, u64, u64)>;

/// Attaches a part of a disk to a loop device: disk, offset, length.
const ATTACH: &str =
    "loop=$(losetup --find --show --offset \"$2\" --sizelimit \"$3\" \"$1\"); mkdir -p m
     trap 'umount m 2>/dev/null || true; [ \"$kind\" != btrfs ] || btrfs device scan --forget \"$loop\" || true; losetup --detach \"$loop\"' EXIT\n";

/// Files of every kind; what a deleted one had is still in free space.
const FILL: &str = "mkdir -p a/b many; head -c 7000000 /dev/urandom > a/noise; head -c 6000000 /dev/zero > a/b/zeros
     for n in $(seq 60); do head -c $((n * 311)) /dev/urandom > many/$n; done
     truncate -s 9M a/hole; printf x | dd of=a/hole bs=1 seek=4000000 conv=notrunc status=none; fallocate -l 3M a/reserved
     { yes DELETED || true; } | head -c 12000000 > deleted; ln a/noise a/link; ln -s noise a/soft; sync -f .; rm deleted; sync -f .\n";

/// What a checker and a reader of all files find: disk, offset, length.
const LOOK: &str = "case $kind in
       ext4) e2fsck -fn \"$loop\" >&2;;
       xfs) xfs_repair -n \"$loop\" >&2;;
       btrfs) btrfs check --readonly \"$loop\" >&2;;
     esac
     options=ro; [ $kind != xfs ] || options=ro,nouuid
     mount -t $kind -o $options \"$loop\" m
     (cd m; find . -printf '%p %y %m %U %n %s %T@ %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum)\n";

fn on_part(kind: &str, script: &str, disk: &str, offset: u64, length: u64) -> Command {
    let mut bash = Command::new("bash");
    let script = format!("PATH=$PATH:/usr/sbin:/sbin; kind={kind}\n{ATTACH}{script}");
    let _ = bash
        .args(["-euo", "pipefail", "-c", &script, "bash", disk])
        .args([offset, length].map(|number| number.to_string()));
    bash
}

/// Runs a script on a part of a disk in the scene's folder.
fn run(scene: &Scene, kind: &str, script: &str, disk: &str, place: (u64, u64)) -> String {
    let mut bash = on_part(kind, script, disk, place.0, place.1);
    let result = outcome(bash.current_dir(scene.work.path()));
    assert_eq!(result.code, 0, "{kind} on {disk}: {result:?}");
    result.stdout
}

/// Each file system's files, if its checker finds nothing wrong.
fn look(scene: &Scene, disk: &str, places: &Places) -> Vec<Result<String, String>> {
    let looks = places.iter().map(|&(kind, offset, length)| {
        let mut bash = on_part(kind, LOOK, disk, offset, length);
        let result = outcome(bash.current_dir(scene.work.path()));
        match result.code {
            0 => Ok(result.stdout),
            _ => Err(result.stderr),
        }
    });
    looks.collect()
}

/// A disk with one file system of each kind and nothing else.
fn bare(scene: &Scene, kind: &str, mib: u64) -> String {
    let name = format!("bare-{kind}");
    File::create(scene.path(&name))
        .unwrap()
        .set_len(mib << 20)
        .unwrap();
    let mkfs = match kind {
        "ext4" => "mke2fs -q -F -t ext4",
        // It refuses small ones without these.
        "xfs" => "TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 mkfs.xfs -q -f",
        _ => "mkfs.btrfs -q -f",
    };
    let script =
        format!("{mkfs} \"$loop\" >&2; mount -t {kind} \"$loop\" m; (cd m\n{FILL}); umount m");
    let _ = run(scene, kind, &script, &name, (0, mib << 20));
    name
}

/// A disk with these file systems in partitions, the first at this sector.
fn partitioned(
    scene: &Scene,
    label: &str,
    first: u64,
    kinds: &[(&'static str, u64)],
) -> (String, Places) {
    let (mut table, mut places, mut copies) =
        (format!("label: {label}\n"), Vec::new(), String::new());
    let mut sector = first;
    for &(kind, mib) in kinds {
        let sectors = mib * 2048;
        table += &format!("start={sector}, size={sectors}\n");
        places.push((kind, sector * 512, mib << 20));
        copies += &format!(
            "dd if=bare-{kind} of={label} bs=1M conv=notrunc,sparse oflag=seek_bytes seek={} status=none\n",
            sector * 512
        );
        // So that no two begin alike within their blocks.
        sector += sectors + 8 * 77;
    }
    let script = format!(
        "truncate -s $(({sector} * 512 + (1 << 20) + 512)) {label}; printf '{table}' | sfdisk --quiet {label}; {copies}"
    );
    let _ = shell_with_path(&script, scene.work.path());
    (label.to_owned(), places)
}

/// Makes a snapshot of a disk, and gives its ID and what was said.
fn send(scene: &Scene, disk: &str) -> (String, String) {
    let result = scene.ok(&["create", disk, "--snapshot-only"]);
    (result.stdout.trim_end().to_owned(), result.stderr)
}

/// The same by way of a bundle of the disk.
fn send_bundled(scene: &Scene, disk: &str) -> (String, String) {
    let bundled = folder();
    let manifest = bundle(Path::new(&scene.path(disk)), bundled.path(), &[]);
    let (manifest, key) = (manifest.to_str().unwrap(), private_key());
    let result = scene.ok(&["create", manifest, "-k", &key, "--snapshot-only"]);
    (result.stdout.trim_end().to_owned(), result.stderr)
}

fn blocks_of(scene: &Scene, disk: &str) -> u32 {
    let size = File::open(scene.path(disk))
        .unwrap()
        .metadata()
        .unwrap()
        .len();
    u32::try_from(size.div_ceil(BLOCK as u64)).unwrap()
}

/// Writes each block of a disk as `block` has it, as a file of the disk's size.
fn write(scene: &Scene, disk: &str, name: &str, mut block: impl FnMut(u32) -> Vec<u8>) {
    let size = File::open(scene.path(disk))
        .unwrap()
        .metadata()
        .unwrap()
        .len();
    let file = File::create(scene.path(name)).unwrap();
    file.set_len(size).unwrap();
    for index in 0..blocks_of(scene, disk) {
        let offset = u64::from(index) * BLOCK as u64;
        let length = usize::try_from(size - offset).unwrap().min(BLOCK);
        let block = block(index);
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(&block[..length], offset).unwrap();
        }
    }
}

/// The disk as an encrypted volume of the snapshot reads.
fn read_noisy(scene: &Scene, disk: &str, snapshot: &str, name: &str) {
    let server = &scene.server;
    write(scene, disk, name, |index| {
        server.block(snapshot, index, Reading::Noise).unwrap()
    });
}

/// A block of a file; zeros behind its end.
fn block_at(file: &File, index: u32) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut from = 0;
    while from < BLOCK {
        let offset = u64::from(index) * BLOCK as u64 + from as u64;
        match file.read_at(&mut block[from..], offset).unwrap() {
            0 => break,
            length => from += length,
        }
    }
    block
}

#[test]
fn nothing_that_file_systems_use_is_left_out_and_nothing_deleted_is_sent() {
    let scene = Scene::new();
    let mut sources: Vec<(String, Places)> = Vec::new();
    for (kind, mib) in KINDS {
        let places = vec![(kind, 0, mib << 20)];
        sources.push((bare(&scene, kind, mib), places));
    }
    let whole: Vec<String> = sources
        .iter()
        .flat_map(|(disk, places)| look(&scene, disk, places))
        .map(Result::unwrap)
        .collect();
    assert!(whole.iter().all(|files| files.matches("\n./").count() > 60));
    // The sector at which DOS began partitions, and today's.
    sources.push(partitioned(&scene, "dos", 63, &KINDS[..2]));
    sources.push(partitioned(&scene, "gpt", 2048, &KINDS[1..]));
    for (disk, places) in &sources {
        let expected: Vec<_> = whole
            .iter()
            .zip(KINDS)
            .filter(|(_, (kind, _))| places.iter().any(|place| place.0 == *kind))
            .map(|(files, _)| Ok(files.clone()))
            .collect();
        for is_bundled in [false, true] {
            let (snapshot, said) = match is_bundled {
                false => send(&scene, disk),
                true => send_bundled(&scene, disk),
            };
            assert!(!said.contains("all of"), "{disk}: {said}");
            let sent = scene.server.snapshot(&snapshot).unwrap().blocks;
            let all = blocks_of(&scene, disk);
            assert!(
                sent.len() < all as usize * 3 / 4,
                "{disk}: {} of {all}, {is_bundled}",
                sent.len()
            );
            let deleted = sent.iter().filter(|index| {
                let block = scene.server.block(&snapshot, **index, Reading::Zeros);
                block
                    .unwrap()
                    .as_chunks()
                    .0
                    .iter()
                    .all(|word| word == DELETED)
            });
            // What is free of a bundle's image is known when all of it has been sent but the zeros.
            assert!(
                is_bundled || deleted.count() == 0,
                "{disk}: of deleted files"
            );
            read_noisy(&scene, disk, &snapshot, "noisy");
            let found = look(&scene, "noisy", places);
            assert!(found == expected, "{disk}, {is_bundled}: {found:#?}");
        }

        // The control: what is zeros in the source is noise.
        let source = File::open(scene.path(disk)).unwrap();
        write(&scene, disk, "control", |index| {
            let block = block_at(&source, index);
            match block.iter().all(|byte| *byte == 0) {
                true => noise(BLOCK, u64::from(index)),
                false => block,
            }
        });
        let control = look(&scene, "control", places);
        for (found, expected) in control.iter().zip(&expected) {
            assert!(found.as_ref().ok() != expected.as_ref().ok(), "{disk}");
        }
    }
}

/// Copies a file system as it is while it is mounted and written to, so that its journal or log must be replayed.
const CRASH: &str = "mount -t $kind \"$loop\" m; for n in $(seq 20); do head -c 3000 /dev/urandom > m/new$n; sync m/new$n; done
     cp --sparse=always \"$1\" crashed; umount m\n";

#[test]
fn all_is_sent_of_what_must_be_replayed_and_of_what_is_damaged() {
    let scene = Scene::new();
    let mut cases: Vec<(String, &str)> = Vec::new();
    for (kind, mib) in KINDS {
        let disk = bare(&scene, kind, mib);
        let _ = run(&scene, kind, CRASH, &disk, (0, mib << 20));
        let crashed = format!("crashed-{kind}");
        std::fs::rename(scene.path("crashed"), scene.path(&crashed)).unwrap();
        let why = match kind {
            "ext4" => "journal",
            _ => "log",
        };
        cases.push((crashed, why));
    }
    // A byte of a bitmap is another.
    let script = "cp --sparse=always bare-ext4 damaged
        block=$(dumpe2fs bare-ext4 2>/dev/null | sed -n 's/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -n 1)
        printf '\\125' | dd of=damaged bs=1 seek=$((block * 1024 + 17)) conv=notrunc status=none";
    let _ = shell_with_path(script, scene.work.path());
    cases.push(("damaged".to_owned(), "the checksum of a block bitmap"));
    for (disk, why) in &cases {
        let (snapshot, said) = send(&scene, disk);
        let blocks = blocks_of(&scene, disk);
        let sent = scene.server.snapshot(&snapshot).unwrap().blocks;
        assert_eq!(sent, (0..blocks).collect::<Vec<_>>(), "{disk}: {said}");
        let warning = said
            .lines()
            .find(|line| line.contains("all of the disk is sent"));
        assert!(
            warning.is_some_and(|line| line.contains(why)),
            "{disk}: {said}"
        );
        read_noisy(&scene, disk, &snapshot, "noisy");
        let _ = shell_with_path(&format!("cmp noisy '{disk}'"), scene.work.path());
    }
}
