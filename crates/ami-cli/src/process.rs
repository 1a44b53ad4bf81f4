//! What every process of the suite sets up first.

use std::sync::Arc;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use signal_hook::consts::SIGXFSZ;

/// Keeps secrets out of core dumps and away from other processes of the same user, and makes writing beyond the file size limit an
/// ordinary error.
pub(crate) fn prepare() {
    // A core dump would contain the private key. A limit on its size would be inherited by children, and does not apply to pipes.
    // The kernel refuses only unknown values.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // The signal would kill the process; without it, writing beyond the limit (`ulimit -f`) fails. It is handled, not ignored, so that
    // child processes get the default. Registering fails only for signals that cannot be handled.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}
