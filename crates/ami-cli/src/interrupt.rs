//! SIGINT and SIGTERM raise a flag; whatever takes long looks at it, cleans up and ends.
//!
//! A second signal does no more than the first: cleaning up is always finished.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

/// A flag that both signals raise from now on.
pub(crate) fn flag() -> Arc<AtomicBool> {
    let flag = Arc::default();
    for signal in [SIGINT, SIGTERM] {
        // It can fail only for signals that nobody may handle.
        let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
    }
    flag
}
