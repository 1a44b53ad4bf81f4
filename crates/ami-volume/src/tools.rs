//! Programs of other projects: this machine's, or, if that was asked for, the volume's.
//!
//! The owner of the volume controls its programs and may want to harm this machine. So they run only in the surroundings that
//! [`kernel::confine`] makes: it sees the volume, read-only, and in /dev what it is to work on.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal};
use tracing::debug;

use crate::error::{Error, Need, Package};
use crate::inside;
use crate::kernel;

/// Where programs are looked for, in this order.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The most that is kept of what a program prints, in bytes.
const MOST_OUTPUT: u64 = 32 << 20;

/// The longest time that a program goes on after an interruption.
const MOMENT: Duration = Duration::from_millis(20);

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    name: &'static str,
    path: PathBuf,
    is_on_volume: bool,
}

/// Where programs are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finder<'a> {
    /// Where the volume is seen now.
    pub(crate) view: &'a Path,
    /// Its path, for messages.
    pub(crate) volume: &'a Path,
    /// Whether programs of the volume may be run.
    pub(crate) use_volume: bool,
}

impl Finder<'_> {
    /// Looks for one of the names on this machine, then on the volume; `None` if it is on neither.
    ///
    /// # Errors
    /// [`Error::ToolOnVolume`] where only the volume has it, and its programs may not be run.
    pub(crate) fn find(
        &self,
        names: &[&'static str],
        package: Package,
    ) -> Result<Option<Tool>, Error> {
        let own = find_in(names, Path::new("/"), false);
        match own.or_else(|| find_in(names, self.view, true)) {
            Some(tool) if tool.is_on_volume && !self.use_volume => Err(Error::ToolOnVolume {
                tool: tool.name,
                volume: self.volume.to_owned(),
                package,
            }),
            found => Ok(found),
        }
    }
}

fn find_in(names: &[&'static str], root: &Path, is_on_volume: bool) -> Option<Tool> {
    names.iter().find_map(|&name| {
        FOLDERS.iter().find_map(|folder| {
            let path = Path::new(folder).join(name);
            let is_there = inside::is_file(root, &path)
                && inside::find(root, &path)
                    .is_ok_and(|file| access(inside::path_of(&file), Access::EXEC_OK).is_ok());
            is_there.then_some(Tool {
                name,
                path,
                is_on_volume,
            })
        })
    })
}

/// What a program runs with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// What a program of the volume sees as its root directory, and as /dev in it; `None` where none is run.
    pub(crate) place: Option<(&'a Path, &'a Path)>,
    /// Its working folder.
    pub(crate) folder: Option<&'a OwnedFd>,
    /// Raised when the user wants to stop.
    pub(crate) interrupted: &'a AtomicBool,
}

/// What a program printed.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
}

impl Tool {
    /// Whether it is a program of the volume, and so needs paths as they are there.
    pub(crate) fn is_on_volume(&self) -> bool {
        self.is_on_volume
    }

    /// Runs it to its end. Fails if it does.
    pub(crate) fn run(
        &self,
        surroundings: &Surroundings<'_>,
        arguments: &[&OsStr],
        input: &[u8],
    ) -> Result<Printed, Error> {
        let mut command = Command::new(&self.path);
        let _ = command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", FOLDERS.join(":"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = surroundings.folder {
            let _ = command.current_dir(inside::path_of(folder));
        }
        if !self.is_on_volume {
            kernel::bind_to_thread(&mut command);
            return self.run_here(command, surroundings.interrupted, input);
        }
        let (root, dev) = surroundings
            .place
            .ok_or_else(|| Error::io("run", &self.path)(std::io::ErrorKind::PermissionDenied))?;
        kernel::confine(&mut command, root, dev).map_err(Error::io("run", &self.path))?;
        // On a thread of its own: the namespaces are for its children, and it can start no threads then.
        std::thread::scope(|scope| {
            let run = || {
                kernel::unshare_processes().map_err(|source| Error::NotAllowed {
                    need: Need::Processes,
                    source,
                })?;
                kernel::unshare_the_rest();
                self.run_here(command, surroundings.interrupted, input)
            };
            let running = std::thread::Builder::new().spawn_scoped(scope, run);
            match running.map_err(Error::NoThreads)?.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts no thread: after [`kernel::unshare_processes`] there can be none.
    fn run_here(
        &self,
        mut command: Command,
        interrupted: &AtomicBool,
        input: &[u8],
    ) -> Result<Printed, Error> {
        debug!(?command, "running");
        let mut child = command.spawn().map_err(Error::io("run", &self.path))?;
        let talked = talk(&mut child, interrupted, input);
        let ended = talked.and_then(|printed| Ok((wait(&mut child, interrupted)?, printed)));
        if ended.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        let (status, [stdout, stderr]) = ended.map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => Error::Interrupted,
            _ => Error::io("run", &self.path)(error),
        })?;
        if !status.success() {
            return Err(Error::Tool {
                command: self.name.to_owned(),
                status: status.to_string(),
                output: last_lines(&stderr),
            });
        }
        Ok(Printed { stdout })
    }
}

