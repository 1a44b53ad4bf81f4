//! Settings of the pipeline, in both directions.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use libdeflater::CompressionLvl;

/// One chunk in so many is compressed at the first level of a [`Level`].
pub(crate) const TURN: u64 = 4;

/// How hard the bundle is compressed: libdeflate's level for one chunk in four, and that for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level([u8; 2]);

impl Level {
    /// The fastest of libdeflate's levels.
    pub const FASTEST: u8 = 1;
    /// The level that makes the smallest bundle.
    pub const SMALLEST: u8 = 12;

    /// One level for all chunks; `None` if there is no such level.
    pub fn new(level: u8) -> Option<Self> {
        let is_level = (Self::FASTEST..=Self::SMALLEST).contains(&level);
        is_level.then_some(Self([level; 2]))
    }

    /// That of one chunk in [`TURN`], and that of the others.
    pub(crate) fn both(self) -> [CompressionLvl; 2] {
        self.0
            .map(|level| CompressionLvl::new(i32::from(level)).unwrap_or_default())
    }
}

impl Default for Level {
    /// Level 6 for one chunk in four, 5 for the others. Level 5 alone makes bundles some 0.07 % larger than `gzip -9` does. With a
    /// quarter at 6 they are some 0.1 % smaller, and it takes less time than 6 alone (docs/benchmarks.md).
    fn default() -> Self {
        Self([6, 5])
    }
}

/// How bundling and unbundling run.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// How many threads share the work.
    pub threads: NonZeroUsize,
    /// Called from any thread with the number of bytes read since the last call.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Set to end the work early.
    pub interrupted: &'a AtomicBool,
}
