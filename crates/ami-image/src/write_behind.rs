//! Writes a large file to the disk steadily while it is being written.
//!
//! Left alone, the kernel keeps gigabytes of a new file in memory, pushes out what else is cached there, and the sync at the end
//! takes as long as the disk needs for all of it. Here a thread syncs what has been written every few MiB, and lets the kernel
//! forget it. On the machine of docs/benchmarks.md unbundling takes two thirds of the time with it.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::fs::Advice;

/// How much is synced at a time, in bytes. From 4 to 32 MiB made no difference.
const STRETCH: u64 = 16 << 20;

/// How many stretches may wait: what is not yet on the disk stays below four of them.
const WAITING: usize = 2;

/// Syncs a file that is written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct WriteBehind {
    /// `None` if no thread can be started: then everything is synced at the end.
    syncer: Option<Syncer>,
    /// Where the stretch begins that is being written, and how much of it is data.
    begin: u64,
    written: u64,
}

#[derive(Debug)]
struct Syncer {
    stretches: mpsc::SyncSender<(u64, u64)>,
    thread: JoinHandle<io::Result<()>>,
}

impl WriteBehind {
    pub(crate) fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (stretches, queue) = mpsc::sync_channel::<(u64, u64)>(WAITING);
        let thread = thread::Builder::new().spawn(move || {
            for (begin, end) in queue {
                file.sync_data()?;
                // Only speed depends on it.
                let length = NonZeroU64::new(end - begin);
                let _ = rustix::fs::fadvise(&file, begin, length, Advice::DontNeed);
            }
            Ok(())
        });
        Ok(Self {
            syncer: thread.ok().map(|thread| Syncer { stretches, thread }),
            begin: 0,
            written: 0,
        })
    }

    /// Takes note that `count` more bytes have been written, the last of them before `end`. Waits while the disk is behind.
    pub(crate) fn wrote(&mut self, count: u64, end: u64) {
        self.written += count;
        if self.written >= STRETCH
            && let Some(syncer) = &self.syncer
        {
            // It fails only when the thread has ended with an error, which `finish` gives.
            let _ = syncer.stretches.send((self.begin, end));
            self.begin = end;
            self.written = 0;
        }
    }

    /// Waits for the thread; what has been written since the last stretch is not synced.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Some(Syncer { stretches, thread }) = self.syncer else {
            return Ok(());
        };
        drop(stretches);
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
