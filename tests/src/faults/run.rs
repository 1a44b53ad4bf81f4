//! Running a command under strace.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::calls;
use crate::run_by;

/// After this long, a run is considered hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// A variable that marks all processes of a run.
const MARK: &str = "AMI_FAULTS_RUN";

/// What is injected at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blow {
    /// The call fails with this error, once in each thread and process.
    Error(&'static str),
    /// The same, and so do all later ones.
    Lasting(&'static str),
    /// SIGTERM comes just before it.
    Interrupt,
    /// SIGKILL comes just before it; the sweeper survives.
    Kill,
    /// SIGKILL kills all processes of the run.
    KillAll,
}

/// A call of a run, and what is injected at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Injection {
    /// The call's name.
    pub call: String,
    /// What is injected.
    pub blow: Blow,
    /// Which call of that name in a thread, from 1.
    pub when: usize,
}

impl Injection {
    /// The argument of strace's `-e inject=`.
    fn expression(&self) -> String {
        let Self { call, when, .. } = self;
        match self.blow {
            Blow::Error(error) => format!("{call}:error={error}:when={when}"),
            Blow::Lasting(error) => format!("{call}:error={error}:when={when}+"),
            Blow::Interrupt => format!("{call}:signal=TERM:when={when}"),
            Blow::Kill | Blow::KillAll => format!("{call}:signal=KILL:when={when}"),
        }
    }

    /// The three words that [`parse`](Self::parse) reads.
    pub fn words(&self) -> String {
        let blow = match self.blow {
            Blow::Error(error) => error.to_owned(),
            Blow::Lasting(error) => format!("{error}+"),
            Blow::Interrupt => "TERM".to_owned(),
            Blow::Kill => "KILL".to_owned(),
            Blow::KillAll => "KILL+".to_owned(),
        };
        format!("{} {blow} {}", self.call, self.when)
    }

    /// Parses three words: the call, an error or a signal (with `+` if it persists or hits all processes), and the call's number.
    pub fn parse(call: &str, blow: &str, when: &str) -> Option<Self> {
        let (name, is_more) = match blow.strip_suffix('+') {
            Some(name) => (name, true),
            None => (blow, false),
        };
        let error = || calls::all_errors(call).find(|error| *error == name);
        let blow = match (name, is_more) {
            ("TERM", false) => Blow::Interrupt,
            ("KILL", false) => Blow::Kill,
            ("KILL", true) => Blow::KillAll,
            (_, false) => Blow::Error(error()?),
            (_, true) => Blow::Lasting(error()?),
        };
        Some(Self {
            call: call.to_owned(),
            blow,
            when: when.parse().ok()?,
        })
    }
}

/// A call as logged by strace.
#[derive(Debug, Clone)]
pub struct Line {
    /// The thread.
    pub thread: u32,
    /// The call's name; empty for other lines.
    pub call: String,
    /// Arguments and result; for other lines, the whole line.
    pub text: String,
}

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit code, or a signal's number negated; `None` if the run had to be ended.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// What strace logged.
    pub log: Vec<Line>,
    /// The processes that were left when it had ended, or had to be ended.
    pub left: Vec<String>,
    /// strace's command line.
    pub command: String,
}

impl Ran {
    /// The calls that were made to fail.
    pub fn hits(&self) -> impl Iterator<Item = &Line> {
        let lines = self.log.iter();
        lines.filter(|line| line.text.ends_with("(INJECTED)"))
    }

    /// Whether the log has a line that is not a call and begins like this: `+++ exited with 1`, `--- SIGTERM `.
    pub fn logged(&self, begin: &str) -> bool {
        let mut others = self.log.iter().filter(|line| line.call.is_empty());
        others.any(|line| line.text.starts_with(begin))
    }
}

/// Runs a command, and logs all of its calls that can fail and those that mark the end of its start-up.
pub fn count(command: &Command) -> Ran {
    let names: Vec<String> = calls::names()
        .iter()
        .chain(&[super::plan::STARTED])
        .map(|name| format!("?{name}"))
        .collect();
    let trace = format!("trace={}", names.join(","));
    traced(command, &["-e", &trace])
}

/// Runs a command with an injection.
pub fn inject(command: &Command, injection: &Injection) -> Ran {
    let trace = format!("trace={},execve", injection.call);
    let inject = format!("inject={}", injection.expression());
    let expressions = ["-e", trace.as_str(), "-e", inject.as_str()];
    match injection.blow {
        // Without --seccomp-bpf, strace stops at every call; with it, strace 6.1 injects no signals.
        Blow::Error(_) | Blow::Lasting(_) => {
            let options = ["--seccomp-bpf"].into_iter().chain(expressions);
            traced(command, &options.collect::<Vec<_>>())
        }
        Blow::Interrupt | Blow::Kill => traced(command, &expressions),
        // When the first process of a PID namespace dies, all others do too.
        Blow::KillAll => {
            let mut alone = Command::new("unshare");
            let _ = run_by(alone.args(["--pid", "--fork"]), command);
            traced(&alone, &expressions)
        }
    }
}

