//! Hostile volumes. These tests need root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::busy::run_once;
use end_to_end::mounts::Mount;
use end_to_end::traces::assert_no_trace;
use end_to_end::volumes::fill;
use end_to_end::{bundling_volume, clone_volume, folder, key, names, run, shell, shell_with_path};

/// Copies a program and its libraries to a volume.
fn install(program: &str, volume: &Path) {
    let script = format!(
        "for file in '{program}' $(ldd '{program}' | grep -o '/[^ ]*'); do mkdir -p \".$(dirname $file)\"; cp -L $file .$file; done"
    );
    let _ = shell(&script, volume);
}

/// Gives a volume GRUB's modules and configuration, and this shell script as grub-mkimage.
fn with_grub(volume: &Path, mkimage: &str) {
    install("/bin/sh", volume);
    let _ = shell(
        "mkdir -p usr/lib/grub/i386-pc usr/bin boot/grub; touch boot/grub/grub.cfg
         cd usr/lib/grub/i386-pc; for file in boot.img diskboot.img kernel.img biosdisk.mod; do head -c 2048 /dev/zero > $file; done",
        volume,
    );
    let path = volume.join("usr/bin/grub-mkimage");
    fs::write(&path, format!("#!/bin/sh\n{mkimage}\n")).unwrap();
    let _ = shell("chmod 755 usr/bin/grub-mkimage", volume);
}

