//! The user's commands before and after a copy.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use rustix::fs::MemfdFlags;
use tracing::debug;

use crate::error::Error;
use crate::keeper::outlook_of_process;
use crate::kernel;
use crate::tools::{kill_group, last_lines, wait};

/// What is shown of what a command printed is at its end, in so many bytes.
const MOST_OUTPUT: i64 = 4096;

const SHELL: &str = "/bin/sh";

/// Runs a command line by the shell, with this process's environment, mounts and working folder. `moment` is `before` or `after`.
///
/// What it starts in the background may stay: it need not close its output.
///
/// # Errors
/// [`Error::Command`]; [`Error::Interrupted`], and the command has been ended with all that it started.
pub(crate) fn run(
    moment: &'static str,
    line: &OsStr,
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    let shell = Path::new(SHELL);
    let output =
        rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC).map_err(Error::io("run", shell))?;
    let mut output = File::from(output);
    let copy = || output.try_clone().map_err(Error::io("run", shell));
    let mut command = Command::new(SHELL);
    let _ = command
        .arg("-c")
        .arg(line)
        .stdin(Stdio::null())
        .stdout(copy()?)
        .stderr(copy()?)
        // So that it can be ended with all that it has started.
        .process_group(0);
    kernel::look_out(&mut command, outlook_of_process()?);
    debug!("running the command {moment} the copy");
    let mut child = command.spawn().map_err(Error::io("run", shell))?;
    let status = match wait(&mut child, interrupted) {
        Ok(status) => status,
        Err(error) => {
            kill_group(&child);
            let _ = child.wait();
            return Err(match error.kind() {
                std::io::ErrorKind::Interrupted => Error::Interrupted,
                _ => Error::io("run", shell)(error),
            });
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut printed = Vec::new();
    // What cannot be read is not there; how the command ended counts.
    let _ = output
        .seek(SeekFrom::End(-MOST_OUTPUT))
        .or_else(|_| output.seek(SeekFrom::Start(0)))
        .and_then(|_| {
            output
                .take(MOST_OUTPUT.unsigned_abs())
                .read_to_end(&mut printed)
        });
    Err(Error::Command {
        moment,
        status: status.to_string(),
        output: last_lines(&printed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_without_what_it_left_in_the_background() {
        let run = |line: &str| run("before", line.as_ref(), &AtomicBool::new(false));
        run("sleep 3 & test \"$(pwd)\" = \"$(readlink /proc/$PPID/cwd)\"").unwrap();
        let error = run("seq 2000; echo no >&2; exit 3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the command before the copy failed (exit status: 3): 1999; 2000; no"
        );
    }

    #[test]
    fn a_command_ends_with_all_that_it_started_when_the_user_wants_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let line = format!("(sleep 1; touch '{}') & sleep 1000", file.display());
        let result = run("before", line.as_ref(), &AtomicBool::new(true));
        assert!(matches!(result, Err(Error::Interrupted)));
        std::thread::sleep(std::time::Duration::from_millis(1200));
        assert!(!file.exists());
    }
}
