//! `ec2-bundle-vol` on real file systems: the image and its contents. Needs root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use end_to_end::images::noise;
use end_to_end::machine::new_uuid;
use end_to_end::mounts::Mount;
use end_to_end::traces::assert_no_trace;
use end_to_end::volumes::fill;
use end_to_end::{
    bundles, bundling_volume, clone_volume, command, command_path, folder, key, names, outcome,
    run, sha256, shell, shell_with_path, text,
};

fn printed(script: &str) -> String {
    shell_with_path(script, Path::new("/"))
}

/// Compares with rsync, which lists differences in contents, metadata, links and attributes.
fn assert_same(volume: &Path, image: &Path, but: &str) {
    let script = format!(
        "rsync -naHAXi --checksum --delete --numeric-ids --exclude=/dev/* --exclude=/proc/* --exclude=/sys/* --exclude=/mnt/* \
         --exclude=/media/* --exclude=/lost+found {but} '{}/' '{}/'",
        volume.display(),
        image.display()
    );
    assert_eq!(printed(&script), "");
}

#[test]
fn the_image_has_the_volumes_kind_of_file_system_with_its_label_and_uuid() {
    let uuid = new_uuid();
    for (kind, size, mkfs, image_size, options, check) in [
        (
            "ext2",
            "16M",
            format!("mke2fs -q -F -t ext2 -L root -U {uuid}"),
            "64",
            "",
            "e2fsck -fn",
        ),
        (
            "ext3",
            "32M",
            format!("mke2fs -q -F -t ext3 -L root -U {uuid}"),
            "64",
            "",
            "e2fsck -fn",
        ),
        (
            "ext4",
            "32M",
            format!("mke2fs -q -F -t ext4 -O ^64bit,^metadata_csum -L root -U {uuid}"),
            "64",
            "",
            "e2fsck -fn",
        ),
        (
            "xfs",
            "300M",
            format!("mkfs.xfs -q -L root -m uuid={uuid},bigtime=0,reflink=0"),
            "310",
            ",nouuid",
            "xfs_repair -n",
        ),
        (
            "btrfs",
            "120M",
            format!("mkfs.btrfs -q -L root -U {uuid}"),
            "130",
            "",
            "btrfs check",
        ),
    ] {
        let volume = Mount::new(size, &mkfs);
        fill(&volume.path());
        let destination = folder();
        let result = clone_volume(
            &volume.path(),
            destination.path(),
            &["-s", image_size, "--no-filter"],
        );
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{kind}");
        let image = destination.path().join("image");
        let found = printed(&format!("blkid -p -o export '{}'", image.display()));
        for line in [
            format!("TYPE={kind}"),
            "LABEL=root".to_owned(),
            format!("UUID={uuid}"),
        ] {
            assert!(found.lines().any(|found| found == line), "{line} {found}");
        }
        let _ = printed(&format!("{check} '{}' 2>&1", image.display()));
        let metadata = fs::metadata(&image).unwrap();
        assert_eq!((metadata.len() >> 20).to_string(), image_size);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        if kind.starts_with("ext") {
            let features = |file: &Path| {
                let script = format!(
                    "dumpe2fs -h '{}' 2>&1 | grep -E '^(Filesystem features|Inode size|Check interval|Maximum mount)'",
                    file.display()
                );
                printed(&script).replace(" needs_recovery", "")
            };
            assert_eq!(features(&image), features(&volume.file()), "{kind}");
        }
        if kind == "xfs" {
            // ATTR only means that a file has an extended attribute.
            let features = |file: &Path| {
                let version = printed(&format!("xfs_db -r -c version '{}'", file.display()));
                version.split("= ").nth(1).unwrap().replace(",ATTR,", ",")
            };
            assert_eq!(features(&image), features(&volume.file()));
        }
        // Mounted beside the volume, which btrfs does not allow with the same UUID.
        if kind == "btrfs" {
            let file = volume.file();
            drop(volume);
            assert!(!file.exists());
        } else {
            let twin = Mount::of_image(&image, 0, options);
            assert_same(&volume.path(), &twin.path(), "");
        }
        assert_no_trace(destination.path());
    }
}

#[test]
fn a_btrfs_volume_on_a_subvolume_keeps_it() {
    let whole = Mount::new("120M", "mkfs.btrfs -q -L root");
    let volume = folder();
    let _ = shell(
        &format!(
            "btrfs -q subvolume create '{whole}/@rootfs'; mount -o subvol=@rootfs \"$(findmnt -n -o SOURCE '{whole}' | sed 's/\\[.*//')\" .",
            whole = whole.path().display()
        ),
        volume.path(),
    );
    // The folder is now hidden by the mount.
    fill(volume.path());
    let destination = folder();
    let arguments = ["-s", "130", "--no-filter", "--generate-fstab"];
    let result = clone_volume(volume.path(), destination.path(), &arguments);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let uuid = |file: &Path| printed(&format!("blkid -p -o value -s UUID '{}'", file.display()));
    let image = destination.path().join("image");
    let uuids = (uuid(&image), uuid(&whole.file()));
    let _ = shell(
        &format!("umount '{}'", volume.path().display()),
        Path::new("/"),
    );
    drop(whole);
    assert_eq!(uuids.0, uuids.1);
    for (options, path) in [
        ("", "etc/hostname"),
        (",subvolid=5", "@rootfs/etc/hostname"),
        (",subvol=@rootfs", "etc/hostname"),
    ] {
        let mounted = Mount::of_image(&image, 0, options);
        assert_eq!(
            fs::read_to_string(mounted.path().join(path)).unwrap(),
            "host\n",
            "{options}"
        );
    }
}