fn traced(command: &Command, options: &[&str]) -> Ran {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{number}", std::process::id());
    let folder = crate::folder();
    let log = folder.path().join("log");
    let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("stderr"));

    let mut strace = Command::new("strace");
    let _ = strace
        .args(["-f", "-yy", "-s", "64", "-o"])
        .arg(&log)
        .args(options)
        .stdin(Stdio::null())
        .stdout(File::create(&stdout).unwrap())
        .stderr(File::create(&stderr).unwrap());
    let _ = run_by(&mut strace, command).env(MARK, &mark);
    let mut child = strace.spawn().unwrap();
    let status = wait(&mut child);
    let mark = format!("{MARK}={mark}");
    let left = processes(&mark);
    if status.is_none() || !left.is_empty() {
        end(&mut child, &mark);
    }
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Ran {
        code: status.map(|status| status.code().unwrap_or(-status.signal().unwrap_or(0))),
        stdout: text(&stdout),
        stderr: text(&stderr),
        log: lines(&text(&log)),
        left,
        command: shown(&strace),
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || begin.elapsed() > PATIENCE {
            return status;
        }
        sleep(Duration::from_millis(2));
    }
}

/// The processes with this mark in their environment: ID, state and command line.
fn processes(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let folder = entry.unwrap().path();
        // The process may have ended since.
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        if !environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
        {
            continue;
        }
        let text = |name: &str| {
            let bytes = fs::read(folder.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let stat = text("stat");
        let state = stat.rsplit(") ").next().and_then(|rest| rest.get(..1));
        found.push(format!(
            "{} {} in {} ({})",
            folder.file_name().unwrap_or_default().to_string_lossy(),
            state.unwrap_or_default(),
            text("syscall").trim(),
            text("cmdline").trim()
        ));
    }
    found
}

/// Kills a run whose processes do not end by themselves.
fn end(child: &mut Child, mark: &str) {
    let begin = Instant::now();
    loop {
        let left = processes(mark);
        if left.is_empty() {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "cannot be killed: {left:?}");
        for process in left {
            let id = process.split(' ').next().and_then(|id| id.parse().ok());
            if let Some(id) = id.and_then(Pid::from_raw) {
                // It may have ended since.
                let _ = kill_process(id, Signal::KILL);
            }
        }
        sleep(Duration::from_millis(5));
    }
    let _ = child.wait().unwrap();
}

/// A log's lines, with calls that another thread's calls split joined again.
fn lines(log: &str) -> Vec<Line> {
    const UNFINISHED: &str = " <unfinished ...>";
    let mut lines: Vec<Line> = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else {
            continue;
        };
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let mut before = lines.iter_mut().rev().filter(|line| line.thread == thread);
            let end = resumed.split_once(" resumed>").map(|(_, end)| end);
            if let (Some(line), Some(end)) = (before.next(), end) {
                line.text.push_str(end);
            }
            continue;
        }
        let rest = rest.strip_suffix(UNFINISHED).unwrap_or(rest);
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.is_empty()
        };
        let (call, text) = match rest.split_once('(') {
            Some((call, text)) if is_name(call) => (call, text),
            _ => ("", rest),
        };
        lines.push(Line {
            thread,
            call: call.to_owned(),
            text: text.to_owned(),
        });
    }
    lines
}

/// The command line for a shell, including the variables that are set.
fn shown(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| {
        let text = text.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
        if !text.is_empty() && text.chars().all(is_plain) {
            text.into_owned()
        } else {
            format!("'{text}'")
        }
    };
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))));
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_calls_with_their_results() {
        let log = "10 openat(AT_FDCWD</>, \"x\", O_RDONLY <unfinished ...>\n\
                   11 rename(\"a\", \"b\") = -1 EIO (Input/output error) (INJECTED)\n\
                   10 <... openat resumed>) = 3</x>\n\
                   11 +++ exited with 0 +++\n";
        let found: Vec<(u32, String, String)> = lines(log)
            .into_iter()
            .map(|line| (line.thread, line.call, line.text))
            .collect();
        let expected = [
            (10, "openat", "AT_FDCWD</>, \"x\", O_RDONLY) = 3</x>"),
            (
                11,
                "rename",
                "\"a\", \"b\") = -1 EIO (Input/output error) (INJECTED)",
            ),
            (11, "", "+++ exited with 0 +++"),
        ];
        let expected = expected.map(|(thread, call, text)| (thread, call.into(), text.into()));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_injection_is_read_as_it_is_shown() {
        for words in [
            "rename EIO 3",
            "write ENOSPC+ 1",
            "fsync TERM 2",
            "fsync KILL 2",
            "fsync KILL+ 2",
        ] {
            let [call, blow, when] = words.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{words}");
            };
            let injection = Injection::parse(call, blow, when).unwrap();
            assert_eq!(injection.words(), words);
        }
        assert_eq!(Injection::parse("rename", "EMFILE", "3"), None);
    }
}
