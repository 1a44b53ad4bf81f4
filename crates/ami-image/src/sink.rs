//! Where an image goes.

use std::convert::Infallible;

/// What a sink is told about an image before its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The image's name, a single path component. It comes from the bundle, which may be hostile.
    pub name: String,
    /// Bytes, holes included.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// When it was last written, in seconds since 1970.
    pub mtime: i64,
}

/// Takes an image as it comes: [`begin`](Self::begin), then [`write`](Self::write) any number of times, then
/// [`finish`](Self::finish).
///
/// A sink that is dropped before it is finished leaves no image behind, complete or not: that is how a caller ends after an error or
/// an interruption. A sink may work in the background and report an error with a later call; `finish` reports the last of them.
///
/// `conformance` (a feature of this crate) has the tests that every implementation must pass.
pub trait ImageSink: Send {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Where a finished image is.
    type Finished;

    /// Called once, before any data. An image that cannot be taken, because of its name or size, is refused here.
    ///
    /// # Errors
    /// The image cannot be taken.
    fn begin(&mut self, image: &Description) -> Result<(), Self::Error>;

    /// Takes data that belongs at `offset`. Offsets ascend, data never overlaps, and nothing reaches beyond the image's size. Whatever is
    /// not written reads as zeros.
    ///
    /// # Errors
    /// The data, or earlier data, cannot be written.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Self::Error>;

    /// Makes the image visible under its name, durably. Called only when all data has been verified.
    ///
    /// # Errors
    /// The image cannot be completed; none is there then.
    fn finish(self) -> Result<Self::Finished, Self::Error>;
}

/// Takes an image that is only to be checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl ImageSink for Nowhere {
    type Error = Infallible;
    type Finished = ();

    fn begin(&mut self, _: &Description) -> Result<(), Infallible> {
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}
