//! The tar stream of a bundle: one member, the image.
//!
//! [`write`] makes it as GNU tar does with `--sparse` (old GNU format); [`read`] takes it apart, in that and every other
//! common dialect. The layout of headers is that of the `tar` crate's types: `OldHeader` (all dialects), `GnuHeader` and
//! `GnuExtSparseHeader` (a sparse member, and the rest of its map). They are those of tar.h and of "Basic Tar Format" in GNU
//! tar's manual.
//!
//! Numbers are octal digits, or, where those do not suffice, base-256: big-endian, the first bit set.

pub(crate) mod pax;
pub(crate) mod read;
mod sparse;
pub(crate) mod write;

/// tar's unit, in bytes: headers have this size, and data is padded to a multiple of it.
pub(crate) const BLOCK: usize = 512;

/// A stream ends at a multiple of this many bytes: GNU tar's blocking factor of 20.
const RECORD: u64 = 20 * BLOCK as u64;
