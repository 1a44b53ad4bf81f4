//! The origin of a bundle's parts.

/// Provides the parts of a bundle as one stream.
///
/// No byte of a part is returned before the part's SHA-1 has been compared with the manifest's. A source may fetch parts ahead; dropping
/// it ends that.
///
/// The feature `conformance` has the tests that every implementation must pass.
pub trait PartSource: Send {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads the next bytes of the stream into `buffer`, and returns their number; 0 at the end.
    ///
    /// # Errors
    /// The next part is missing, damaged or cannot be read. The caller must not read on after an error.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}
