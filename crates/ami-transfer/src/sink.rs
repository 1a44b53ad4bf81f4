//! The end of a bundle's pipeline from which its parts go to S3 while it makes the next ones.
//!
//! The pipeline runs on threads of its own, which wait here for room; the requests run as a task of the story's runtime
//! (`sending.rs`). Between the two are channels only, so it does not matter what kind of runtime that is.

use std::sync::mpsc;

use ami_parts::{PART_SIZE, PartDigest, PartSink, WrittenPart};
use ami_s3::Fingerprint;
use tokio::sync::mpsc::UnboundedSender;

/// How many parts are in memory at once: the one that is being made, and those that are being sent. S3 limits the rate of each connection;
/// with one fewer, bundles that cannot be compressed would take longer than an upload does, which sends eight files at once.
pub(crate) const PARTS_IN_MEMORY: usize = 8;

/// Nothing is sent any more: a request has failed, or the story has ended. Whoever runs the requests has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bundle is not sent any more")]
pub(crate) struct Ended;

impl From<Ended> for ami_bundle::Error {
    fn from(ended: Ended) -> Self {
        Self::Other(Box::new(ended))
    }
}

/// A file of a bundle, in memory.
#[derive(Debug)]
pub(crate) struct MadeFile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) print: Fingerprint,
}

/// What a sink asks to be done.
#[derive(Debug)]
pub(crate) enum Order {
    /// Send a part.
    Part(MadeFile),
    /// Send the manifest, now that all parts are stored, and answer when it is.
    Publish {
        manifest: MadeFile,
        done: mpsc::Sender<()>,
    },
}

/// Sends parts to S3. If it is dropped before it is published, they are deleted.
#[derive(Debug)]
pub(crate) struct BucketSink {
    /// Without a bound of its own: each part needs one of the buffers.
    orders: UnboundedSender<Order>,
    buffers: mpsc::Receiver<Vec<u8>>,
    /// The name and the bytes of the part that is being made.
    part: Option<(String, Vec<u8>)>,
}

impl BucketSink {
    /// A sink whose orders are carried out at the other ends of these channels. Of the [`PARTS_IN_MEMORY`] buffers, each comes again when
    /// the part that was in it is stored.
    pub(crate) fn new(orders: UnboundedSender<Order>, buffers: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            orders,
            buffers,
            part: None,
        }
    }

    fn wait_for_buffer(&self) -> Result<Vec<u8>, Ended> {
        self.buffers.recv().map_err(|_| Ended)
    }

    fn order(&self, order: Order) -> Result<(), Ended> {
        self.orders.send(order).map_err(|_| Ended)
    }
}

impl PartSink for BucketSink {
    type Error = Ended;
    type Published = ();

    fn can_rename(&self) -> bool {
        false
    }

    fn begin(&mut self, _: usize, name: &str) -> Result<(), Ended> {
        let mut buffer = self.wait_for_buffer()?;
        buffer.clear();
        buffer.reserve_exact(usize::try_from(PART_SIZE.get()).unwrap_or_default());
        self.part = Some((name.to_owned(), buffer));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        if self.orders.is_closed() {
            return Err(Ended);
        }
        if let Some((_, part)) = &mut self.part {
            part.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self, part: PartDigest) -> Result<(), Ended> {
        let (name, bytes) = self.part.take().ok_or(Ended)?;
        let print = Fingerprint::of_hashed(&bytes, part.sha1);
        self.order(Order::Part(MadeFile { name, bytes, print }))
    }

    fn flush(&mut self) -> Result<(), Ended> {
        // When all buffers have come again, all parts are stored.
        (0..PARTS_IN_MEMORY).try_for_each(|_| self.wait_for_buffer().map(drop))
    }

    fn publish(self, _: &[WrittenPart], (name, manifest): (&str, &[u8])) -> Result<(), Ended> {
        let (done, is_done) = mpsc::channel();
        let manifest = MadeFile {
            name: name.to_owned(),
            bytes: manifest.to_owned(),
            print: Fingerprint::of(manifest),
        };
        self.order(Order::Publish { manifest, done })?;
        is_done.recv().map_err(|_| Ended)
    }
}
