//! SIGINT and SIGTERM raise a flag; whatever takes long looks at it, cleans up and ends.
//!
//! A second signal does no more than the first: what is being cleaned up is to be finished.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

/// The flag. The first call sets up the signals' handlers.
pub fn flag() -> &'static AtomicBool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // It can fail only for signals that nobody may handle.
            let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
        }
        flag
    })
}

/// Whether a signal has come.
pub(crate) fn is_raised() -> bool {
    flag().load(Ordering::Relaxed)
}
