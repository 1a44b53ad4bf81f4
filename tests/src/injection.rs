//! Faults and kills at chosen system calls, by strace.

use std::process::Command;

use crate::run_by;

/// The same command under strace, which makes a call of the main thread fail or kills the command at it: `SYSCALL:error=EIO:when=2`,
/// `SYSCALL:signal=SIGKILL:when=2`. Child processes are not affected.
pub fn injected(command: &Command, injection: &str) -> Command {
    let call = injection.split(':').next().unwrap_or_default();
    let mut strace = Command::new("strace");
    let _ = strace
        .args(["-qq", "-o", "/dev/null"])
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={injection}")]);
    let _ = run_by(&mut strace, command);
    strace
}
