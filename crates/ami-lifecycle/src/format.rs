//! Disk images of other formats, and compressed ones, by their first and last bytes. A disk begins with a boot sector, which none of
//! these is.
//!
//! | format | where | signature | from |
//! |---|---|---|---|
//! | qcow2, qcow | 0 | `QFI` 0xFB | QEMU, docs/interop/qcow2.txt |
//! | VMDK | 0 | `KDMV`, `COWD`; `# Disk DescriptorFile` | VMware, "Virtual Disk Format 5.0" |
//! | VHDX | 0 | `vhdxfile` | Microsoft, MS-VHDX |
//! | VHD | 0, or 512 bytes before the end | `conectix` | Microsoft, "Virtual Hard Disk Image Format Specification" |
//! | VDI | 64 | 0xBEDA107F, little-endian | VirtualBox, VDICore.h |
//! | gzip | 0 | 0x1F 0x8B 0x08 | RFC 1952 |
//! | xz | 0 | 0xFD `7zXZ` 0x00 | The .xz File Format |
//! | zstd | 0 | 0x28 0xB5 0x2F 0xFD | RFC 8878 |

use std::fmt::{self, Display};

/// What an image is in place of the bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// Hyper-V's older one.
    Vhd,
    /// Hyper-V's.
    Vhdx,
    /// VirtualBox's.
    Vdi,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with xz.
    Xz,
    /// Compressed with zstd.
    Zstd,
}

/// As QEMU's programs call it, or the program that decompresses it.
impl Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

impl Format {
    /// Whether it is a whole disk in a compressed file.
    pub fn is_compressed(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz | Self::Zstd)
    }

    /// The format of a file with these first and last 512 bytes; `None`: it may be the bytes of a disk.
    pub(crate) fn of(first: &[u8], last: &[u8]) -> Option<Self> {
        let begins = |signature: &[u8]| first.starts_with(signature);
        let found = [
            (begins(b"QFI\xFB"), Self::Qcow2),
            (begins(b"KDMV") || begins(b"COWD"), Self::Vmdk),
            (begins(b"# Disk DescriptorFile"), Self::Vmdk),
            (begins(b"vhdxfile"), Self::Vhdx),
            (
                begins(b"conectix") || last.starts_with(b"conectix"),
                Self::Vhd,
            ),
            (
                first.get(64..68) == Some(&0xBEDA_107F_u32.to_le_bytes()),
                Self::Vdi,
            ),
            (begins(b"\x1F\x8B\x08"), Self::Gzip),
            (begins(b"\xFD7zXZ\0"), Self::Xz),
            (begins(b"\x28\xB5\x2F\xFD"), Self::Zstd),
        ];
        found
            .into_iter()
            .find_map(|(is_it, format)| is_it.then_some(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_signatures() {
        let sector = |at: usize, bytes: &[u8]| {
            let mut sector = vec![0; 512];
            sector[at..at + bytes.len()].copy_from_slice(bytes);
            sector
        };
        let zeros = vec![0; 512];
        for (first, last, expected) in [
            (sector(0, b"QFI\xFB\0\0\0\x03"), &zeros, Some(Format::Qcow2)),
            (sector(0, b"KDMV"), &zeros, Some(Format::Vmdk)),
            (sector(0, b"vhdxfile"), &zeros, Some(Format::Vhdx)),
            (sector(0, b"conectix"), &zeros, Some(Format::Vhd)),
            (
                sector(510, b"\x55\xAA"),
                &sector(0, b"conectix"),
                Some(Format::Vhd),
            ),
            (sector(64, b"\x7F\x10\xDA\xBE"), &zeros, Some(Format::Vdi)),
            (sector(0, b"\x1F\x8B\x08"), &zeros, Some(Format::Gzip)),
            (sector(510, b"\x55\xAA"), &zeros, None),
            (Vec::new(), &Vec::new(), None),
        ] {
            assert_eq!(Format::of(&first, last), expected);
        }
    }
}
