//! Simulates power cuts on a trace of system calls: of the changes of names since their folder was last synced, any subset may have
//! reached the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file: whether it is new and, if so, whether its contents are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Old,
    New,
}

/// Names with their files, and folders.
#[derive(Debug, Clone, Default)]
struct Disk {
    files: BTreeMap<PathBuf, (File, usize)>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum Change {
    /// A new file, with a number.
    Create(PathBuf, usize),
    MakeFolder(PathBuf),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn is_in(&self, folder: &Path) -> bool {
        let is_below = |path: &Path| path.parent() == Some(folder);
        match self {
            Self::Create(path, _) | Self::MakeFolder(path) | Self::Remove(path) => is_below(path),
            Self::Move(from, to) => is_below(from) || is_below(to),
        }
    }

    fn apply(&self, disk: &mut Disk) {
        match self {
            Self::Create(path, number) => {
                let _ = disk.files.insert(path.clone(), (File::New, *number));
            }
            Self::MakeFolder(path) => {
                let _ = disk.folders.insert(path.clone());
            }
            Self::Move(from, to) => {
                if let Some(file) = disk.files.remove(from) {
                    let _ = disk.files.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => {
                let _ = disk.files.remove(path);
                let _ = disk.folders.remove(path);
            }
        }
    }
}

/// Replays a trace (`strace -f -y`) of a run that replaced the bundle `old` of a folder by `new`, and cuts the power after each call. Then
/// either every old file must exist, under its name or set aside in a folder that exists too, or all of the new bundle; and if there is a
/// manifest, its bundle must be whole. Returns the number of states that were checked.
pub fn assert_nothing_is_lost(
    trace: &str,
    folder: &Path,
    old: &[String],
    new: &[String],
    manifest: &str,
) -> usize {
    let mut durable = Disk::default();
    for name in old {
        let _ = durable.files.insert(folder.join(name), (File::Old, 0));
    }
    let mut pending: Vec<Change> = Vec::new();
    let mut now = durable.clone();
    let mut synced = BTreeSet::new();
    let mut states = 0;
    let mut created = 0;
    for call in calls(trace) {
        match call {
            Call::Sync(path) => {
                if let Some((_, number)) = now.files.get(&path) {
                    let _ = synced.insert(*number);
                }
                let (done, still): (Vec<_>, Vec<_>) =
                    pending.drain(..).partition(|change| change.is_in(&path));
                done.iter().for_each(|change| change.apply(&mut durable));
                pending = still;
            }
            Call::Change(change) if concerns(&change, folder) => {
                let change = match change {
                    Change::Create(path, _) => {
                        created += 1;
                        Change::Create(path, created)
                    }
                    change => change,
                };
                change.apply(&mut now);
                pending.push(change);
            }
            Call::Change(_) => {}
        }
        assert!(
            pending.len() < 16,
            "{} changes are not synced: {pending:?}",
            pending.len()
        );
        for subset in 0..1_u32 << pending.len() {
            let mut disk = durable.clone();
            let chosen = pending.iter().enumerate();
            chosen
                .filter(|(index, _)| subset & (1 << index) != 0)
                .for_each(|(_, change)| change.apply(&mut disk));
            assert_state(&disk, &synced, folder, [old, new], manifest);
            states += 1;
        }
    }
    let ends: Vec<&PathBuf> = now.files.keys().collect();
    let expected: BTreeSet<PathBuf> = new.iter().map(|name| folder.join(name)).collect();
    assert_eq!(
        ends,
        expected.iter().collect::<Vec<_>>(),
        "the trace was not understood"
    );
    states
}

fn concerns(change: &Change, folder: &Path) -> bool {
    match change {
        Change::Create(path, _) | Change::MakeFolder(path) | Change::Remove(path) => {
            path.starts_with(folder)
        }
        Change::Move(from, to) => from.starts_with(folder) && to.starts_with(folder),
    }
}

fn assert_state(
    disk: &Disk,
    synced: &BTreeSet<usize>,
    folder: &Path,
    [old, new]: [&[String]; 2],
    manifest: &str,
) {
    let at = |name: &String| disk.files.get(&folder.join(name));
    let is_new =
        |name: &String| matches!(at(name), Some((File::New, number)) if synced.contains(number));
    let is_old = |name: &String| matches!(at(name), Some((File::Old, _)));
    match at(&manifest.to_owned()) {
        Some((File::New, _)) => assert!(new.iter().all(is_new), "half of the new bundle: {disk:?}"),
        Some((File::Old, _)) => assert!(old.iter().all(is_old), "half of the old bundle: {disk:?}"),
        None => {}
    }
    if !new.iter().all(is_new) {
        let is_reachable = |path: &Path| {
            path.parent() == Some(folder)
                || path
                    .parent()
                    .is_some_and(|parent| disk.folders.contains(parent))
        };
        let left = disk
            .files
            .iter()
            .filter(|(path, (file, _))| *file == File::Old && is_reachable(path));
        assert_eq!(
            left.count(),
            old.len(),
            "something of the old bundle is lost: {disk:?}"
        );
    }
}

enum Call {
    Sync(PathBuf),
    Change(Change),
}

/// The calls that succeeded, in the order in which they ended.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((process, line)) = line.split_once(' ') else {
            continue;
        };
        let line = line.trim_start();
        if let Some(begin) = line.strip_suffix(" <unfinished ...>") {
            let _ = begun.insert(process, begin);
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            let begin = begun.remove(process).unwrap_or_default();
            found.extend(call(&format!("{begin}{end}")));
        } else {
            found.extend(call(line));
        }
    }
    found
}

fn call(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let words: Vec<&str> = arguments
        .trim_end()
        .trim_end_matches(')')
        .split(", ")
        .collect();
    let in_folder = |folder: usize, name: usize| {
        Some(path_of(words.get(folder)?)?.join(words.get(name)?.trim_matches('"')))
    };
    match name {
        "fsync" | "fdatasync" => Some(Call::Sync(path_of(words.first()?)?)),
        "renameat" | "renameat2" => Some(Call::Change(Change::Move(
            in_folder(0, 1)?,
            in_folder(2, 3)?,
        ))),
        "unlinkat" => Some(Call::Change(Change::Remove(in_folder(0, 1)?))),
        "mkdirat" => Some(Call::Change(Change::MakeFolder(in_folder(0, 1)?))),
        "openat" if words.get(2)?.contains("O_CREAT") => {
            let path = path_of(words.first()?)?.join(words.get(1)?.trim_matches('"'));
            Some(Call::Change(Change::Create(path, 0)))
        }
        _ => None,
    }
}

/// The path in `5</path>`.
fn path_of(word: &str) -> Option<PathBuf> {
    let (_, path) = word.split_once('<')?;
    Some(path.split_once('>')?.0.into())
}
