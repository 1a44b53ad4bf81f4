//! What a story tells while it runs, and what it needs to run.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use ami_manifest::BundleContents;

use crate::settings::Settings;

/// What happens in a story.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The manifest was read. It may lack what its bundle can be taken apart without.
    ManifestRead(&'a BundleContents),
    /// The space in the destination was looked at.
    Space {
        /// Bytes that are free.
        free: u64,
        /// Bytes that the bundle may need.
        needed: u64,
    },
    /// The data begins to pass.
    Begins {
        /// Bytes that will be read.
        bytes: u64,
    },
    /// So many more bytes have been read. From any thread.
    Read(u64),
    /// All data has passed.
    Ends,
}

/// How a story runs.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// How many threads share the work.
    pub threads: NonZeroUsize,
    /// Told what happens.
    pub events: &'a (dyn Fn(Event<'_>) + Sync),
    /// Raised to end the story early.
    pub interrupted: &'a AtomicBool,
}

impl Running<'_> {
    /// Runs a pipeline that reads so many bytes, with the events of it.
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