#[test]
fn finding_06_a_fifo_among_package_lists_or_boot_entries_is_passed_over() {
    let volume = Mount::new("32M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    with_grub(&root, "head -c 2048 /dev/zero > /dev/core.img");
    let _ = shell(
        "mkdir -p var/lib/dpkg/info boot/loader/entries; mkfifo var/lib/dpkg/info/a.list boot/loader/entries/a.conf",
        &root,
    );
    install("/usr/bin/head", &root);
    let destination = folder();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (volume_path, destination_path) = (path(&root), path(destination.path()));
    let arguments = ["--dry-run", "-v", &volume_path, "-d", &destination_path];
    let result = run("ec2-bundle-vol", &arguments);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let arguments = ["-P", "gpt", "--use-volume-tools", "--no-filter"];
    let result = clone_volume(&root, destination.path(), &arguments);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
}

#[test]
fn finding_07_attributes_that_cannot_be_listed_end_no_run() {
    let volume = Mount::new("300M", "mkfs.xfs -q");
    let root = volume.path();
    fill(&root);
    // 400 names of some 200 bytes exceed XATTR_LIST_MAX.
    let _ = shell(
        "echo x > many; setfacl -m u:1234:r many; for i in $(seq 400); do n=$(printf '%0200d' $i); setfattr -n user.$n -v x many; done",
        &root,
    );
    let destination = folder();
    let result = clone_volume(&root, destination.path(), &["-s", "310", "--no-filter"]);
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert_eq!(
        result.stderr,
        "1 file has extended attributes that the image's file system does not take, or more than can be listed: /many\n"
    );
    let image = Mount::of_image(&destination.path().join("image"), 0, ",nouuid");
    let acl = shell("getfacl -nc many", &image.path());
    assert!(acl.contains("user:1234:r--"), "{acl}");
}

#[test]
fn finding_07_attributes_that_do_not_fit_end_no_run() {
    // Its image gets smaller nodes, of 16 KiB.
    let volume = Mount::new("256M", "mkfs.btrfs -q -n 65536");
    let root = volume.path();
    let set = "import os; os.setxattr('many', 'user.large', b'v' * 20000); os.setxattr('many', 'user.small', b'v')";
    let _ = shell(
        &format!("echo x > many; python3 -c \"{set}\"; echo y > other"),
        &root,
    );
    let destination = folder();
    let arguments = ["--no-filter", "-s", "256"];
    let result = clone_volume(&root, destination.path(), &arguments);
    drop(volume);
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert!(
        result.stderr.ends_with(
            "1 file has extended attributes that the image's file system does not take, or more than can be listed: /many\n"
        ),
        "{}",
        result.stderr
    );
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(
        fs::read_to_string(image.path().join("other")).unwrap(),
        "y\n"
    );
}

#[test]
fn finding_07_what_the_image_cannot_hold_is_foreseen_and_named() {
    // By default, the image would get blocks of 1 KiB, which limit files to 4 TiB.
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4 -b 4096");
    let _ = shell("truncate -s 5T large; echo x > other", &volume.path());
    let destination = folder();
    let result = clone_volume(&volume.path(), destination.path(), &[]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(
        image.path().join("large").metadata().unwrap().len(),
        5 << 40
    );
    drop(image);
    // An unknown file system becomes ext4.
    let xfs = Mount::new("300M", "mkfs.xfs -q");
    let other = folder();
    let _ = shell(
        &format!(
            "cd '{xfs}'; mkdir lower empty; truncate -s 20T lower/large; cd lower; ln large linked; echo x > other; ln other another
             mount -t overlay none -o lowerdir='{xfs}/lower:{xfs}/empty' '{other}'",
            xfs = xfs.path().display(),
            other = other.path().display()
        ),
        Path::new("/"),
    );
    let path = other.path().to_str().unwrap();
    let dry = run(
        "ec2-bundle-vol",
        &[
            "--dry-run",
            "-v",
            path,
            "-d",
            destination.path().to_str().unwrap(),
        ],
    );
    let result = clone_volume(other.path(), destination.path(), &["-p", "tmp"]);
    let _ = shell(&format!("umount '{path}'"), Path::new("/"));
    assert!(
        dry.stdout
            .contains("Too large for the image's file system, and left out: /large\n"),
        "{} {}",
        dry.stdout,
        dry.stderr
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert!(
        result.stderr.contains(
            "2 files were left out, because the image's file system cannot hold such files"
        ),
        "{}",
        result.stderr
    );
    let image = Mount::of_image(&destination.path().join("tmp"), 0, "");
    assert_eq!(
        names(&image.path()),
        [
            "another",
            "dev",
            "lost+found",
            "mnt",
            "other",
            "proc",
            "sys"
        ]
    );
}

#[test]
fn finding_07_a_lease_ends_no_run() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    fs::write(root.join("leased"), "text").unwrap();
    // Gives up the lease some time after it was asked to.
    let holder = "import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open('leased', os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
while fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK: time.sleep(0.01)
time.sleep(0.3)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
open('given-up', 'w').close()
time.sleep(1000)";
    let mut holder = Command::new("python3")
        .args(["-c", holder])
        .current_dir(&root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    let destination = folder();
    let result = clone_volume(&root, destination.path(), &["--no-filter"]);
    let was_asked = root.join("given-up").exists();
    holder.kill().unwrap();
    let _ = holder.wait().unwrap();
    assert!(was_asked);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(
        fs::read_to_string(image.path().join("leased")).unwrap(),
        "text"
    );
}

#[test]
fn finding_07_a_busy_volume_becomes_an_image_with_all_that_nobody_touched() {
    for seed in 0..10 {
        run_once(seed);
    }
}

#[test]
fn finding_08_a_volumes_programs_run_only_if_asked_for_and_harm_nobody() {
    let outside = folder();
    let target = outside.path().join("written");
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    // It tries to write to this machine, to gain privileges, and to make the next program, or this run, write through links; what it could
    // see is in the core image.
    with_grub(
        &root,
        &format!(
            "touch /dev/ran
             for root in /proc/1/root /proc/1/cwd /proc/*/root /..; do echo bad > $root{target}; done 2> /dev/null
             echo bad > /etc/hostname; mkdir /proc/made; mknod /dev/sda b 8 0; mount -t tmpfs none /mnt; chroot /mnt; kill -9 -1
             ln -s {target} /dev/disk; ln -s {target} /dev/more
             (for file in /proc/[0-9]*/status; do cat $file; done; cat /proc/net/dev; ls /dev) > /dev/core.img",
            target = target.display()
        ),
    );
    for program in [
        "/usr/bin/cat",
        "/usr/bin/ls",
        "/usr/bin/touch",
        "/usr/bin/ln",
        "/usr/bin/mknod",
        "/usr/bin/mount",
        "/usr/bin/mkdir",
    ] {
        install(program, &root);
    }
    let destination = folder();
    let volume_path = root.to_str().unwrap();
    let destination_path = destination.path().to_str().unwrap();
    let dry = [
        "--dry-run",
        "-P",
        "mbr",
        "-v",
        volume_path,
        "-d",
        destination_path,
    ];
    let shown = run("ec2-bundle-vol", &dry);
    // The plan is shown as far as it is known.
    assert!(
        shown.stdout.contains("\nBoot loader:  none was found\n"),
        "{}",
        shown.stdout
    );
    let tried = clone_volume(&root, destination.path(), &["-P", "mbr"]);
    assert_eq!(tried.stdout, "");
    for result in [shown, tried] {
        assert_eq!(result.code, 1);
        assert!(
            result.stderr.starts_with("ERROR: grub-mkimage is not on this machine, and programs of the volume ")
                && result.stderr.contains("install it (Debian: grub-common; Red Hat: grub2-tools-minimal), or, if you trust the volume, give --use-volume-tools"),
            "{}",
            result.stderr
        );
    }
    // --dry-run runs none of the volume's programs, although it would need one to check the core image.
    let _ = shell(
        "cp usr/bin/grub-mkimage kept; printf '#!/bin/sh\\nexit 1\\n' > usr/bin/grub-mkimage",
        &root,
    );
    let result = run(
        "ec2-bundle-vol",
        &[&dry[..], &["--use-volume-tools"]].concat(),
    );
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let _ = shell("mv kept usr/bin/grub-mkimage", &root);
    let arguments = ["-P", "mbr", "--use-volume-tools", "--no-filter"];
    let result = clone_volume(&root, destination.path(), &arguments);
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert_eq!(names(outside.path()), [""; 0]);
    assert_eq!(
        fs::read_to_string(root.join("etc/hostname")).unwrap(),
        "host\n"
    );
    // After the partition table, in the core image's first sector and beyond.
    let image = fs::read(destination.path().join("image")).unwrap();
    let core = String::from_utf8_lossy(&image[512..1 << 20]);
    for line in [
        "CapPrm:\t0000000000000000\n",
        "CapEff:\t0000000000000000\n",
        "CapBnd:\t0000000000000000\n",
        "NoNewPrivs:\t1\n",
        "\ncore.img\ndisk\nmore\nnull\nran\nzero\n",
    ] {
        assert!(core.contains(line), "{line}: {core}");
    }
    assert_eq!(core.matches("\nPid:\t1\n").count(), 1, "{core}");
    for other in ["ec2-bundle-vol", "eth0"] {
        assert!(!core.contains(other), "{other}: {core}");
    }
    assert_no_trace(destination.path());
}

#[test]
fn finding_17_a_mount_below_a_folder_that_is_renamed_is_copied() {
    let volume = Mount::new("32M", "mke2fs -q -F -t ext4");
    let below = Mount::new("8M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    fs::write(below.path().join("seen"), "seen\n").unwrap();
    let _ = shell(
        &format!(
            "mkdir -p srv/a/data srv/b/data; mount --bind '{}' srv/a/data",
            below.path().display()
        ),
        &root,
    );
    let swapper = "import ctypes
libc = ctypes.CDLL(None)
while True: libc.renameat2(-100, b'srv/a', -100, b'srv/b', 2)";
    let mut swapper = Command::new("python3")
        .args(["-c", swapper])
        .current_dir(&root)
        .spawn()
        .unwrap();
    let destination = folder();
    let arguments = ["--no-filter", "-s", "16"];
    let results: Vec<_> = (0..20)
        .map(|round| {
            let name = round.to_string();
            let more = [&arguments[..], &["-p", &name]].concat();
            (clone_volume(&root, destination.path(), &more), name)
        })
        .collect();
    swapper.kill().unwrap();
    let _ = swapper.wait().unwrap();
    let _ = shell("umount srv/a/data 2> /dev/null || umount srv/b/data", &root);
    for (result, name) in results {
        assert_eq!(result.code, 0, "{}", result.stderr);
        let image = Mount::of_image(&destination.path().join(name), 0, "");
        let has = |path: &str| image.path().join(path).exists();
        // Under either of its folder's names, or both; or the run reports that it vanished.
        assert!(
            has("srv/a/data/seen") || has("srv/b/data/seen") || result.stderr.contains("/srv/"),
            "{}",
            result.stderr
        );
    }
    assert_no_trace(destination.path());
}

#[test]
fn finding_25c_a_script_sees_the_table_of_file_systems_and_may_change_it() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let (destination, work) = (folder(), folder());
    let _ = shell(
        "printf '#!/bin/sh\\ncp \"$1/etc/fstab\" \"$1/seen\"; echo changed >> \"$1/etc/fstab\"\\n' > s; chmod +x s; echo '/dev/x / ext4 defaults 0 0' > table",
        work.path(),
    );
    let at = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let arguments = ["-S", &at("s"), "--fstab", &at("table")];
    let result = clone_volume(&volume.path(), destination.path(), &arguments);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let table = result
        .stdout
        .find("/etc/fstab:\n\t /dev/x / ext4 defaults 0 0\n");
    let script = result.stdout.find("Customizing cloned volume mounted at ");
    assert!(table.is_some() && table < script, "{}", result.stdout);
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    let read = |path: &str| fs::read_to_string(image.path().join(path)).unwrap();
    assert_eq!(
        [read("seen"), read("etc/fstab")],
        [
            "/dev/x / ext4 defaults 0 0\n",
            "/dev/x / ext4 defaults 0 0\nchanged\n"
        ]
    );
}

#[test]
fn finding_25d_the_generated_table_for_i386_is_the_older_suites() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let destination = folder();
    let result = clone_volume(
        &volume.path(),
        destination.path(),
        &["--generate-fstab", "-r", "i386"],
    );
    assert_eq!(result.code, 0);
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(
        shell(
            "awk '{print $1, $2, $3, $4, $5, $6}' etc/fstab",
            &image.path()
        ),
        "/dev/sda1 / ext3 defaults 1 1\n/dev/sda2 /mnt ext3 defaults 0 0\n/dev/sda3 swap swap defaults 0 0\n\
         none /proc proc defaults 0 0\nnone /sys sysfs defaults 0 0"
    );
}

#[test]
fn finding_25o_the_private_key_is_never_copied_into_the_image() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    let _ = fs::copy(key("user2048.key"), root.join("tmp/key")).unwrap();
    let _ = shell("ln tmp/key etc/other; ln -s /tmp/key etc/link", &root);
    let destination = folder();
    let arguments = [
        "--no-filter",
        "-k",
        root.join("tmp/key").to_str().unwrap(),
        "-i",
        "/etc/other",
    ]
    .map(str::to_owned);
    let mut all = bundling_volume(&root, destination.path());
    all.extend(arguments);
    let result = run("ec2-bundle-vol", &all);
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (
            0,
            "Left out the private key, which is never copied into an image: /etc/other, /tmp/key\n"
        )
    );
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    assert_eq!(names(&image.path().join("tmp")), [""; 0]);
    assert_eq!(
        names(&image.path().join("etc")),
        ["fstab", "hostname", "link"]
    );
    let found = shell_with_path("grep -rl 'PRIVATE KEY' . || true", &image.path());
    assert_eq!(found, "");
    drop(image);
    all.push("--dry-run".to_owned());
    let dry = run("ec2-bundle-vol", &all);
    assert!(
        dry.stdout.ends_with("\nLeft out the private key, which is never copied into an image: /etc/other, /tmp/key\n"),
        "{}",
        dry.stdout
    );
}
