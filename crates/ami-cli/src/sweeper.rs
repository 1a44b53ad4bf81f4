//! A second process that outlives this one if it is killed, and then clears away what it left.
//!
//! `kill -9` leaves nobody to clean up. The sweeper is this same program, waiting at a pipe that only this process holds: when the
//! pipe ends without a word, it waits until the process is gone, and then takes away what it had begun. Where even the sweeper is
//! killed, the next run does the same.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ami_parts::Prepared;
use tracing::debug;

/// Makes this program a sweeper, as the first argument, written out; then come the process that it waits for and the name of the
/// private folder. Its standard output is the destination, as a descriptor: a path may lead elsewhere by then.
pub(crate) const ARGUMENT: &str = "--sweep-after-me";

/// What the pipe says where there is nothing to be done.
const ALL_WELL: &[u8] = b"all well";

/// How often it is looked whether a process is gone: its files are closed one after the other.
const MOMENT: Duration = Duration::from_millis(1);

/// How many moments a sweeper has to end when all is well, before it is killed. It may be stopped, or not have heard.
const PATIENCE: u32 = 2000;

/// The waiting process. When it is dropped, it ends.
#[derive(Debug)]
pub(crate) struct Sweeper(Child);

impl Sweeper {
    /// Starts one for a private folder that is still to be made. Without one, a killed run's files wait for the next run.
    pub(crate) fn start(prepared: &Prepared) -> Option<Self> {
        let destination = prepared.destination().ok()?;
        // Not the file's path: it may have been replaced since.
        let mut command = Command::new("/proc/self/exe");
        let spawned = command
            .args([ARGUMENT, &std::process::id().to_string(), prepared.name()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(destination)
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

    fn has_ended(&mut self) -> bool {
        // What cannot be waited for is no child of this process.
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // A sweeper that has gone does not matter.
        let _ = self.0.stdin.take().map(|mut pipe| pipe.write_all(ALL_WELL));
        for _ in 0..PATIENCE {
            if self.has_ended() {
                return;
            }
            sleep(MOMENT);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sweeper's life.
pub(crate) fn wait_and_sweep(arguments: &[OsString]) {
    let [_, process, folder] = arguments else {
        return;
    };
    let (Some(folder), Ok(destination)) = (
        folder.to_str(),
        std::io::stdout().as_fd().try_clone_to_owned(),
    ) else {
        return;
    };
    let mut said = Vec::new();
    // What cannot be read is as good as the end.
    let _ = std::io::stdin().lock().read_to_end(&mut said);
    if said == ALL_WELL {
        return;
    }
    // It may have been killed before this process looked at anything. While it lives, all is in its hands.
    while rustix::process::getppid()
        .is_some_and(|parent| parent.to_string() == process.to_string_lossy())
    {
        sleep(MOMENT);
    }
    // There is nobody left to be told.
    let _ = ami_parts::sweep_after(File::from(destination), folder);
}
