//! What every process of the suite sees to before anything else.

use std::sync::Arc;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use signal_hook::consts::SIGXFSZ;

/// Keeps secrets out of core dumps and from other processes of the same user, and makes a file that is too large an error.
pub(crate) fn prepare() {
    // A core dump would hold the private key. A limit of its size is inherited by children and ignored by pipes; this is neither.
    // The kernel refuses only values that it does not know.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // The signal would kill; without it the write that goes past the limit (`ulimit -f`) fails. Handled and not ignored: programs that
    // are started have it as ever. Registering fails only for signals that nobody may handle.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}