/// Gives a program its input and takes what it prints until it closes its output.
fn talk(
    child: &mut Child,
    interrupted: &AtomicBool,
    input: &[u8],
) -> std::io::Result<[Vec<u8>; 2]> {
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stdin) = &stdin {
        rustix::io::ioctl_fionbio(stdin, true)?;
    }
    let mut rest = input;
    let mut printed = [Vec::new(), Vec::new()];
    while stdout.is_some() || stderr.is_some() {
        if interrupted.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        if rest.is_empty() {
            stdin = None;
        }
        let ready = {
            let mut polled = Vec::new();
            let mut watched = Vec::new();
            for (index, (pipe, flags)) in [
                (stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
                (stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
                (stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            ]
            .into_iter()
            .enumerate()
            {
                if let Some(pipe) = pipe {
                    polled.push(PollFd::from_borrowed_fd(pipe, flags));
                    watched.push(index);
                }
            }
            let moment = Timespec::try_from(MOMENT).unwrap_or_default();
            match rustix::event::poll(&mut polled, Some(&moment)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut ready = [false; 3];
            for (index, polled) in watched.into_iter().zip(&polled) {
                ready[index] = !polled.revents().is_empty();
            }
            ready
        };
        if ready[0] {
            match stdin.as_mut().map(|stdin| stdin.write(rest)) {
                Some(Ok(count)) => rest = &rest[count..],
                Some(Err(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                // A program need not read its input to the end.
                _ => rest = &[],
            }
        }
        if ready[1] {
            take(&mut stdout, &mut printed[0])?;
        }
        if ready[2] {
            take(&mut stderr, &mut printed[1])?;
        }
    }
    Ok(printed)
}

/// Reads once from a pipe that has something, keeps what there is room for, and lets go of a pipe at its end.
fn take(pipe: &mut Option<impl Read>, kept: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 64 << 10];
    let Some(open) = pipe else {
        return Ok(());
    };
    match open.read(&mut buffer) {
        Ok(0) => *pipe = None,
        Ok(count) => {
            let room = MOST_OUTPUT.saturating_sub(kept.len() as u64);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Ends what is left of a program and all that it has started, if it was started as a group of its own.
pub(crate) fn kill_group(child: &Child) {
    if let Ok(id) = i32::try_from(child.id())
        && let Some(group) = Pid::from_raw(id)
    {
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Waits for a program that has closed its output, or has none that anybody waits for.
pub(crate) fn wait(child: &mut Child, interrupted: &AtomicBool) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        // It ends at once, as a rule.
        std::thread::sleep(MOMENT / 20);
    }
}

/// Reads a pipe to its end and keeps at most so many bytes of the beginning.
pub(crate) fn read_pipe(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        // What cannot be read is not there; how the program ended counts.
        let _ = (&mut pipe).take(most).read_to_end(&mut kept);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    kept
}

/// The end of what a program printed, on one line.
pub(crate) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: Package = Package {
        debian: "d",
        red_hat: "r",
    };

    fn run(script: &str, input: &[u8], interrupted: &AtomicBool) -> Result<Printed, Error> {
        let nowhere = Path::new("/nonexistent");
        let finder = Finder {
            view: nowhere,
            volume: nowhere,
            use_volume: false,
        };
        let tool = finder
            .find(&["no-such-tool", "sh"], PACKAGE)
            .unwrap()
            .unwrap();
        let surroundings = Surroundings {
            place: None,
            folder: None,
            interrupted,
        };
        tool.run(&surroundings, &["-c".as_ref(), script.as_ref()], input)
    }

    fn sh(script: &str, input: &[u8]) -> Result<Printed, Error> {
        run(script, input, &AtomicBool::new(false))
    }

    #[test]
    fn a_program_gets_its_input_and_gives_its_output() {
        let printed = sh("cat; echo $LC_ALL; echo noise >&2", b"in ").unwrap();
        assert_eq!(printed.stdout, b"in C\n");
    }

    #[test]
    fn a_failure_has_the_end_of_what_was_printed() {
        let error = sh("for i in 1 2 3 4; do echo line $i >&2; done; exit 3", b"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh failed (exit status: 3): line 2; line 3; line 4"
        );
    }

    #[test]
    fn a_program_that_prints_without_end_of_input_does_not_hang() {
        let many = vec![b'x'; 1 << 20];
        assert_eq!(sh("exit 0", &many).unwrap().stdout, b"");
        assert_eq!(sh("cat", &many).unwrap().stdout, many);
        assert_eq!(
            sh("head -c 300000 /dev/zero", b"").unwrap().stdout.len(),
            300_000
        );
    }

    #[test]
    fn a_program_ends_when_the_user_wants_to_stop() {
        for script in ["exec sleep 1000", "exec sleep 1000 > /dev/null 2>&1"] {
            let result = run(script, b"", &AtomicBool::new(true));
            assert!(matches!(result, Err(Error::Interrupted)), "{script}");
        }
    }

    #[test]
    fn a_program_that_only_the_volume_has_is_used_if_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        let path = folder.path().join("usr/bin/only-there");
        let _ = std::fs::copy("/bin/true", &path).unwrap();
        let finder = Finder {
            view: folder.path(),
            volume: Path::new("/srv"),
            use_volume: false,
        };
        let error = finder.find(&["only-there"], PACKAGE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "only-there is not on this machine, and programs of the volume /srv are not run unless asked for"
        );
        let finder = Finder {
            use_volume: true,
            ..finder
        };
        let found = finder.find(&["only-there"], PACKAGE).unwrap().unwrap();
        assert!(found.is_on_volume());
        assert!(
            !finder
                .find(&["sh"], PACKAGE)
                .unwrap()
                .unwrap()
                .is_on_volume()
        );
        assert_eq!(finder.find(&["nowhere"], PACKAGE).unwrap(), None);
    }
}
