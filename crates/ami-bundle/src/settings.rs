//! Settings of the pipeline, in both directions.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use libdeflater::CompressionLvl;

/// The number of chunks after which the levels of a [`Level`] repeat.
pub(crate) const TURN: usize = 3;

/// How hard the bundle is compressed: libdeflate's levels, which the chunks take in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level([u8; TURN]);

impl Level {
    /// The fastest of libdeflate's levels.
    pub const FASTEST: u8 = 1;
    /// The level that makes the smallest bundle.
    pub const SMALLEST: u8 = 12;

    /// One level for all chunks; `None` if there is no such level.
    pub fn new(level: u8) -> Option<Self> {
        let is_level = (Self::FASTEST..=Self::SMALLEST).contains(&level);
        is_level.then_some(Self([level; TURN]))
    }

    /// The levels of the first chunks, which repeat for those after them.
    pub(crate) fn in_turn(self) -> [CompressionLvl; TURN] {
        self.0
            .map(|level| CompressionLvl::new(i32::from(level)).unwrap_or_default())
    }
}

impl Default for Level {
    /// Level 6 for one chunk in three, 5 for the others. Level 5 alone makes bundles some 0.07 % larger than `gzip -9` does. With a
    /// third at 6 they are some 0.1 % smaller, and it takes less time than 6 alone (docs/benchmarks.md).
    fn default() -> Self {
        Self([6, 5, 5])
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
