//! What of a volume goes into the image.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Stat;

use crate::filter::{Filter, Rule};

/// What is done about one entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<'a> {
    /// It is copied; a folder is entered.
    Take,
    /// The folder is made, with nothing in it.
    MakeEmpty,
    /// It is left out, by a rule or because it is this run's own.
    LeaveOut(Option<&'a Rule>),
}

/// The rules for all entries. Paths begin with a slash and are relative to the volume.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) filter: Filter,
    /// Folders that are made, but not entered.
    pub(crate) empty: HashSet<Vec<u8>>,
    /// This run's own files.
    pub(crate) own: HashSet<Vec<u8>>,
    /// How the paths of private folders begin, this run's and others'.
    pub(crate) private: Option<Vec<u8>>,
    /// Device and inode number of files that are never copied, whatever their names.
    pub(crate) secrets: Vec<(u64, u64)>,
}

impl Selection {
    pub(crate) fn is_secret(&self, stat: &Stat) -> bool {
        self.secrets.contains(&(stat.st_dev, stat.st_ino))
    }

    /// Whether the folder of that path is copied with what is in it.
    pub(crate) fn enters(&self, path: &Path) -> bool {
        path.ancestors()
            .filter(|folder| folder.parent().is_some())
            .all(|folder| {
                let decision = self.decide(folder.as_os_str().as_bytes(), true);
                matches!(decision, Decision::Take)
            })
    }

    pub(crate) fn decide(&self, path: &[u8], is_folder: bool) -> Decision<'_> {
        let is_private = |start: &Vec<u8>| path.starts_with(start);
        if self.own.contains(path) || self.private.as_ref().is_some_and(is_private) {
            return Decision::LeaveOut(None);
        }
        if is_folder && self.empty.contains(path) {
            return Decision::MakeEmpty;
        }
        match self.filter.decide(path, is_folder) {
            Some(rule) if rule.origin != crate::filter::Origin::Include => {
                Decision::LeaveOut(Some(rule))
            }
            _ => Decision::Take,
        }
    }
}
