//! For which processors the programs on a disk are.
//!
//! | program | where | what |
//! |---|---|---|
//! | ELF (System V ABI) | 0 | 0x7F `ELF`; little-endian (5: 1); the machine (18) |
//! | PE (Microsoft, PE format): EFI programs, and kernels that are such programs too | 0 | `MZ`; where the header is (60); there `PE` 0 0, the machine (4) |

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use crate::bytes::{array, le};

/// How much of a program's beginning is looked at: a PE header may lie behind a stub.
pub(crate) const HEAD: usize = 4096;

/// A processor's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 32-bit x86.
    I386,
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Arm64,
}

/// As EC2 names it: `i386`, `x86_64`, `arm64`.
impl Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I386 => "i386",
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        })
    }
}

/// Architectures that something was found for.
pub(crate) type Architectures = BTreeSet<Architecture>;

/// The first set that is not empty, if it has one member only.
pub(crate) fn agreed(found: &[Architectures]) -> Option<Architecture> {
    let first = found.iter().find(|set| !set.is_empty())?;
    first.first().copied().filter(|_| first.len() == 1)
}

/// The architecture of an ELF program, from its beginning.
pub(crate) fn elf(head: &[u8]) -> Option<Architecture> {
    if !head.starts_with(b"\x7FELF") || head.get(5) != Some(&1) {
        return None;
    }
    match le::u16(head, 18) {
        3 => Some(Architecture::I386),
        62 => Some(Architecture::X86_64),
        183 => Some(Architecture::Arm64),
        _ => None,
    }
}

/// Whether it is a PE program, from its beginning, and its architecture if that is one of ours.
pub(crate) fn pe(head: &[u8]) -> Option<Option<Architecture>> {
    let at = le::u32(head, 60) as usize;
    let is_pe = head.starts_with(b"MZ") && array(head, at) == *b"PE\0\0";
    is_pe.then(|| match le::u16(head, at.saturating_add(4)) {
        0x014C => Some(Architecture::I386),
        0x8664 => Some(Architecture::X86_64),
        0xAA64 => Some(Architecture::Arm64),
        _ => None,
    })
}
