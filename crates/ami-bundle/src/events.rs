//! What a story reports while it runs, and what it needs to run.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use ami_manifest::BundleContents;

use crate::settings::Settings;

/// Something that happens in a story.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The manifest was read. It may lack what is not needed to unbundle.
    ManifestRead(&'a BundleContents),
    /// The free space in the destination was determined.
    Space {
        /// Bytes that are free.
        free: u64,
        /// Bytes that the bundle may need.
        needed: u64,
    },
    /// The pipeline begins to read data.
    Begins {
        /// Bytes that will be read.
        bytes: u64,
    },
    /// This many more bytes have been read. Sent from any thread.
    Read(u64),
    /// The pipeline has ended.
    Ends,
}

/// How a story runs.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// How many threads share the work.
    pub threads: NonZeroUsize,
    /// Called with each event.
    pub events: &'a (dyn Fn(Event<'_>) + Sync),
    /// Set to end the story early.
    pub interrupted: &'a AtomicBool,
}

impl Running<'_> {
    /// Runs a pipeline that reads this many bytes, and sends its events.
    pub(crate) fn pipeline<T>(&self, bytes: u64, run: impl FnOnce(&Settings<'_>) -> T) -> T {
        (self.events)(Event::Begins { bytes });
        let result = run(&Settings {
            threads: self.threads,
            progress: &|count| (self.events)(Event::Read(count)),
            interrupted: self.interrupted,
        });
        (self.events)(Event::Ends);
        result
    }
}
