//! Boot modes and architectures.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use ami_disk::{Architecture, BootModes, Unread};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use crate::image::Disk;

/// A part of a file, as a file.
struct Part {
    file: File,
    start: u64,
    length: u64,
    position: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = (self.length - self.position).min(buffer.len() as u64) as usize;
        let read = self
            .file
            .read_at(&mut buffer[..rest], self.start + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for Part {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let rest = (self.length - self.position).min(buffer.len() as u64) as usize;
        let written = self
            .file
            .write_at(&buffer[..rest], self.start + self.position)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.position = position.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Makes FAT at 1 MiB, with those files in it.
fn add_fat(disk: &Disk, length: u64, width: FatType, files: &[(&str, Vec<u8>)]) {
    let part = || Part {
        file: File::options()
            .read(true)
            .write(true)
            .open(disk.path())
            .unwrap(),
        start: 1 << 20,
        length,
        position: 0,
    };
    fatfs::format_volume(part(), FormatVolumeOptions::new().fat_type(width)).unwrap();
    let fs = FileSystem::new(part(), FsOptions::new()).unwrap();
    for (path, contents) in files {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = fs.root_dir();
        for below in folders.split('/').filter(|folder| !folder.is_empty()) {
            folder = folder.create_dir(below).unwrap();
        }
        let mut file = folder.create_file(name).unwrap();
        file.write_all(contents).unwrap();
    }
}

/// The beginning of an EFI program for that machine.
fn efi(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 3000];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    bytes
}

const UEFI: BootModes = BootModes {
    bios: false,
    uefi: true,
};
const BIOS: BootModes = BootModes {
    bios: true,
    uefi: false,
};
const NEITHER: BootModes = BootModes {
    bios: false,
    uefi: false,
};

#[test]
fn an_efi_system_partition_with_a_program_boots_uefi() {
    let table = |label: &str, kind: &str| {
        format!("printf 'label: {label}\\nsize=70M, type={kind}\\n' | sfdisk -q disk")
    };
    let found = |script: &str, width, files: &[(&str, Vec<u8>)]| {
        let disk = Disk::new("80M", script);
        let length = if width == FatType::Fat12 {
            4 << 20
        } else {
            70 << 20
        };
        add_fat(&disk, length, width, files);
        let survey = disk.survey();
        assert_eq!(survey.free, []);
        (survey.boot, survey.architecture)
    };
    let gpt = table("gpt", "U");
    for (width, machine, path, architecture) in [
        (
            FatType::Fat12,
            0x8664,
            "EFI/BOOT/BOOTX64.EFI",
            Architecture::X86_64,
        ),
        (
            FatType::Fat16,
            0xAA64,
            "EFI/debian/grubaa64.efi",
            Architecture::Arm64,
        ),
        (
            FatType::Fat32,
            0x14C,
            "efi/A vendor of long names/shim in version 15.efi",
            Architecture::I386,
        ),
    ] {
        let found = found(
            &gpt,
            width,
            &[("EFI/BOOT/fbx.csv", vec![1]), (path, efi(machine))],
        );
        assert_eq!(found, (UEFI, Some(architecture)), "{path}");
    }
    let program = ("EFI/BOOT/BOOTX64.EFI", efi(0x8664));
    let other = ("EFI/BOOT/BOOTAA64.EFI", efi(0xAA64));
    let both = found(
        &table("dos", "ef"),
        FatType::Fat16,
        &[program.clone(), other],
    );
    assert_eq!(both, (UEFI, None));
    // Not in an EFI system partition; not below /EFI; no program.
    let nothing = (NEITHER, None);
    assert_eq!(
        found(&table("dos", "c"), FatType::Fat16, &[program]),
        nothing
    );
    assert_eq!(
        found(&gpt, FatType::Fat16, &[("BOOTX64.EFI", efi(0x8664))]),
        nothing
    );
    assert_eq!(
        found(
            &gpt,
            FatType::Fat16,
            &[("EFI/BOOT/BOOTX64.EFI", vec![7; 999])]
        ),
        nothing
    );
}

#[test]
fn a_boot_loader_with_the_rest_of_it_boots_bios() {
    let boots = |script: &str| Disk::new("16M", script).survey().boot;
    let write = |what: &str, at: u64| {
        format!("printf '{what}' | dd of=disk bs=1 seek={at} conv=notrunc status=none;")
    };
    let dos = "printf 'label: dos\\nsize=4M, bootable\\n' | sfdisk -q disk;";
    let gpt = "printf 'label: gpt\\nsize=1M, type=21686148-6449-6E6F-744E-656564454649\\nsize=4M\\n' | sfdisk -q disk;";
    let (grub, other) = (write("\\353c...GRUB ", 0), write("\\372\\270", 0));
    let sector = write("\\353x", 1 << 20) + &write("\\125\\252", (1 << 20) + 510);
    assert_eq!(boots(dos), NEITHER);
    assert_eq!(boots(&format!("{dos}{grub}")), BIOS);
    // As parted writes it: it starts the active partition, which has nothing to start.
    assert_eq!(boots(&format!("{dos}{other}")), NEITHER);
    assert_eq!(boots(&format!("{dos}{other}{sector}")), BIOS);
    assert_eq!(boots(&format!("{dos}{sector}")), NEITHER);
    assert_eq!(boots(&format!("{gpt}{grub}")), NEITHER);
    assert_eq!(boots(&format!("{gpt}{grub}{sector}")), BIOS);
    assert_eq!(boots(&format!("{gpt}{sector}")), NEITHER);
    let bare = "mke2fs -q -F disk;";
    assert_eq!(boots(bare), NEITHER);
    assert_eq!(
        boots(&format!("{bare}{grub}{}", write("\\125\\252", 510))),
        BIOS
    );
}

/// The beginning of an ELF program for that machine.
fn elf(machine: u8) -> String {
    format!("\\177ELF\\001\\001\\001\\0\\0\\0\\0\\0\\0\\0\\0\\0\\002\\0\\{machine:03o}\\0")
}

#[test]
fn programs_tell_the_architecture() {
    let found = |options: &str, script: &str| {
        let disk = Disk::new(
            "16M",
            &format!("mkdir root; cd root; {script}; cd ..; mke2fs -q -F {options} -d root disk"),
        );
        disk.survey().architecture
    };
    for (options, machine, architecture) in [
        ("-t ext4", 62, Architecture::X86_64),
        (
            "-t ext4 -O ^metadata_csum,uninit_bg,^64bit",
            183,
            Architecture::Arm64,
        ),
        ("-t ext3", 3, Architecture::I386),
        ("-t ext2 -b 1024", 62, Architecture::X86_64),
    ] {
        // Links lead on, from the root of the image, and nowhere else.
        let script = format!(
            "mkdir -p usr/lib/systemd usr/bin; ln -s usr/lib lib; ln -s usr/bin bin; ln -s usr/bin sbin
            ln -s ../lib/systemd/systemd usr/bin/init; ln -s /usr/bin/dash usr/bin/sh
            printf '{elf}' > usr/lib/systemd/systemd; printf '{elf}' > usr/bin/dash",
            elf = elf(machine)
        );
        assert_eq!(found(options, &script), Some(architecture), "{options}");
    }
    let init =
        |machine, name: &str| format!("mkdir -p bin sbin; printf '{}' > {name}", elf(machine));
    let two = format!("{}; {}", init(62, "bin/sh"), init(3, "sbin/init"));
    assert_eq!(found("-t ext4", &two), None);
    assert_eq!(
        found(
            "-t ext4",
            "mkdir bin; ln -s sh bin/sh; echo '#!' > bin/mount"
        ),
        None
    );
    let kernel = "mkdir boot; printf 'MZ' > boot/vmlinuz-6; truncate -s 60 boot/vmlinuz-6; printf '\\100\\0\\0\\0PE\\0\\0\\144\\252' >> boot/vmlinuz-6";
    assert_eq!(found("-t ext4", kernel), Some(Architecture::Arm64));
    let user = format!("{}; {kernel}", init(62, "bin/sh"));
    assert_eq!(found("-t ext4", &user), Some(Architecture::X86_64));
}

#[test]
fn programs_are_found_though_the_journal_has_to_be_replayed() {
    let disk = Disk::new(
        "64M",
        &format!(
            "mkdir -p root/bin; printf '{}' > root/bin/sh; mke2fs -q -F -t ext4 -d root disk",
            elf(183)
        ),
    );
    let _ = disk.mounted("", "touch m/file; sync -f m; cp --sparse=always disk copy");
    let _ = disk.sh("mv copy disk");
    assert!(matches!(disk.unread(), Unread::Dirty(_)));
    assert_eq!(disk.survey().architecture, Some(Architecture::Arm64));
}

#[test]
fn modules_tell_whether_there_is_a_network_driver() {
    let found = |lists: &str| {
        let script = format!(
            "mkdir -p root/lib/modules/6.1 root/lib/modules/6.2; cd root/lib/modules; {lists} cd ../../..
             mke2fs -q -t ext4 -d root disk"
        );
        Disk::new("16M", &script).survey().has_ena
    };
    for (lists, expected) in [
        ("true;", None),
        ("echo kernel/net/xen.ko: > 6.1/modules.dep;", Some(false)),
        (
            "seq 100000 > 6.1/modules.dep; echo kernel/drivers/net/ethernet/amazon/ena/ena.ko.xz: > 6.2/modules.dep;",
            Some(true),
        ),
        (
            "seq 100000 > 6.1/modules.dep; echo kernel/drivers/net/ethernet/amazon/ena/ena.ko >> 6.1/modules.builtin;",
            Some(true),
        ),
        ("echo kernel/lena.ko: > 6.1/modules.dep;", Some(false)),
    ] {
        assert_eq!(found(lists), expected, "{lists}");
    }
}

#[test]
fn links_are_followed_inside_the_file_system() {
    let found = |links: &str| {
        let script = format!(
            "mkdir -p root/real/deep; printf '{}' > root/real/deep/program; cd root; {links}; cd ..; mke2fs -q -t ext4 -d root disk",
            elf(183)
        );
        Disk::new("16M", &script).survey().architecture
    };
    let long = "././".repeat(30);
    for (links, is_found) in [
        ("mkdir bin; ln -s ../real/deep/program bin/sh", true),
        ("mkdir bin; ln -s /real/deep/program bin/sh", true),
        (
            "mkdir bin; ln -s ../../../../real//deep/./program bin/sh",
            true,
        ),
        (
            "ln -s real/deep bin; ln -s program real/deep/other; ln -s ../deep/other real/deep/sh",
            true,
        ),
        (
            &format!("mkdir bin; ln -s {long}../real/deep/program bin/sh"),
            true,
        ),
        ("mkdir bin; ln -s sh bin/sh", false),
        ("mkdir bin; ln -s .. bin/sh", false),
        ("mkdir bin; ln -s /nowhere bin/sh", false),
    ] {
        let expected = is_found.then_some(Architecture::Arm64);
        assert_eq!(found(links), expected, "{links}");
    }
}

/// Whoever believed the numbers would ask for terabytes of memory, and be ended.
#[test]
fn memory_is_not_taken_for_what_a_disk_only_claims_to_have() {
    let disk = |options: &str, more: &str| {
        let long = "./".repeat(50);
        let script = format!(
            "mkdir -p root/bin root/sbin; printf '{}' > root/bin/sh; ln -s {long}../bin/sh root/sbin/init
             mke2fs -q -F -t ext4 {options} -d root disk; {more}",
            elf(183)
        );
        Disk::new("16M", &script).survey().architecture
    };
    // The link to the program has 32 TiB.
    let link = "debugfs -w -R 'set_inode_field /sbin/init size 0x200000000000' disk 2> log";
    assert_eq!(disk("", link), Some(Architecture::Arm64));
    // The higher half of the number of blocks, which does not count without the feature `64bit`.
    let blocks = r"printf '\377\377\17\0' | dd of=disk bs=1 seek=1360 conv=notrunc status=none";
    let options = "-O ^64bit,^metadata_csum";
    assert_eq!(disk(options, blocks), Some(Architecture::Arm64));
}
