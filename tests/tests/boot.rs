//! Images boot: `ec2-bundle-vol` and `ec2-unbundle` process a Debian, and QEMU starts the resulting image. `make test-boot` runs these
//! tests, which take minutes and need root, QEMU and the root file system of `scripts/boot-root`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::mounts::Mount;
use end_to_end::traces::assert_no_trace;
use end_to_end::{Outcome, bundling_volume, clone_volume, folder, key, outcome, run, shell};

/// What a unit on the volume prints on the serial console before it switches the machine off.
const MARKER: &str = "IMAGE-HAS-BOOTED";

/// A boot takes half a minute under software emulation. This leaves room for a busy machine.
const SECONDS: &str = "900";

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    let cache = std::env::var_os("AMI_BOOT_CACHE").map_or_else(
        || Path::new(&home).join(".cache/ami-tools/boot"),
        PathBuf::from,
    );
    assert!(
        cache.join("root").is_dir(),
        "{} has no root file system: run scripts/boot-root, or make test-boot",
        cache.display()
    );
    cache
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loader {
    Grub2,
    Legacy,
    /// The kernel is started from outside, as on a paravirtual instance.
    Outside,
}

/// A volume with Debian, like an instance's. On btrfs, the root is a subvolume.
struct Volume {
    whole: Mount,
    subvolume: Option<tempfile::TempDir>,
}

impl Volume {
    fn new(mkfs: &str, loader: Loader) -> Self {
        let whole = Mount::new("2G", mkfs);
        let is_btrfs = mkfs.contains("btrfs");
        let subvolume = is_btrfs.then(|| {
            let at = folder();
            let script = format!(
                "btrfs -q subvolume create '{whole}/@rootfs'
                 mount -o subvol=@rootfs \"$(findmnt -n -o SOURCE '{whole}' | sed 's/\\[.*//')\" .",
                whole = whole.path().display()
            );
            let _ = shell(&script, at.path());
            at
        });
        let volume = Self { whole, subvolume };
        let (prefix, arguments) = if is_btrfs {
            ("/@rootfs", " rootflags=subvol=@rootfs")
        } else {
            ("", "")
        };
        let legacy = if loader == Loader::Legacy {
            "rsync -aK \"$cache/legacy/\" .; rm -r usr/lib/grub/i386-pc"
        } else {
            ""
        };
        let script = format!(
            r#"cache='{cache}'; export PATH=$PATH:/usr/sbin:/sbin
            rsync -aHAX --numeric-ids "$cache/root/" .
            {legacy}
            uuid=$(blkid -p -o value -s UUID '{device}')
            echo "UUID=$uuid / auto defaults 0 1" > etc/fstab
            cat > etc/systemd/system/marker.service <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/sh -c 'echo; echo {MARKER} $(findmnt -n -o SOURCE,FSTYPE /); systemctl --no-block poweroff'
[Install]
WantedBy=multi-user.target
UNIT
            mkdir -p etc/systemd/system/multi-user.target.wants boot/grub
            ln -s ../marker.service etc/systemd/system/multi-user.target.wants/
            kernel=$(cd boot; echo vmlinuz-*) initrd=$(cd boot; echo initrd.img-*)
            command="root=UUID=$uuid ro console=ttyS0{arguments}"
            if [ '{is_legacy}' = true ]; then
                printf 'timeout 0\nserial\nterminal serial\ntitle Debian\nroot (hd0,0)\nkernel /boot/%s %s\ninitrd /boot/%s\n' \
                    "$kernel" "$command" "$initrd" > boot/grub/menu.lst
            else
                cat > boot/grub/grub.cfg <<CONFIGURATION
serial
terminal_input serial
terminal_output serial
set timeout=0
search --no-floppy --fs-uuid --set=root $uuid
menuentry Debian {{
    linux {prefix}/boot/$kernel $command
    initrd {prefix}/boot/$initrd
}}
CONFIGURATION
            fi"#,
            cache = cache().display(),
            device = volume.whole.file().display(),
            is_legacy = loader == Loader::Legacy,
        );
        let _ = shell(&script, &volume.path());
        volume
    }

