//! The tar stream of a bundle: one member, the image.
//!
//! [`write`] makes it as GNU tar does with `--sparse` (old GNU format); [`read`] takes it apart, in that and every other
//! common dialect. The layout of a header, in bytes (tar.h and "Basic Tar Format" in GNU tar's manual):
//!
//! | offset | size | field | | offset | size | field, old GNU format |
//! |---|---|---|---|---|---|---|
//! | 0 | 100 | name | | 257 | 8 | magic and version: `ustar␣␣␀` |
//! | 100 | 8 | mode | | 265, 297 | 32 | user's and group's name |
//! | 108, 116 | 8 | user, group | | 386 | 96 | sparse map: 4 entries of offset 12, length 12 |
//! | 124 | 12 | size of the stored data | | 482 | 1 | more map entries follow the header |
//! | 136 | 12 | modification time | | 483 | 12 | real size |
//! | 148 | 8 | checksum | | | | |
//! | 156 | 1 | type | | 0, 504 | 504, 1 | an extension block: 21 map entries, more follow |
//!
//! Numbers are octal digits, or, where those do not suffice, base-256 with the first bit set.

pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod write;

/// tar's unit, in bytes: headers have this size, and data is padded to a multiple of it.
pub(crate) const BLOCK: usize = 512;

/// A stream ends at a multiple of this many bytes: GNU tar's blocking factor of 20.
const RECORD: u64 = 20 * BLOCK as u64;

/// Map entries in a header and in an extension block.
const ENTRIES_IN_HEADER: usize = 4;
const ENTRIES_IN_EXTENSION: usize = 21;

/// Offsets in a header, see the module's table.
mod field {
    use std::ops::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const USER: Range<usize> = 108..116;
    pub(super) const GROUP: Range<usize> = 116..124;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const MTIME: Range<usize> = 136..148;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    pub(super) const TYPE: usize = 156;
    pub(super) const MAGIC: Range<usize> = 257..265;
    pub(super) const USER_NAME: Range<usize> = 265..297;
    pub(super) const GROUP_NAME: Range<usize> = 297..329;
    /// The path before the name, in ustar headers only.
    pub(super) const USTAR_PREFIX: Range<usize> = 345..500;
    pub(super) const SPARSE_MAP: usize = 386;
    pub(super) const IS_EXTENDED: usize = 482;
    pub(super) const REAL_SIZE: Range<usize> = 483..495;
    /// The first offset in a map entry's own 24 bytes.
    pub(super) const ENTRY_OFFSET: Range<usize> = 0..12;
    pub(super) const ENTRY_LENGTH: Range<usize> = 12..24;
    pub(super) const ENTRY: usize = 24;
    /// In an extension block.
    pub(super) const EXTENSION_IS_EXTENDED: usize = 504;
}

/// The old GNU format's magic and version.
const GNU_MAGIC: &[u8; 8] = b"ustar  \0";

/// The sum of a header's bytes, its checksum field counted as blanks.
fn checksum(header: &[u8; BLOCK]) -> u32 {
    header
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            let counted = if field::CHECKSUM.contains(&i) {
                b' '
            } else {
                byte
            };
            u32::from(counted)
        })
        .sum()
}
