//! How the pipeline runs, whichever way.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use libdeflater::CompressionLvl;

/// How hard the bundle is compressed: 1 (fastest) to 12 (smallest), libdeflate's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// The level, if it is one.
    pub fn new(level: u8) -> Option<Self> {
        (1..=12).contains(&level).then_some(Self(level))
    }
}

impl Default for Level {
    /// 6: smaller than `gzip -9` makes it, at a thirtieth of its time (docs/benchmarks.md).
    fn default() -> Self {
        Self(6)
    }
}

impl From<Level> for CompressionLvl {
    fn from(level: Level) -> Self {
        Self::new(i32::from(level.0)).unwrap_or_default()
    }
}

/// What bundling and unbundling need besides their data.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// How many threads share the work.
    pub threads: NonZeroUsize,
    /// Called now and then, from any thread, with how many bytes have been read since.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Raised to end the work early.
    pub interrupted: &'a AtomicBool,
}
