//! Questions on standard output, answered on standard input within half a minute.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::{Failure, OrExit, exit};
use crate::print::print_question;

/// How long the older suite waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to a yes-or-no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It begins with `y` or `Y`.
    Yes,
    /// Any other answer, or the end of input.
    No,
    /// No answer within half a minute.
    None,
}

impl Answer {
    fn of(line: &str) -> Self {
        if line.starts_with(['y', 'Y']) {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// Asks for a value. An empty answer, and the end of input, mean `default`.
pub(crate) fn ask(
    name: &str,
    question: &str,
    default: &str,
    interrupted: &AtomicBool,
) -> Result<String, Failure> {
    print_question(question)?;
    match read_line(interrupted)?.as_deref().map(str::trim) {
        None => Err(timed_out(&format!(": {name}"))),
        Some("") => Ok(default.to_owned()),
        Some(answer) => Ok(answer.to_owned()),
    }
}

/// Asks a yes-or-no question. Blanks around the answer are ignored.
pub(crate) fn confirm(question: &str, interrupted: &AtomicBool) -> Result<Answer, Failure> {
    print_question(question)?;
    let answer = read_line(interrupted)?;
    Ok(answer.map_or(Answer::None, |answer| Answer::of(answer.trim())))
}

/// Asks whether to continue despite a warning; if not, fails silently with exit code 0.
pub(crate) fn confirm_to_go_on(interrupted: &AtomicBool) -> Result<(), Failure> {
    print_question("Are you sure you want to continue? [y/N]")?;
    // Here the older suite does not ignore leading blanks.
    match read_line(interrupted)?.map_or(Answer::None, |answer| Answer::of(&answer)) {
        Answer::Yes => Ok(()),
        Answer::No => Err(Failure::silent(0)),
        Answer::None => Err(timed_out("")),
    }
}

fn timed_out(what: &str) -> Failure {
    Failure::plain(
        exit::TIMEOUT,
        format!("Timed out waiting for user input{what}"),
    )
}

/// Reads up to a newline or the end of input, and not a byte further, because the next line answers the next question. `None` if neither
/// came in time.
fn read_line(interrupted: &AtomicBool) -> Result<Option<String>, Failure> {
    let stdin = io::stdin();
    let deadline = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::interrupted());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut waiting = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e).or_exit(exit::OTHER),
        }
        let mut byte = [0];
        match rustix::io::read(stdin.as_fd(), &mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e).or_exit(exit::OTHER),
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}