#[test]
fn a_file_system_that_is_not_known_becomes_ext4_and_a_folder_is_bundled_as_gpt_unless_asked() {
    let volume = folder();
    let _ = shell("mount -t tmpfs none .", volume.path());
    fill(volume.path());
    let destination = folder();
    let result = clone_volume(volume.path(), destination.path(), &["--no-filter"]);
    let image = destination.path().join("image");
    let kind = printed(&format!("blkid -p -o value -s TYPE '{}'", image.display()));
    assert_same(volume.path(), &Mount::of_image(&image, 0, "").path(), "");
    let _ = shell(
        &format!("umount '{}'", volume.path().display()),
        Path::new("/"),
    );
    assert_eq!((result.code, kind.as_str()), (0, "ext4"));
    assert!(
        result
            .stderr
            .contains("The volume's file system is not one that can be made again (tmpfs on "),
        "{}",
        result.stderr
    );
    let plain = folder();
    fill(plain.path());
    let mut arguments = bundling_volume(plain.path(), destination.path());
    let partition = arguments.iter().position(|word| word == "-P").unwrap();
    let _ = arguments.drain(partition..partition + 2);
    arguments.extend(["-p", "other", "--clone-only"].map(str::to_owned));
    let result = run("ec2-bundle-vol", &arguments);
    assert_eq!((result.code, result.stdout.as_str()), (1, ""));
    assert!(
        result.stderr.starts_with("ERROR: no boot loader found on "),
        "{}",
        result.stderr
    );
    assert!(
        result.stderr.contains("a gpt image needs GRUB 2")
            && result.stderr.contains("--partition none"),
        "{}",
        result.stderr
    );
}

#[test]
fn a_bundle_of_a_volume_comes_back_as_its_image_and_stays_beside_it() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let destination = folder();
    let arguments = bundling_volume(&volume.path(), destination.path());
    let result = run("ec2-bundle-vol", &arguments);
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert_eq!(
        names(destination.path()),
        ["image", "image.manifest.xml", "image.part.0"]
    );
    let unbundled = folder();
    bundles::take_apart(
        &destination.path().join("image.manifest.xml"),
        unbundled.path(),
    );
    let images = [
        destination.path().join("image"),
        unbundled.path().join("image"),
    ];
    assert_eq!(sha256(&images[0]), sha256(&images[1]));
    // As in the older suite, a second run does not replace the image.
    let again = run("ec2-bundle-vol", &arguments);
    assert_eq!((again.code, again.stdout.as_str()), (254, ""));
    assert!(
        again.stderr.contains("image already exists"),
        "{}",
        again.stderr
    );
    let mut without = bundling_volume(&volume.path(), unbundled.path());
    without.extend(["--no-keep-image", "--json", "-p", "other"].map(str::to_owned));
    let result = run("ec2-bundle-vol", &without);
    assert_eq!(result.code, 0);
    assert_eq!(
        names(unbundled.path()),
        ["image", "other.manifest.xml", "other.part.0"]
    );
    let report: serde_json::Value = serde_json::from_str(&result.stdout).unwrap();
    assert_eq!(
        (&report["image"], text(&report["file_system"])),
        (&serde_json::Value::Null, "ext4")
    );
    assert_eq!(report["filtered"].as_array().unwrap().len(), 3);
    assert_eq!(
        text(&report["bundle"]["parts"][0]["filename"]),
        "other.part.0"
    );
    assert_no_trace(unbundled.path());
}

#[test]
fn the_table_of_file_systems_and_the_script_change_the_image_only() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    // A link that leads out must not lead to this machine's files.
    let outside = folder();
    let _ = shell(
        &format!(
            "mkdir -p boot/grub; ln -s '{}/menu.lst' boot/grub/menu.lst",
            outside.path().display()
        ),
        &root,
    );
    let destination = folder();
    let work = folder();
    let _ = shell(
        "printf '#!/bin/sh\\necho made > \"$1/made\"; cat \"$1/etc/fstab\" > \"$1/seen\"\\n' > s; chmod +x s; echo '/dev/x / ext4 defaults 0 0' > table; echo title > menu",
        work.path(),
    );
    let at = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let result = clone_volume(
        &root,
        destination.path(),
        &[
            "-S",
            &at("s"),
            "--fstab",
            &at("table"),
            "--grub-config",
            &at("menu"),
        ],
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert!(
        result
            .stdout
            .contains("/etc/fstab:\n\t /dev/x / ext4 defaults 0 0\n"),
        "{}",
        result.stdout
    );
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    let read = |path: &str| fs::read_to_string(image.path().join(path)).unwrap();
    assert_eq!(
        [
            read("made"),
            read("seen"),
            read("etc/fstab"),
            read("etc/fstab.old")
        ],
        [
            "made\n",
            "/dev/x / ext4 defaults 0 0\n",
            "/dev/x / ext4 defaults 0 0\n",
            "# old\n"
        ]
    );
    assert_eq!(names(outside.path()), [""; 0]);
    assert!(!root.join("made").exists());
    let result = clone_volume(
        &root,
        destination.path(),
        &["--generate-fstab", "-r", "i386", "-p", "i386"],
    );
    assert_eq!(result.code, 0);
    assert!(
        result
            .stdout
            .contains("\t /dev/sda3\tswap\tswap\tdefaults\t0\t0\n"),
        "{}",
        result.stdout
    );
}

