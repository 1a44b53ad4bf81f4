//! SIGINT and SIGTERM set a flag. Long operations check it, clean up and end.
//!
//! A second signal has no further effect, so cleaning up is always finished.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

/// A flag that both signals set from now on.
pub(crate) fn flag() -> Arc<AtomicBool> {
    let flag = Arc::default();
    for signal in [SIGINT, SIGTERM] {
        // Fails only for signals that cannot be handled.
        let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
    }
    flag
}
