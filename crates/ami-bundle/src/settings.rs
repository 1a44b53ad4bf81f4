//! How the pipeline runs, whichever way.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use libdeflater::CompressionLvl;

/// How hard the bundle is compressed: one of libdeflate's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// The fastest.
    pub const FASTEST: Self = Self(1);
    /// The one that makes the smallest bundle.
    pub const SMALLEST: Self = Self(12);

    /// The level, if it is one.
    pub fn new(level: u8) -> Option<Self> {
        let is_level = (Self::FASTEST.0..=Self::SMALLEST.0).contains(&level);
        is_level.then_some(Self(level))
    }
}

impl Default for Level {
    /// 6: smaller than `gzip -9` makes it, at a thirtieth of its time (docs/benchmarks.md).
    fn default() -> Self {
        Self(6)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