#[test]
fn many_small_files_get_inodes() {
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4 -N 16000");
    let root = volume.path();
    let _ = shell("mkdir -p d; cd d; seq 1 9000 | xargs touch", &root);
    let destination = folder();
    // mke2fs would give an image of 64 MB half as many.
    let result = clone_volume(&root, destination.path(), &[]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(names(&image.path().join("d")).len(), 9000);
}

#[test]
fn the_volume_is_never_written_to() {
    let volume = Mount::new("32M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    fs::write(volume.path().join("data"), noise(5 << 20, 1)).unwrap();
    let _ = shell(
        &format!("mount -o remount,ro '{}'; sync", volume.path().display()),
        Path::new("/"),
    );
    let before = sha256(&volume.file());
    let destination = folder();
    let result = run(
        "ec2-bundle-vol",
        &bundling_volume(&volume.path(), destination.path()),
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert_eq!(sha256(&volume.file()), before);
    // Not even an access time changes, although the volume is mounted for writing.
    let _ = shell(
        &format!(
            "mount -o remount,rw,strictatime '{}'",
            volume.path().display()
        ),
        Path::new("/"),
    );
    let access = |path: &str| {
        let metadata = volume.path().join(path).symlink_metadata().unwrap();
        (metadata.atime(), metadata.atime_nsec())
    };
    let paths = ["data", "etc", "home/u/soft", "etc/hostname"];
    let before = paths.map(access);
    let result = clone_volume(&volume.path(), destination.path(), &["-p", "again"]);
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert_eq!(paths.map(access), before);
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let volumes = [1, 2].map(|seed| {
        let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
        fill(&volume.path());
        fs::write(volume.path().join("data"), noise(30 << 20, seed)).unwrap();
        volume
    });
    let destination = folder();
    let children: Vec<_> = volumes
        .iter()
        .zip(["a", "b"])
        .map(|(volume, name)| {
            let mut arguments = bundling_volume(&volume.path(), destination.path());
            arguments.extend(["-p".to_owned(), name.to_owned(), "--no-filter".to_owned()]);
            command("ec2-bundle-vol", &arguments)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for (volume, name) in volumes.iter().zip(["a", "b"]) {
        let image = Mount::of_image(&destination.path().join(name), 0, "");
        assert_same(&volume.path(), &image.path(), "");
    }
    assert_no_trace(destination.path());
}

/// Without udev, and with an almost empty /dev: device nodes are made in a private place.
#[test]
fn it_runs_in_a_container_whose_dev_is_all_but_empty() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4 -L root");
    fill(&volume.path());
    let destination = folder();
    let mut arguments = bundling_volume(&volume.path(), destination.path());
    arguments.push("--clone-only".to_owned());
    let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "mount -t tmpfs none /dev; mknod /dev/null c 1 3; mknod /dev/urandom c 1 9; chmod 666 /dev/null; ls /dev > before
         '{}' {} < /dev/null; ls /dev | diff before -",
        command_path("ec2-bundle-vol").display(),
        words.join(" ")
    );
    let mut unshare = Command::new("unshare");
    let _ = unshare
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "bash",
            "-euc",
            &script,
        ])
        .current_dir(destination.path());
    let result = outcome(&mut unshare);
    assert_eq!(result.code, 0, "{result:?}");
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(
        fs::read_to_string(image.path().join("etc/hostname")).unwrap(),
        "host\n"
    );
}

#[test]
fn nobody_else_sees_the_key_and_no_program_is_given_it() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let destination = folder();
    let log = destination.path().join("strace");
    let mut strace = Command::new("strace");
    let _ = strace
        .args(["-f", "-e", "trace=execve", "-s", "100000", "-o"])
        .arg(&log)
        .arg(command_path("ec2-bundle-vol"))
        .args(bundling_volume(&volume.path(), destination.path()))
        .arg("--debug");
    let result = outcome(&mut strace);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("mke2fs"), "{log}");
    for secret in bundles::secrets(
        &destination.path().join("image.manifest.xml"),
        &key("user2048.key"),
    ) {
        for said in [&log, &result.stdout, &result.stderr] {
            assert!(!said.contains(&secret));
        }
    }
}