    fn path(&self) -> PathBuf {
        match &self.subvolume {
            Some(at) => at.path().to_owned(),
            None => self.whole.path(),
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Some(at) = &self.subvolume {
            let _ = shell(&format!("umount '{}'", at.path().display()), Path::new("/"));
        }
    }
}

/// Starts a machine with an image as its disk, and returns what it printed.
fn start(image: &Path, more: &[String]) -> String {
    let mut qemu = Command::new("timeout");
    let _ = qemu
        .args([
            SECONDS,
            "qemu-system-x86_64",
            "-machine",
            "pc,accel=tcg",
            "-cpu",
            "max",
            "-m",
            "768",
            "-nographic",
            "-no-reboot",
        ])
        .args(["-net", "none", "-drive"])
        .arg(format!(
            "file={},format=raw,if=virtio,snapshot=on",
            image.display()
        ))
        .args(more)
        .stdin(Stdio::null());
    let Outcome { stdout, stderr, .. } = outcome(&mut qemu);
    format!("{stdout}{stderr}")
}

/// Bundles a volume, unbundles it, boots it, and checks its root.
fn assert_boots(mkfs: &str, partition: &str, loader: Loader, root: &str) {
    let volume = Volume::new(mkfs, loader);
    let (bundle, unbundled) = (folder(), folder());
    let mut arguments = bundling_volume(&volume.path(), bundle.path());
    arguments.extend(
        [
            "-s",
            "2048",
            "-P",
            partition,
            "--no-keep-image",
            "--no-filter",
            "--use-volume-tools",
        ]
        .map(str::to_owned),
    );
    let result = run("ec2-bundle-vol", &arguments);
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (0, ""),
        "{}",
        result.stdout
    );
    assert_no_trace(bundle.path());
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let result = run(
        "ec2-unbundle",
        &[
            "-k",
            &path(&key("user2048.key")),
            "-m",
            &path(&bundle.path().join("image.manifest.xml")),
            "-s",
            &path(bundle.path()),
            "-d",
            &path(unbundled.path()),
        ],
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    let more = if loader == Loader::Outside {
        let _ = shell(
            &format!(
                "cp '{}'/boot/vmlinuz-* kernel; cp '{}'/boot/initrd.img-* initrd",
                volume.path().display(),
                volume.path().display()
            ),
            bundle.path(),
        );
        let file = |name: &str| path(&bundle.path().join(name));
        [
            "-kernel",
            &file("kernel"),
            "-initrd",
            &file("initrd"),
            "-append",
            "root=/dev/vda ro console=ttyS0",
        ]
        .map(str::to_owned)
        .into()
    } else {
        Vec::new()
    };
    let printed = start(&unbundled.path().join("image"), &more);
    // A login prompt may precede it in its line.
    let marked = |line: &'_ str| line.find(MARKER).map(|at| line[at..].trim().to_owned());
    assert_eq!(
        printed.lines().find_map(marked),
        Some(format!("{MARKER} {root}")),
        "{printed}"
    );
}

#[test]
#[ignore = "takes minutes: make test-boot"]
fn grub_2_starts_an_mbr_image_on_ext4() {
    assert_boots(
        "mke2fs -q -F -t ext4 -L debian",
        "mbr",
        Loader::Grub2,
        "/dev/vda1 ext4",
    );
}

#[test]
#[ignore = "takes minutes: make test-boot"]
fn grub_2_starts_a_gpt_image_on_ext4() {
    assert_boots(
        "mke2fs -q -F -t ext4 -L debian",
        "gpt",
        Loader::Grub2,
        "/dev/vda1 ext4",
    );
}

#[test]
#[ignore = "takes minutes: make test-boot"]
fn grub_2_starts_a_gpt_image_on_xfs() {
    assert_boots("mkfs.xfs -q", "gpt", Loader::Grub2, "/dev/vda1 xfs");
}

#[test]
#[ignore = "takes minutes: make test-boot"]
fn grub_2_starts_an_mbr_image_on_btrfs() {
    assert_boots(
        "mkfs.btrfs -q -L debian",
        "mbr",
        Loader::Grub2,
        "/dev/vda1[/@rootfs] btrfs",
    );
}

#[test]
#[ignore = "takes minutes: make test-boot"]
fn grub_legacy_starts_an_mbr_image_on_ext4() {
    assert_boots(
        "mke2fs -q -F -t ext4 -L debian",
        "mbr",
        Loader::Legacy,
        "/dev/vda1 ext4",
    );
}

#[test]
#[ignore = "takes minutes: make test-boot"]
fn an_image_without_partitions_starts_with_a_kernel_from_outside() {
    assert_boots(
        "mke2fs -q -F -t ext4 -L debian",
        "none",
        Loader::Outside,
        "/dev/vda ext4",
    );
}

#[test]
#[ignore = "needs scripts/boot-root: make test-boot"]
fn a_grub_legacy_that_cannot_read_gpt_is_found_out_before_the_copy() {
    let volume = Volume::new("mke2fs -q -F -t ext4", Loader::Legacy);
    let destination = folder();
    let result = clone_volume(
        &volume.path(),
        destination.path(),
        &["-s", "2048", "-P", "gpt", "--use-volume-tools"],
    );
    assert_eq!((result.code, result.stdout.as_str()), (1, ""));
    assert_eq!(
        result.stderr,
        "ERROR: the volume's GRUB Legacy cannot start gpt images with ext4 (Filesystem type unknown, partition type 0xee); \
         use --partition mbr, or install GRUB 2 on the volume\n"
    );
    assert_no_trace(destination.path());
}

#[test]
#[ignore = "needs scripts/boot-root: make test-boot"]
fn a_boot_configuration_that_names_another_root_is_warned_of() {
    let volume = Volume::new("mke2fs -q -F -t ext4", Loader::Grub2);
    let _ = shell(
        "sed -i 's/root=UUID=[^ ]*/root=UUID=0dead-beef/' boot/grub/grub.cfg",
        &volume.path(),
    );
    let destination = folder();
    let result = clone_volume(
        &volume.path(),
        destination.path(),
        &[
            "-s",
            "2048",
            "-P",
            "gpt",
            "--no-filter",
            "--use-volume-tools",
        ],
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    let line = fs::read_to_string(volume.path().join("boot/grub/grub.cfg")).unwrap();
    let line = line
        .lines()
        .find(|line| line.contains("0dead-beef"))
        .unwrap()
        .trim()
        .to_owned();
    assert!(
        result.stderr.starts_with(&format!(
            "WARNING: /boot/grub/grub.cfg, line 7: {line} - this is not the image's root"
        )),
        "{}",
        result.stderr
    );
    assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
}
