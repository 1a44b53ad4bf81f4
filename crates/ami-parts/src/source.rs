//! Where the parts of a bundle come from.

/// Gives the parts of a bundle as one stream.
///
/// None of a part's bytes is given before its SHA-1 has been found to be the manifest's. A source may fetch parts while earlier ones are
/// used. Dropping it ends that.
///
/// The feature `conformance` has the tests that every implementation must pass.
pub trait PartSource: Send {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Fills the beginning of `buffer` with the next bytes of the stream and says how many; 0 at the end.
    ///
    /// # Errors
    /// The next part is missing, damaged or cannot be read. Nothing is read from the source after that.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}
