//! What kind of file system is on a device, read from its superblock.
//!
//! | file system | where | reference |
//! |---|---|---|
//! | ext2, ext3, ext4 | at 1024, little-endian | kernel, Documentation/filesystems/ext4/super.rst |
//! | xfs | at 0, big-endian | kernel, fs/xfs/libxfs/xfs_format.h |
//! | btrfs | at 65536, little-endian | kernel, include/uapi/linux/btrfs_tree.h |

use std::io::{self, Read};

use uuid::Uuid;

/// How much of a device is looked at, in bytes.
pub const LENGTH: usize = (64 << 10) + 4096;

/// The size of a block where it is not known, in bytes: that of a page.
pub(crate) const DEFAULT_BLOCK: u32 = 4096;

const EXT: usize = 1024;
const BTRFS: usize = 64 << 10;

/// A file system's kind, with what its twin needs to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4.
    Ext {
        /// `ext2`, `ext3` or `ext4`: by its features, not by the driver that has it mounted.
        name: &'static str,
        /// mke2fs's names of the features that it has, less those that only say what is going on.
        features: Vec<&'static str>,
        /// In bytes.
        inode_size: u16,
        /// In bytes.
        block_size: u32,
    },
    /// xfs.
    Xfs {
        /// mkfs.xfs's option and name of each feature, from the oldest to the newest, and whether it has it.
        features: Vec<(&'static str, &'static str, bool)>,
    },
    /// btrfs.
    Btrfs,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// What kind it is.
    pub kind: Kind,
    /// Empty if it has none.
    pub label: String,
    /// In its usual form, with hyphens.
    pub uuid: String,
}

/// mke2fs's names for the bits of s_feature_compat, s_feature_incompat and s_feature_ro_compat (e2fsprogs, ext2_fs.h).
const COMPAT: &[(u32, &str)] = &[
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x200, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];
// Not here, for a copy has nothing of it: recover (0x4), journal_dev (0x8), mmp (0x100), encrypt (0x10000), casefold (0x20000).
const INCOMPAT: &[(u32, &str)] = &[
    (0x2, "filetype"),
    (0x10, "meta_bg"),
    (EXTENT, "extent"),
    (SIXTY_FOUR_BIT, "64bit"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x2000, "metadata_csum_seed"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
];
// Not here: snapshot (0x80), read-only (0x1000), shared_blocks (0x4000), verity (0x8000), orphan_present (0x10000).
const RO_COMPAT: &[(u32, &str)] = &[
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x400, "metadata_csum"),
    (0x2000, "project"),
];
const HAS_JOURNAL: u32 = 0x4;
const EXTENT: u32 = 0x40;
const SIXTY_FOUR_BIT: u32 = 0x80;

impl Superblock {
    /// Reads a device from its beginning.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn read(device: impl Read) -> io::Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(LENGTH);
        let _ = device.take(LENGTH as u64).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes))
    }

    /// Reads the first [`LENGTH`] bytes of a device; `None` if there is no file system that is known here.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        ext(bytes).or_else(|| xfs(bytes)).or_else(|| btrfs(bytes))
    }

    /// The name of the kind: `ext4`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ext { name, .. } => name,
            Kind::Xfs { .. } => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    /// Whether it has ext4's 64bit feature, which GRUB Legacy and PV-GRUB cannot read.
    pub fn is_64bit(&self) -> bool {
        matches!(&self.kind, Kind::Ext { features, .. } if features.contains(&"64bit"))
    }
}

fn ext(bytes: &[u8]) -> Option<Superblock> {
    let block = bytes.get(EXT..EXT + 1024)?;
    let u16_at = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let u32_at =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    if u16_at(0x38) != 0xEF53 {
        return None;
    }
    let [compat, incompat, ro_compat] = [0x5C, 0x60, 0x64].map(u32_at);
    let name = match (compat & HAS_JOURNAL, incompat & (EXTENT | SIXTY_FOUR_BIT)) {
        (0, 0) => "ext2",
        (_, 0) => "ext3",
        _ => "ext4",
    };
    let named = |bits: u32, names: &'static [(u32, &'static str)]| {
        names
            .iter()
            .filter(move |(bit, _)| bits & bit != 0)
            .map(|(_, name)| *name)
    };
    let features = named(compat, COMPAT)
        .chain(named(incompat, INCOMPAT))
        .chain(named(ro_compat, RO_COMPAT))
        .collect();
    // Before revision 1 the field did not exist and inodes had 128 bytes.
    let inode_size = if u32_at(0x4C) == 0 { 128 } else { u16_at(0x58) };
    // s_log_block_size; the kernel knows blocks of up to 64 KiB.
    let block_size = match u32_at(0x18) {
        log @ 0..=6 => 1024 << log,
        _ => DEFAULT_BLOCK,
    };
    Some(Superblock {
        kind: Kind::Ext {
            name,
            features,
            inode_size,
            block_size,
        },
        label: text(&block[0x78..0x88]),
        uuid: uuid(&block[0x68..0x78]),
    })
}

