//! A second process that cleans up if this one is killed.
//!
//! After `kill -9`, a process cannot clean up. The sweeper is the same program, reading from a pipe whose other end only this process has.
//! If the pipe closes without a message, the sweeper waits until the process has ended, and then removes what it left. If the sweeper is
//! killed too, the next run cleans up.

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

/// As the first argument, in full, makes this program a sweeper. The process that it waits for and the name of the private folder follow.
/// Its standard output is the open destination folder, because a path may lead elsewhere by then.
pub(crate) const ARGUMENT: &str = "--sweep-after-me";

/// What is written to the pipe if there is nothing to clean up.
const ALL_WELL: &[u8] = b"all well";

/// How often to check whether a process has ended: its files are closed one after the other.
const MOMENT: Duration = Duration::from_millis(1);

/// How many moments a sweeper with nothing to clean up has to end, before it is killed. It may have been stopped (SIGSTOP).
const PATIENCE: u32 = 2000;

/// The waiting process, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sweeper(Child);

impl Sweeper {
    /// Starts a sweeper for a private folder that is about to be made. If it cannot be started, a killed run's files stay until the next run.
    pub(crate) fn start(prepared: &Prepared) -> Option<Self> {
        let destination = prepared.destination().ok()?;
        // Not the program's path: the file may have been replaced since.
        let mut command = Command::new("/proc/self/exe");
        let spawned = command
            .args([ARGUMENT, &std::process::id().to_string(), prepared.name()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(destination)
            .stderr(Stdio::null())
            // Ctrl-C is for the first process, which cleans up itself.
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
        // A process that cannot be waited for is not a child of this one.
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // The sweeper may have ended already.
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

/// What a sweeper does.
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
    // An error counts as the end.
    let _ = std::io::stdin().lock().read_to_end(&mut said);
    if said == ALL_WELL {
        return;
    }
    // As long as the first process lives, it cleans up itself. It may have been killed before this one started.
    while rustix::process::getppid()
        .is_some_and(|parent| parent.to_string() == process.to_string_lossy())
    {
        sleep(MOMENT);
    }
    // There is nobody left to report an error to.
    let _ = ami_parts::sweep_after(File::from(destination), folder);
}
