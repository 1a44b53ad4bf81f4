//! Measures commands with GNU time.

use std::process::Command;

use crate::Result;

/// What a command used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    /// Seconds from beginning to end.
    pub wall: f64,
    /// Seconds of processor time in all its processes.
    pub cpu: f64,
    /// The largest memory use of one of its processes, in MiB.
    pub memory: f64,
    /// What its processes wrote to file systems, in MiB.
    pub written: f64,
}

/// Runs a shell script and measures it; it must succeed.
pub fn measured(script: &str) -> Result<Measured> {
    match attempted(script)? {
        (measured, None) => Ok(measured),
        (_, Some(errors)) => Err(format!("{script}\n{errors}").into()),
    }
}

/// Runs a shell script and measures it. If it fails, what it wrote to standard error comes too.
pub fn attempted(script: &str) -> Result<(Measured, Option<String>)> {
    let output = Command::new("/usr/bin/time")
        .args([
            "-f",
            "%e %U %S %M %O",
            "bash",
            "-euo",
            "pipefail",
            "-c",
            script,
        ])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let (errors, last) = match text.trim_end().rsplit_once('\n') {
        Some((errors, last)) => (errors, last),
        None => ("", text.trim_end()),
    };
    let numbers = last
        .split(' ')
        .map(str::parse)
        .collect::<std::result::Result<Vec<f64>, _>>()
        .map_err(|e| format!("{script}\n{text}: {e}"))?;
    let [wall, user, system, kib, blocks] = numbers[..] else {
        return Err(format!("time printed: {last}").into());
    };
    let measured = Measured {
        wall,
        cpu: user + system,
        memory: kib / 1024.0,
        // Blocks of 512 bytes (getrusage(2), ru_oublock).
        written: blocks / 2048.0,
    };
    let failed = !output.status.success();
    Ok((measured, failed.then(|| errors.to_owned())))
}

/// The fastest of several runs, with the largest memory use of any.
pub fn best_of(runs: usize, mut run: impl FnMut() -> Result<Measured>) -> Result<Measured> {
    let mut best = run()?;
    for _ in 1..runs {
        let next = run()?;
        let memory = best.memory.max(next.memory);
        if next.wall < best.wall {
            best = next;
        }
        best.memory = memory;
    }
    Ok(best)
}

/// Runs a shell script that must succeed, and returns its output.
pub fn shell(script: &str) -> Result<String> {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{script}\n{text}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
