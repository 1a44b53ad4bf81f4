//! What a copy tells of itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::again::Again;
use crate::entry_error::as_path;

/// What was copied. Paths are those on the volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, folders, links and devices.
    pub entries: u64,
    /// Data in bytes.
    pub data: u64,
    /// What disappeared before it could be copied.
    pub vanished: Vec<PathBuf>,
    /// Files that were written to while they were copied, or replaced while their folder was read.
    pub changed: Vec<PathBuf>,
    /// Files with extended attributes that the image's file system does not take, or that the kernel cannot list.
    pub without_attributes: Vec<PathBuf>,
    /// What the image's kind of file system cannot hold, such as files that are too large for it; left out.
    pub unfit: Vec<PathBuf>,
    /// Files that other processes had a lease on (fcntl(2), F_SETLEASE) until the end; left out.
    pub held: Vec<PathBuf>,
    /// The device numbers (`st_dev`) of the file systems of which folders were copied.
    pub file_systems: BTreeSet<u64>,
    /// What a second pass did, if there was one. Then `changed` and `vanished` are what still changed during it.
    pub again: Option<Again>,
}

/// Called during the copy with the numbers of entries and bytes since the last call.
pub type CopyProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Paths that are reported when the copy is complete.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<PathBuf>>);

impl Notes {
    pub(crate) fn add(&self, path: &[u8]) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.push(as_path(path).to_owned());
    }

    pub(crate) fn sorted(self) -> Vec<PathBuf> {
        let mut paths = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        paths.sort();
        paths.dedup();
        paths
    }
}
