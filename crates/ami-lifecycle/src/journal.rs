//! Where a run keeps its journal, and which journals nothing goes on with.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ami_files::folder_of;

use crate::error::Error;
use crate::folders::writable;

/// How the name of a journal ends with which only one run can do anything, because its source is gone with it.
const ONCE: &str = "once";

/// Where a run notes which blocks are written.
#[derive(Debug, Clone)]
pub enum Journal {
    /// In a file of this folder, named after source and region. The folder is made if it is missing.
    In(PathBuf),
    /// In this file.
    At(PathBuf),
}

impl Journal {
    /// The snapshot that a journal of [`Journal::In`] is of, if a run uses it or a later one can go on with it.
    pub fn claim(path: &Path) -> Option<String> {
        let is_of_one_run = path.extension().is_some_and(|end| end == ONCE);
        // What cannot be read is no journal that a run could go on with.
        let is_used = || ami_ebs::Journal::is_in_use(path).unwrap_or(false);
        if is_of_one_run && !is_used() {
            return None;
        }
        ami_ebs::Journal::snapshot_at(path).ok().flatten()
    }

    /// The file for a source in a region. `stays`: a later run can go on with it.
    pub(crate) fn path(&self, source: &str, region: &str, stays: bool) -> PathBuf {
        let kind = if stays { "journal" } else { ONCE };
        match self {
            Self::In(folder) => folder.join(format!("{source}.{region}.{kind}")),
            Self::At(file) => file.clone(),
        }
    }

    /// Why it could not be kept in its folder, which may not be there yet.
    pub(crate) fn check_folder(&self) -> Result<(), Error> {
        let folder = match self {
            Self::In(folder) => folder.as_path(),
            Self::At(file) => folder_of(file),
        };
        let is_there = |folder: &&Path| folder.symlink_metadata().is_ok();
        let nearest = folder.ancestors().find(is_there).unwrap_or(folder);
        writable(nearest).map_err(|source| Error::JournalFolder {
            path: folder.to_owned(),
            source,
        })
    }

    /// Of the journals in the folder, those in a region with which nothing goes on when their run is gone, each with its source.
    pub(crate) fn of_one_run(&self, region: &str) -> Vec<(String, PathBuf)> {
        let Self::In(folder) = self else {
            return Vec::new();
        };
        let end = format!(".{region}.{ONCE}");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let ours = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let source = name.strip_suffix(&end)?.to_owned();
            Some((source, entry.path()))
        });
        ours.collect()
    }
}

/// Makes a folder for this user alone, with those above it.
pub(crate) fn make_private(folder: &Path) -> Result<(), Error> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|source| Error::JournalFolder {
        path: folder.to_owned(),
        source,
    })
}
