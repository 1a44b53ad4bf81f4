//! Where the parts of a bundle go.

/// What is known of a part when its last byte has been written.
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
    /// Its name in the bundle, by which the manifest calls it.
    pub name: String,
    /// Its size and digest.
    pub digest: PartDigest,
}

/// Takes the parts of a bundle in their order, and then its manifest.
///
/// [`PartWriter`](crate::PartWriter) cuts a stream and calls `begin`, `write` any number of times and `end` for each part, then
/// `flush`. Whoever has made the manifest of the parts calls `publish`.
///
/// A sink sees every byte once and learns each part's size and SHA-1 without reading it again; one that needs another digest (S3's
/// MD5) computes it in `write`, or of the bytes that it keeps until `end`. It may store parts in the background while the next ones
/// come, and report an error with a later call: `flush` waits for all of them.
///
/// A sink that is dropped before it is published leaves nothing of the bundle behind, and an older bundle as it was: that is how a
/// caller ends after an error or an interruption.
///
/// # Names
///
/// The number in a part's name has as many digits as the number of parts, which is known only when the last part ends. A sink that can
/// rename, as a folder can, is told the names when it publishes, and they are those of the older suite. One that cannot, as S3 cannot
/// (a copy of each part costs requests and time), stores a part under the name that it is told at the beginning: its number has the
/// digits of the *most* parts that there can be. Such a bundle is as good as any other, because all readers (the older suite,
/// euca2ools, Packer, EC2) take the names from the manifest, and the names' order is that of the parts either way.
///
/// The feature `conformance` has the tests that every implementation must pass.
pub trait PartSink: Send {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;
    /// What a published bundle is known by.
    type Published;

    /// Whether parts can still get other names when all are written.
    fn can_rename(&self) -> bool;

    /// Begins part `index`, counted from 0. If the sink cannot rename, `name` is the part's name for good.
    ///
    /// # Errors
    /// This part cannot be begun, or an earlier one not stored.
    fn begin(&mut self, index: usize, name: &str) -> Result<(), Self::Error>;

    /// Takes the next bytes of the part that was begun.
    ///
    /// # Errors
    /// This part, or an earlier one, cannot be stored.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Ends the part that was begun.
    ///
    /// # Errors
    /// This part, or an earlier one, cannot be stored.
    fn end(&mut self, part: PartDigest) -> Result<(), Self::Error>;

    /// Waits until all parts that have ended are stored for good.
    ///
    /// # Errors
    /// A part could not be stored.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Makes the bundle visible: first the parts, under these names, then the manifest, by which they are found.
    ///
    /// # Errors
    /// The bundle could not be published. Nothing of it is there then, unless the error says otherwise.
    fn publish(
        self,
        parts: &[WrittenPart],
        manifest: (&str, &[u8]),
    ) -> Result<Self::Published, Self::Error>;
}
