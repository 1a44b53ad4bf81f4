//! A second process that keeps a promise if this one is killed: it thaws, deletes snapshots, or runs the user's last command.
//!
//! The keeper is the same program, waiting at a pipe whose other end only this process has. If the pipe closes without a word, the keeper
//! waits until the process is gone, and does what it is there for. What it works on is its standard output, open from the beginning:
//! a path may lead elsewhere by then.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Need};
use crate::kernel::{self, Outlook};
use crate::snapshots;

/// As the first argument, in full, makes a program that calls [`keep`] a keeper.
pub const KEEPER: &str = "--keep-promise-of";

/// The words of the duties.
const THAW: &str = "thaw";
const DELETE: &str = "delete";
const RUN: &str = "run";

/// What the keeper says when it is there.
const READY: &[u8] = b"ready";

/// What is written to the pipe: first that the file system is being frozen, or the command that is to be run; at the end, that there is
/// nothing to do any more.
const BEGUN: u8 = 1;
const ALL_WELL: u8 = 2;

/// How often to check whether a process is gone: its files are closed one after the other.
const MOMENT: Duration = Duration::from_millis(1);

/// How many moments a keeper has to end if there is nothing to do, before it is killed. It may be stopped.
const PATIENCE: u32 = 2000;

/// How long one look at a pipe lasts.
const LOOK: Duration = Duration::from_millis(20);

/// How long a keeper may take to start.
const START: Duration = Duration::from_secs(30);

/// What a keeper does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Duty<'a> {
    /// Thaws the file system of an open folder: when this process is gone, and in any case after that time.
    Thaw(Duration),
    /// Deletes an open folder of that name with the snapshots in it.
    Delete(&'a OsStr),
    /// Runs a command line.
    Run(&'a OsStr),
}

/// The waiting process, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts one, and returns when it is there.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] if this program cannot be started, or does not call [`keep`].
    pub(crate) fn start(
        duty: Duty<'_>,
        object: OwnedFd,
        interrupted: &AtomicBool,
    ) -> Result<Self, Error> {
        let (word, value) = match duty {
            Duty::Thaw(limit) => (THAW, OsString::from(limit.as_millis().to_string())),
            Duty::Delete(name) => (DELETE, name.to_owned()),
            Duty::Run(_) => (RUN, OsString::new()),
        };
        // Not the program's path: the file may have been replaced since.
        let mut command = Command::new("/proc/self/exe");
        let _ = command
            .args([KEEPER, &std::process::id().to_string(), word])
            .arg(value)
            .stdin(Stdio::piped())
            .stdout(object)
            .stderr(Stdio::piped())
            // Ctrl-C is for the first process, which keeps its promises itself.
            .process_group(0);
        kernel::look_out(&mut command, outlook_of_process()?);
        let child = command.spawn().map_err(not_started)?;
        let mut keeper = Self(child);
        keeper.wait_for_word(interrupted)?;
        if let Duty::Run(line) = duty {
            keeper.say(line.as_bytes());
        }
        Ok(keeper)
    }

    fn wait_for_word(&mut self, interrupted: &AtomicBool) -> Result<(), Error> {
        let mut pipe = self.0.stderr.take().ok_or_else(|| not_started(refused()))?;
        let end = Instant::now() + START;
        while !is_readable(pipe.as_fd(), LOOK).map_err(not_started)? {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if Instant::now() > end {
                return Err(not_started(std::io::ErrorKind::TimedOut.into()));
            }
        }
        let mut said = [0; READY.len()];
        pipe.read_exact(&mut said).map_err(not_started)?;
        (said == READY)
            .then_some(())
            .ok_or_else(|| not_started(refused()))
    }

    /// Says that the file system is frozen from now on: what another program has frozen is not thawed.
    pub(crate) fn begin(&mut self) {
        self.say(&[BEGUN]);
    }

    fn say(&mut self, words: &[u8]) {
        // The keeper may have been killed. Then this process is the only one that keeps the promise.
        let _ = self.0.stdin.as_mut().map(|pipe| pipe.write_all(words));
    }

    fn has_ended(&mut self) -> bool {
        // A process that cannot be waited for is not a child of this one.
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.say(&[ALL_WELL]);
        drop(self.0.stdin.take());
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

fn refused() -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}

fn not_started(source: std::io::Error) -> Error {
    let need = Need::Keeper;
    Error::NotAllowed { need, source }
}

/// What this process sees outside of the imager's workshop.
pub(crate) fn outlook_of_process() -> Result<Outlook, Error> {
    // The process's first thread never enters the workshop.
    let open = |name: &str, flags| {
        let path = Path::new("/proc/self").join(name);
        rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::io("open", &path))
    };
    Ok(Outlook {
        mounts: open("ns/mnt", OFlags::RDONLY)?,
        root: open("root", OFlags::PATH | OFlags::DIRECTORY)?,
        folder: open("cwd", OFlags::PATH | OFlags::DIRECTORY)?,
    })
}

