//! Programs of other projects: found on this machine, or else on the volume and then run in it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::Builder;

use rustix::fs::{Access, access};
use tracing::debug;

use crate::error::Error;
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

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    name: &'static str,
    path: PathBuf,
    /// Run with the volume as its root directory.
    is_on_volume: bool,
}

/// What a program printed.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
}

impl Tool {
    /// Looks for one of the names on this machine, then on the volume.
    pub(crate) fn find(names: &[&'static str], volume: &Path) -> Option<Self> {
        Self::find_in(names, Path::new("/"), false).or_else(|| Self::find_on_volume(names, volume))
    }

    /// Looks for one of the names on the volume only.
    pub(crate) fn find_on_volume(names: &[&'static str], volume: &Path) -> Option<Self> {
        Self::find_in(names, volume, true)
    }

    fn find_in(names: &[&'static str], root: &Path, is_on_volume: bool) -> Option<Self> {
        names.iter().find_map(|&name| {
            FOLDERS.iter().find_map(|folder| {
                let path = Path::new(folder).join(name);
                let is_there = inside::resolve(root, &path)
                    .is_ok_and(|real| real.is_file() && access(&real, Access::EXEC_OK).is_ok());
                is_there.then_some(Self {
                    name,
                    path,
                    is_on_volume,
                })
            })
        })
    }

    /// The program's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it runs with the volume as its root directory, and so needs paths as they are there.
    pub(crate) fn is_on_volume(&self) -> bool {
        self.is_on_volume
    }

    /// Runs it to its end. `view` is where the volume is seen now. Fails if it does.
    pub(crate) fn run(
        &self,
        view: &Path,
        arguments: &[&std::ffi::OsStr],
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
        kernel::bind_to_thread(&mut command, self.is_on_volume.then_some(view));
        debug!(?command, "running");
        let mut child = command.spawn().map_err(Error::io("run", &self.path))?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let printed = std::thread::scope(|scope| {
            let stderr = Builder::new().spawn_scoped(scope, || read_pipe(stderr, MOST_OUTPUT))?;
            let writer = Builder::new().spawn_scoped(scope, move || {
                // A program that does not read its input to the end has its reasons.
                stdin.map(|mut stdin| stdin.write_all(input))
            });
            let Ok(writer) = writer else {
                // Nobody would wait for the program otherwise, and `stderr` waits for its end.
                let _ = child.kill();
                return writer.map(|_| Default::default());
            };
            let stdout = read_pipe(stdout, MOST_OUTPUT);
            let _ = writer.join();
            Ok((stdout, stderr.join().unwrap_or_default()))
        });
        let (stdout, stderr) = match printed {
            Ok(printed) => printed,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::NoThreads(error));
            }
        };
        let status = child.wait().map_err(Error::io("run", &self.path))?;
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

    fn sh(script: &str, input: &[u8]) -> Result<Printed, Error> {
        let tool = Tool::find(&["no-such-tool", "sh"], Path::new("/nonexistent")).unwrap();
        tool.run(Path::new("/"), &["-c".as_ref(), script.as_ref()], input)
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
        assert_eq!(
            sh("head -c 300000 /dev/zero", b"").unwrap().stdout.len(),
            300_000
        );
    }
}
