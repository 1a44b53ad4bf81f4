//! What a run could leave behind.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::names;

/// How long the kernel may take to remove a killed run's mounts and loop devices.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loop devices whose file is in `folder`, mounts of it or of an image, and private folders in it.
fn traces(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let device = entry.unwrap().path();
        let file = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        if file.starts_with(folder.to_str().unwrap()) {
            found.push(format!("{}: {}", device.display(), file.trim()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_trace = |line: &&str| line.contains("img-mnt") || line.contains("ec2-bundle-vol");
    found.extend(mounts.lines().filter(is_trace).map(str::to_owned));
    let is_private = |name: &String| name.starts_with(".ec2-ami-tools");
    found.extend(names(folder).into_iter().filter(is_private));
    found
}

/// What a run that has ended left in `folder` or on the machine, without what `may_stay`.
pub fn left_behind(
    folder: &Path,
    patience: Duration,
    may_stay: impl Fn(&str) -> bool,
) -> Vec<String> {
    let folder = fs::canonicalize(folder).unwrap();
    let begin = Instant::now();
    loop {
        let mut found = traces(&folder);
        found.retain(|trace| !may_stay(trace));
        if found.is_empty() || begin.elapsed() >= patience {
            return found;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Fails if a run that has ended left anything in `folder` or on the machine.
pub fn assert_no_trace(folder: &Path) {
    let found = left_behind(folder, PATIENCE, |_| false);
    assert!(found.is_empty(), "left behind: {found:?}");
}