fn xfs(bytes: &[u8]) -> Option<Superblock> {
    let block = bytes.get(..512)?;
    if &block[..4] != b"XFSB" {
        return None;
    }
    let u32_at =
        |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let is_version_5 = block[101] & 0xF == 5;
    let (ro_compat, incompat) = (u32_at(212), u32_at(216));
    let mut features = vec![("-m", "crc", is_version_5)];
    if is_version_5 {
        features.extend([
            ("-m", "finobt", ro_compat & 0x1 != 0),
            ("-i", "sparse", incompat & 0x2 != 0),
            ("-m", "rmapbt", ro_compat & 0x2 != 0),
            ("-m", "reflink", ro_compat & 0x4 != 0),
            ("-m", "inobtcount", ro_compat & 0x8 != 0),
            ("-m", "bigtime", incompat & 0x8 != 0),
            ("-i", "nrext64", incompat & 0x20 != 0),
            ("-i", "exchange", incompat & 0x40 != 0),
            ("-n", "parent", incompat & 0x80 != 0),
        ]);
    } else {
        // sb_features2, XFS_SB_VERSION2_FTYPE
        features.push(("-n", "ftype", u32_at(200) & 0x200 != 0));
    }
    Some(Superblock {
        kind: Kind::Xfs { features },
        label: text(&block[108..120]),
        uuid: uuid(&block[32..48]),
    })
}

fn btrfs(bytes: &[u8]) -> Option<Superblock> {
    let block = bytes.get(BTRFS..BTRFS + 4096)?;
    if &block[0x40..0x48] != b"_BHRfS_M" {
        return None;
    }
    Some(Superblock {
        kind: Kind::Btrfs,
        label: text(&block[0x12B..0x22B]),
        uuid: uuid(&block[0x20..0x30]),
    })
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn uuid(bytes: &[u8]) -> String {
    Uuid::from_slice(bytes).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    /// A file system as the real tool makes it.
    fn made_by(size: &str, mkfs: &str) -> Superblock {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("truncate -s {size} fs && {mkfs} fs");
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{mkfs}: {output:?}");
        let file = File::open(folder.path().join("fs")).unwrap();
        Superblock::read(file).unwrap().unwrap()
    }

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn ext_is_told_apart_by_its_features() {
        for (mkfs, name) in [
            ("-t ext2", "ext2"),
            ("-t ext3", "ext3"),
            ("-t ext4", "ext4"),
        ] {
            let found = made_by(
                "8M",
                &format!("mke2fs -q -F {mkfs} -I 128 -L goldvol -U {UUID}"),
            );
            assert_eq!(
                (found.name(), found.label.as_str(), found.uuid.as_str()),
                (name, "goldvol", UUID)
            );
            assert_eq!(found.is_64bit(), name == "ext4");
            assert!(matches!(
                found.kind,
                Kind::Ext {
                    inode_size: 128,
                    block_size: 1024,
                    ..
                }
            ));
        }
        let found = made_by("8M", "mke2fs -q -F -b 2048");
        assert!(matches!(
            found.kind,
            Kind::Ext {
                block_size: 2048,
                ..
            }
        ));
    }

    #[test]
    fn ext_features_have_the_names_that_mke2fs_takes() {
        let wanted = [
            "has_journal",
            "ext_attr",
            "resize_inode",
            "dir_index",
            "orphan_file",
            "filetype",
            "extent",
            "64bit",
            "flex_bg",
            "metadata_csum_seed",
            "inline_data",
            "sparse_super",
            "large_file",
            "huge_file",
            "dir_nlink",
            "extra_isize",
            "quota",
            "metadata_csum",
            "project",
        ];
        let found = made_by(
            "64M",
            &format!("mke2fs -q -F -t ext4 -O none,{}", wanted.join(",")),
        );
        assert!(matches!(found.kind, Kind::Ext { features, .. } if features == wanted));
    }

    #[test]
    fn xfs_and_btrfs_have_label_and_uuid() {
        let found = made_by(
            "300M",
            &format!("mkfs.xfs -q -L xfsroot -m uuid={UUID},rmapbt=0,bigtime=1"),
        );
        assert_eq!(
            (found.name(), found.label.as_str(), found.uuid.as_str()),
            ("xfs", "xfsroot", UUID)
        );
        let Kind::Xfs { features } = found.kind else {
            panic!()
        };
        assert!(
            features.contains(&("-m", "bigtime", true))
                && features.contains(&("-m", "rmapbt", false))
        );
        // mkfs.btrfs refuses an ID that a file system on this machine has.
        let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        let uuid = uuid.trim();
        let found = made_by("120M", &format!("mkfs.btrfs -q -L broot -U {uuid}"));
        assert_eq!(
            (found.name(), found.label.as_str(), found.uuid.as_str()),
            ("btrfs", "broot", uuid)
        );
    }

    #[test]
    fn what_is_no_file_system_is_none() {
        assert_eq!(Superblock::parse(&[]), None);
        assert_eq!(Superblock::parse(&[0; LENGTH]), None);
        assert_eq!(Superblock::parse(b"XFSB"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_superblock_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 4096), magic in 0..3) {
            let mut device = vec![0; LENGTH];
            let (at, magic_at, magic): (usize, usize, &[u8]) = match magic {
                0 => (EXT, 0x38, &[0x53, 0xEF]),
                1 => (0, 0, b"XFSB"),
                _ => (BTRFS, 0x40, b"_BHRfS_M"),
            };
            device[at..at + 4096].copy_from_slice(&bytes);
            device[at + magic_at..at + magic_at + magic.len()].copy_from_slice(magic);
            assert!(Superblock::parse(&device).is_some());
        }
    }
}
