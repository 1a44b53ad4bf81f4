//! Which contents of a volume go into the image.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use crate::error::Error;
use crate::filter::{Filter, Origin, Rule, SECRETS_AND_LEFTOVERS};
use crate::request::Request;
use crate::snapshots::{HOLDER, Shown};

/// Folders whose contents belong to the running machine: they are empty in every image.
pub const ALWAYS_EMPTY: [&str; 5] = ["/dev", "/media", "/mnt", "/proc", "/sys"];

/// What is done with one entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<'a> {
    /// It is copied; a folder is entered.
    Take,
    /// The folder is made, with nothing in it.
    MakeEmpty,
    /// It is left out, by a rule or because it is one of this run's own files.
    LeaveOut(Option<&'a Rule>),
}

/// The rules for all entries. Paths begin with a slash and are relative to the volume.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) filter: Filter,
    /// Folders that are made, but not entered.
    pub(crate) empty: HashSet<Vec<u8>>,
    /// This run's own files.
    pub(crate) own: HashSet<Vec<u8>>,
    /// How the paths of private folders begin, this run's and others'.
    pub(crate) private: Option<Vec<u8>>,
    /// Device and inode number of files that are never copied, under any of their names.
    pub(crate) secrets: Vec<(u64, u64)>,
}

impl Selection {
    /// The selection that a request asks for. `volume` is its path without links; mounts at `left_out` are not copied.
    pub(crate) fn new<'p>(
        request: &Request,
        volume: &Path,
        left_out: impl Iterator<Item = &'p Path>,
    ) -> Result<Self, Error> {
        let below = |path: &PathBuf| {
            let path = real_path(path);
            Some(bytes(&Path::new("/").join(path.strip_prefix(volume).ok()?)))
        };
        let own = [&request.image].into_iter().chain(&request.own);
        let empty = ALWAYS_EMPTY.into_iter().map(Path::new).chain(left_out);
        Ok(Self {
            filter: Filter::new(rules(request))?,
            empty: empty.map(bytes).collect(),
            own: own.filter_map(below).collect(),
            private: below(&request.private),
            secrets: request
                .secrets
                .iter()
                .filter_map(|path| ami_files::identity(path))
                .collect(),
        })
    }

    /// The same for snapshots: a file has another device number there.
    pub(crate) fn with_snapshots(&self, devices: &[Shown]) -> Self {
        let mut selection = self.clone();
        for shown in devices {
            let secrets = self.secrets.iter();
            let on_it = secrets.filter(|(device, _)| *device == shown.original);
            selection
                .secrets
                .extend(on_it.map(|(_, number)| (shown.device, *number)));
        }
        selection
    }

    pub(crate) fn is_secret(&self, stat: &Stat) -> bool {
        self.secrets.contains(&(stat.st_dev, stat.st_ino))
    }

    /// Whether the folder of that path is copied with its contents.
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
        if is_folder && is_holder(path) {
            return Decision::LeaveOut(None);
        }
        if is_folder && self.empty.contains(path) {
            return Decision::MakeEmpty;
        }
        match self.filter.decide(path, is_folder) {
            Some(rule) if rule.origin != Origin::Include => Decision::LeaveOut(Some(rule)),
            _ => Decision::Take,
        }
    }
}

/// Whether a folder is one with snapshots, this run's or a killed one's.
fn is_holder(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    name.starts_with(HOLDER.as_bytes())
}

/// The rules of a request; the first that matches decides.
fn rules(request: &Request) -> Vec<Rule> {
    let filter = SECRETS_AND_LEFTOVERS.map(str::to_owned);
    let filter: &[String] = if request.filter { &filter } else { &[] };
    [
        (request.includes.as_slice(), Origin::Include),
        (&request.excludes, Origin::Exclude),
        (filter, Origin::Filter),
    ]
    .into_iter()
    .flat_map(|(patterns, origin)| patterns.iter().map(move |pattern| (pattern, origin)))
    .map(|(pattern, origin)| Rule {
        pattern: pattern.clone(),
        origin,
    })
    .collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// A path without links; its last name need not exist.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let real = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => fs::canonicalize(folder).map(|folder| folder.join(name)),
        _ => fs::canonicalize(path),
    };
    real.unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_entered_if_all_folders_above_it_are() {
        let rule = |pattern: &str, origin| Rule {
            pattern: pattern.to_owned(),
            origin,
        };
        let rules = vec![
            rule("/srv/kept/", Origin::Include),
            rule("/srv/*", Origin::Exclude),
            rule("cache", Origin::Exclude),
        ];
        let selection = Selection {
            filter: Filter::new(rules).unwrap(),
            empty: ["/mnt", "/run"].map(|path| path.as_bytes().to_vec()).into(),
            own: [b"/var/image".to_vec()].into(),
            private: Some(b"/var/.private".to_vec()),
            secrets: Vec::new(),
        };
        for (path, is_entered) in [
            ("/", true),
            ("/home", true),
            ("/srv/kept/deep/er", true),
            ("/srv/other", false),
            ("/srv/other/kept", false),
            ("/home/cache/deep", false),
            ("/mnt", false),
            ("/mnt/disk", false),
            ("/run/lock", false),
            ("/var", true),
            ("/var/image", false),
            ("/var/.private-1/image", false),
        ] {
            assert_eq!(selection.enters(Path::new(path)), is_entered, "{path}");
        }
    }
}
