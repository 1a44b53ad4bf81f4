//! What a volume contains, by the signatures in its first bytes.
//!
//! | what | where | signature |
//! |---|---|---|
//! | ext2, ext3, ext4 | 1080 | 0x53 0xEF |
//! | xfs | 0 | `XFSB` |
//! | btrfs | 65600 | `_BHRfS_M` |
//! | FAT | 510, 54 or 82 | 0x55 0xAA, `FAT` |
//! | NTFS | 3 | `NTFS    ` |
//! | swap | the end of a page | `SWAPSPACE2`, `SWAP-SPACE` |
//! | LVM | one of the first four sectors | `LABELONE` |
//! | LUKS | 0 | `LUKS` 0xBA 0xBE |
//! | Linux RAID | 0 or 4096 | 0xA92B4EFC, little-endian |

use crate::bytes::{array, le};
use crate::{btrfs, ext, xfs};

/// How many of a volume's first bytes are looked at.
pub(crate) const HEAD: usize = (64 << 10) + 4096;

/// Linux RAID's superblock, versions 1.1 and 1.2 (kernel, include/uapi/linux/raid/md_p.h).
const RAID: u32 = 0xA92B_4EFC;

/// What a volume contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// xfs.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT of any width.
    Vfat,
    /// NTFS.
    Ntfs,
    /// Swap space.
    Swap,
    /// A physical volume of LVM.
    Lvm,
    /// Encrypted with LUKS.
    Luks,
    /// A member of a Linux RAID.
    Raid,
}

/// All whose signatures are there.
pub(crate) fn kinds(head: &[u8]) -> Vec<FileSystem> {
    let mut kinds = Vec::new();
    let mut add = |is_it: bool, kind| {
        if is_it {
            kinds.push(kind);
        }
    };
    add(ext::is_ext(head), FileSystem::Ext);
    add(xfs::is_xfs(head), FileSystem::Xfs);
    add(btrfs::is_btrfs(head), FileSystem::Btrfs);
    add(is_fat(head), FileSystem::Vfat);
    add(array(head, 3) == *b"NTFS    ", FileSystem::Ntfs);
    add(is_swap(head), FileSystem::Swap);
    let is_lvm = (0..4).any(|sector| array(head, sector * 512) == *b"LABELONE");
    add(is_lvm, FileSystem::Lvm);
    add(head.starts_with(b"LUKS\xBA\xBE"), FileSystem::Luks);
    let is_raid = [0, 4096].iter().any(|&at| le::u32(head, at) == RAID);
    add(is_raid, FileSystem::Raid);
    kinds
}

fn is_fat(head: &[u8]) -> bool {
    let has_name = [54, 82].iter().any(|&at| array(head, at) == *b"FAT");
    le::u16(head, 510) == 0xAA55 && has_name
}

fn is_swap(head: &[u8]) -> bool {
    [4096, 8192, 16 << 10, 64 << 10].iter().any(|page| {
        let name = array(head, page - 10);
        name == *b"SWAPSPACE2" || name == *b"SWAP-SPACE"
    })
}
