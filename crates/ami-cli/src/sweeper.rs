//! A second process that outlives this one if it is killed, and then clears away what it left.
//!
//! `kill -9` leaves nobody to clean up. The sweeper is this same program, waiting for the end of a pipe that only this process holds:
//! when the pipe ends, nothing of a run that no longer lives stays in the destination. Where even the sweeper is killed, the next
//! run does the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tracing::debug;

/// Makes this program a sweeper, as the first argument, written out; the second is the destination.
pub(crate) const ARGUMENT: &str = "--sweep-after-me";

/// The waiting process. When it is dropped, it ends.
#[derive(Debug)]
pub(crate) struct Sweeper(Child);

impl Sweeper {
    /// Starts one for a destination. Without one, a killed run's files wait for the next run.
    pub(crate) fn start(destination: &Path) -> Option<Self> {
        // Not the file's path: it may have been replaced since.
        let mut command = Command::new("/proc/self/exe");
        let spawned = command
            .args([OsStr::new(ARGUMENT), destination.as_os_str()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for this process, which cleans up by itself.
            .process_group(0)
            .spawn();
        match spawned {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                debug!(%error, "cannot start a sweeper");
                None
            }
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // What it finds to do, the next run does too.
        let _ = self.0.wait();
    }
}

/// A sweeper's life.
pub(crate) fn wait_and_sweep(destination: Option<&OsString>) {
    // Only its end is waited for.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    if let Some(destination) = destination {
        // There is nobody left to be told.
        let _ = ami_parts::sweep(Path::new(destination));
    }
}
