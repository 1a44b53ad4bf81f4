//! Questions: asked on standard output, answered on standard input within half a minute.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::{Failure, OrExit, exit};
use crate::interrupt;
use crate::print::print;

/// How long the older suite waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for a value. An empty answer, and the end of input, mean `default`.
pub(crate) fn ask(name: &str, question: &str, default: &str) -> Result<String, Failure> {
    print(question)?;
    let answer = read_line(&format!("Timed out waiting for user input: {name}"))?;
    match answer.trim() {
        "" => Ok(default.to_owned()),
        answer => Ok(answer.to_owned()),
    }
}

/// Asks whether to go on. Only an answer that begins with `y` or `Y` means yes.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    print(question)?;
    let answer = read_line("Timed out waiting for user input")?;
    Ok(answer.starts_with(['y', 'Y']))
}

/// Reads up to a newline or the end of input, and not a byte further: the next question has the next line.
fn read_line(timed_out: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    let deadline = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    loop {
        if interrupt::is_raised() {
            return Err(Failure::interrupted());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::plain(exit::TIMEOUT, timed_out));
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
    Ok(String::from_utf8_lossy(&line).into_owned())
}
