//! Waiting for other runs: in short pauses, so that it can be interrupted, and with a limit.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How to wait.
#[derive(Clone, Copy)]
pub struct Waiting<'a> {
    /// Set when the user wants to stop.
    pub interrupted: &'a AtomicBool,
    /// Called once when a wait has lasted a moment, with the folder in which other runs are working.
    pub tell: &'a (dyn Fn(&Path) + Sync),
}

impl std::fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Waiting<'static> {
    /// Waits without interruption or message.
    pub fn silent() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self {
            interrupted: &NEVER,
            tell: &|_| {},
        }
    }
}

/// How long a wait lasts before it is reported.
const MOMENT: Duration = Duration::from_secs(2);

/// The longest wait. Publishing takes a few renames and syncs of a folder, so a run that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(600);

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// One wait.
pub(crate) struct Waiter<'a> {
    waiting: Waiting<'a>,
    begin: Instant,
    pause: Duration,
    is_told: bool,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(waiting: Waiting<'a>) -> Self {
        Self {
            waiting,
            begin: Instant::now(),
            pause: SHORTEST_PAUSE,
            is_told: false,
        }
    }

    /// Pauses a moment for the runs in `folder`.
    pub(crate) fn pause(&mut self, folder: &Path) -> Result<(), Error> {
        if self.waiting.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let waited = self.begin.elapsed();
        if waited > LONGEST {
            return Err(Error::Busy {
                path: folder.to_owned(),
            });
        }
        if waited > MOMENT && !self.is_told {
            (self.waiting.tell)(folder);
            self.is_told = true;
        }
        sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