fn is_readable(pipe: BorrowedFd<'_>, time: Duration) -> std::io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    let time = Timespec::try_from(time).unwrap_or(Timespec {
        tv_sec: i64::from(i32::MAX),
        tv_nsec: 0,
    });
    match rustix::event::poll(&mut polled, Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes this process a keeper if its `arguments` (without the program's name) begin with [`KEEPER`], and returns when it has done its
/// duty; false if it is none.
///
/// A program that makes images with [`crate::InUse`], or freezes a volume, calls this before anything else, and ends if it returns true.
pub fn keep(arguments: &[OsString]) -> bool {
    let [first, process, word, value] = arguments else {
        return false;
    };
    if first != KEEPER {
        return false;
    }
    let Ok(object) = std::io::stdout().as_fd().try_clone_to_owned() else {
        return true;
    };
    // Whoever has started it waits for this word.
    if std::io::stderr().write_all(READY).is_err() {
        return true;
    }
    let limit = value.to_str().and_then(|value| value.parse().ok());
    let limit = limit.filter(|_| word == THAW).map(Duration::from_millis);
    let said = listen(limit.map(|limit| Instant::now() + limit), process);
    if said.last() == Some(&ALL_WELL) {
        return true;
    }
    // Nobody is left who could be told what comes of it.
    if word == DELETE {
        let _ = snapshots::delete(&object, value);
    } else if word == THAW && !said.is_empty() {
        let _ = kernel::thaw(object);
    } else if word == RUN && !said.is_empty() {
        let _ = Command::new("/bin/sh")
            .arg("-c")
            .arg(OsString::from_vec(said))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    true
}

/// What is said until there is nothing to do, until the process that says it is gone, or until `end`.
fn listen(end: Option<Instant>, process: &OsStr) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let mut stdin = std::io::stdin().lock();
    let is_late = || end.is_some_and(|end| Instant::now() >= end);
    loop {
        let left = end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        let count = match is_readable(stdin.as_fd(), left) {
            Ok(false) if is_late() => return said,
            Ok(false) => continue,
            Ok(true) => stdin.read(&mut buffer),
            Err(error) => Err(error),
        };
        match count {
            Ok(count) if count > 0 => said.extend_from_slice(&buffer[..count]),
            // An error counts as the end.
            _ => break,
        }
    }
    // As long as the first process lives, it keeps its promises itself.
    let lives = || {
        rustix::process::getppid()
            .is_some_and(|parent| parent.to_string().as_str() == process.to_string_lossy())
    };
    while said.last() != Some(&ALL_WELL) && lives() && !is_late() {
        sleep(MOMENT);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_keep_its_promises_is_found_out() {
        // The test program knows no such argument.
        let null = std::fs::File::open("/dev/null").unwrap();
        let duty = Duty::Run(OsStr::new("true"));
        let result = Keeper::start(duty, null.into(), &AtomicBool::new(false));
        assert_eq!(
            result.unwrap_err().to_string(),
            "cannot start a second process that cleans up if this one is killed"
        );
        assert!(!keep(&[KEEPER.into(), "1".into(), THAW.into()]));
        assert!(!keep(&[
            "--help".into(),
            "1".into(),
            THAW.into(),
            "2".into()
        ]));
    }
}
