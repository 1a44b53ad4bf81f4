//! What a volume holds, looked at before anything is made.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ami_pool::Pool;
use rustix::fs::{FileType, Stat};

use crate::entry_error::{EntryError, as_path};
use crate::error::Error;
use crate::filter::{Origin, Rule};
use crate::links::{Identity, Links};
use crate::selection::Selection;
use crate::walk::{Entry, Folder, Visitor, walk};

/// The most paths of a kind that are kept to be named.
const MOST_PATHS: usize = 100_000;

/// How much there is to copy, and what is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Files, folders, links and devices.
    pub entries: u64,
    /// The data of files, in bytes, holes not counted.
    pub data: u64,
    /// How many entries each pattern left out; what is in a folder that is left out is not counted.
    pub left_out: Vec<(Rule, u64)>,
    /// What the list of secrets and leftovers took out, sorted.
    pub filtered: Vec<PathBuf>,
    /// Folders that could not be looked into.
    pub unreadable: Vec<PathBuf>,
    /// Files that are larger than the image's file system allows.
    pub too_large: Vec<PathBuf>,
    /// Names of files that are never copied, the private key of this run.
    pub secrets: Vec<PathBuf>,
}

struct Scan {
    may_pass_over: bool,
    entries: AtomicU64,
    data: AtomicU64,
    links: Links<()>,
    left_out: Mutex<BTreeMap<String, (Rule, u64)>>,
    filtered: Mutex<Vec<PathBuf>>,
    unreadable: Mutex<Vec<PathBuf>>,
    largest: u64,
    too_large: Mutex<Vec<PathBuf>>,
    secrets: Mutex<Vec<PathBuf>>,
}

/// Looks at everything in the folder `root` that is selected, and is to go into a file system with files of up to `largest` bytes.
/// Without root's rights, folders may be closed to it.
pub(crate) fn scan(
    root: &Path,
    selection: &Selection,
    largest: u64,
    pool: &Pool,
    interrupted: &AtomicBool,
    is_root: bool,
) -> Result<Contents, Error> {
    let scan = Scan {
        may_pass_over: !is_root,
        entries: AtomicU64::new(1),
        data: AtomicU64::new(0),
        links: Links::default(),
        left_out: Mutex::default(),
        filtered: Mutex::default(),
        unreadable: Mutex::default(),
        largest,
        too_large: Mutex::default(),
        secrets: Mutex::default(),
    };
    let _ = walk(root, selection, pool, interrupted, &scan)?;
    Ok(Contents {
        entries: scan.entries.into_inner(),
        data: scan.data.into_inner(),
        left_out: into_inner(scan.left_out).into_values().collect(),
        filtered: sorted(scan.filtered),
        unreadable: sorted(scan.unreadable),
        too_large: sorted(scan.too_large),
        secrets: sorted(scan.secrets),
    })
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn sorted(paths: Mutex<Vec<PathBuf>>) -> Vec<PathBuf> {
    let mut paths = into_inner(paths);
    paths.sort();
    paths
}

/// Keeps a path, if there are not too many already.
fn note(paths: &Mutex<Vec<PathBuf>>, path: &[u8]) {
    let mut paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
    if paths.len() < MOST_PATHS {
        paths.push(as_path(path).to_owned());
    }
}

impl Visitor for Scan {
    type Counterpart = ();

    fn found_folder(&self, _: &Folder<()>, _: &Entry<'_>) -> Result<(), EntryError> {
        let _ = self.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn open_folder(
        &self,
        _: Option<(&Folder<()>, &CStr)>,
        _: &[u8],
        _: &Stat,
    ) -> Result<(), EntryError> {
        Ok(())
    }

    fn close_folder(&self, _: &Folder<()>) -> Result<(), EntryError> {
        Ok(())
    }

    fn file(&self, parent: &Folder<()>, entry: &Entry<'_>) -> Result<(), EntryError> {
        let stat = entry.stat;
        if stat.st_nlink > 1 {
            let file = Identity::of(&parent.source, entry.name, stat);
            let is_first = self.links.meet(
                &file.ok_or(EntryError::Replaced)?,
                || Ok::<_, EntryError>(((), true)),
                |()| Ok(Some(false)),
            )?;
            if !is_first {
                return Ok(());
            }
        }
        let _ = self.entries.fetch_add(1, Ordering::Relaxed);
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            if stat.st_size.cast_unsigned() > self.largest {
                note(&self.too_large, entry.path);
                return Ok(());
            }
            let data = data_size(stat);
            let _ = self.data.fetch_add(data, Ordering::Relaxed);
        }
        Ok(())
    }

    fn left_out(&self, entry: &Entry<'_>, rule: &Rule) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        match left_out.get_mut(&rule.pattern) {
            Some((_, count)) => *count += 1,
            None => drop(left_out.insert(rule.pattern.clone(), (rule.clone(), 1))),
        }
        drop(left_out);
        if rule.origin == Origin::Filter {
            note(&self.filtered, entry.path);
        }
    }

    fn secret(&self, entry: &Entry<'_>) {
        note(&self.secrets, entry.path);
    }

    fn may_pass_over(&self, folder: &[u8]) -> bool {
        if self.may_pass_over {
            note(&self.unreadable, folder);
        }
        self.may_pass_over
    }
}

/// How much of a file is data, in bytes.
fn data_size(stat: &Stat) -> u64 {
    let allocated = stat.st_blocks.cast_unsigned() * 512;
    stat.st_size.cast_unsigned().min(allocated)
}
