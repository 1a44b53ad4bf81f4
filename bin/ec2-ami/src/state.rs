//! Where the command keeps what outlives a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ami_lifecycle::Journal;

/// The folder of the journals: `$XDG_STATE_HOME/ec2-ami`, else `~/.local/state/ec2-ami` (XDG Base Directory Specification).
pub fn folder() -> PathBuf {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    // Without a home it is a system's service.
    let state = state.unwrap_or_else(|| Path::new("/var/lib").to_owned());
    state.join("ec2-ami")
}

/// The snapshots that journals are of: those in the folder, and these.
pub fn claimed(others: &[PathBuf]) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let files = entries
        .map(|entry| entry.path())
        .chain(others.iter().cloned());
    files.filter_map(|file| Journal::claim(&file)).collect()
}
