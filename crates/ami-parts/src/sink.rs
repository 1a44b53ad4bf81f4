//! The destination of a bundle's parts.

/// What is known about a part when its last byte has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartDigest {
    /// Bytes.
    pub size: u64,
    /// SHA-1 of the part.
    pub sha1: [u8; 20],
}

/// A part that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPart {
    /// Its name in the manifest.
    pub name: String,
    /// Its size and digest.
    pub digest: PartDigest,
}

/// Receives the parts of a bundle in order, and then its manifest.
///
/// [`PartWriter`](crate::PartWriter) splits a stream, and calls `begin`, `write` any number of times and `end` for each part, then
/// `flush`. When the manifest has been made, its maker calls `publish`.
///
/// A sink sees every byte once, and is told each part's size and SHA-1. If it needs another digest (S3's MD5), it computes that in
/// `write`, or at `end` from the bytes that it has kept. It may store parts in the background while the next ones are written, and
/// report errors in later calls; `flush` waits for all parts.
///
/// A sink that is dropped before it is published leaves nothing of the bundle behind, and an older bundle unchanged. This is how a caller
/// gives up after an error or an interruption. A sink that cannot rename may have to replace parts of an older bundle that have the same
/// names; if it is then dropped, no manifest of that bundle is left.
///
/// # Names
///
/// The number in a part's name has as many digits as the number of parts, which is known only when the last part ends. A sink that can
/// rename, such as a folder, is told the names when it publishes, and they are those of the older suite. A sink that cannot, such as S3
/// (where copying each part costs requests and time), stores a part under the name given to `begin`, whose number has the digits of the
/// *largest possible* number of parts. Such a bundle is just as valid: all readers (the older suite, euca2ools, Packer, EC2) take the
/// names from the manifest, and the names' order is that of the parts either way.
///
/// The feature `conformance` has the tests that every implementation must pass.
pub trait PartSink: Send {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Where a published bundle is.
    type Published;

    /// Whether parts can be renamed when all are written.
    fn can_rename(&self) -> bool;

    /// Begins part `index`, counted from 0. If the sink cannot rename, `name` is the part's final name.
    ///
    /// # Errors
    /// This part cannot be begun, or an earlier one cannot be stored.
    fn begin(&mut self, index: usize, name: &str) -> Result<(), Self::Error>;

    /// Receives the next bytes of the current part.
    ///
    /// # Errors
    /// This part, or an earlier one, cannot be stored.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Ends the current part.
    ///
    /// # Errors
    /// This part, or an earlier one, cannot be stored.
    fn end(&mut self, part: PartDigest) -> Result<(), Self::Error>;

    /// Waits until all parts are stored durably.
    ///
    /// # Errors
    /// A part could not be stored.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Makes the bundle visible: first the parts, under these names, then the manifest.
    ///
    /// # Errors
    /// The bundle could not be published. Then nothing of it is visible, unless the error says otherwise.
    fn publish(
        self,
        parts: &[WrittenPart],
        manifest: (&str, &[u8]),
    ) -> Result<Self::Published, Self::Error>;
}
