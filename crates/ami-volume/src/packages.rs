//! Which of some files belong to installed packages, as the volume's package database says.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tracing::debug;

use crate::inside;
use crate::tools::Tool;

/// Folders that are links into /usr on merged systems: packages may name their files by either path.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

const DPKG: &str = "/var/lib/dpkg/info";

/// Where rpm's database is, on older and on newer systems.
const RPM: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];

/// Of these paths (below the volume), those that a package owns, with its name; in the order given.
pub(crate) fn owners(volume: &Path, paths: &[PathBuf]) -> Vec<(PathBuf, String)> {
    if paths.is_empty() {
        return Vec::new();
    }
    let mut search = Search {
        wanted: paths
            .iter()
            .map(|path| path.as_os_str().as_bytes())
            .collect(),
        merged: MERGED
            .into_iter()
            .filter(|name| {
                fs::read_link(volume.join(name))
                    .is_ok_and(|aim| aim.ends_with(Path::new("usr").join(name)))
            })
            .collect(),
        found: HashMap::new(),
    };
    search.dpkg(volume);
    search.rpm(volume);
    let owner = |path: &PathBuf| {
        Some((
            path.clone(),
            search.found.get(path.as_os_str().as_bytes())?.clone(),
        ))
    };
    paths.iter().filter_map(owner).collect()
}

struct Search<'a> {
    wanted: HashSet<&'a [u8]>,
    merged: Vec<&'static str>,
    found: HashMap<Vec<u8>, String>,
}

impl Search<'_> {
    fn note(&mut self, path: &[u8], package: &str) {
        let top = path
            .get(1..)
            .and_then(|rest| rest.split(|&b| b == b'/').next())
            .unwrap_or_default();
        let is_merged = self.merged.iter().any(|name| name.as_bytes() == top);
        let path = if is_merged {
            [b"/usr", path].concat()
        } else {
            path.to_vec()
        };
        if self.wanted.contains(path.as_slice()) {
            let _ = self.found.entry(path).or_insert_with(|| package.to_owned());
        }
    }

    /// One text file a package, with a path a line (dpkg-query(1), "FILES").
    fn dpkg(&mut self, volume: &Path) {
        let Ok(folder) = inside::resolve(volume, Path::new(DPKG)) else {
            return;
        };
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension() != Some(OsStr::new("list")) {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let package = stem.split(':').next().unwrap_or_default();
            // A list that cannot be read names nobody's files.
            for line in fs::read(&path).unwrap_or_default().split(|&b| b == b'\n') {
                self.note(line, package);
            }
        }
    }

    fn rpm(&mut self, volume: &Path) {
        let has_entries =
            |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        let Some(database) = RPM.iter().find(|path| {
            inside::resolve(volume, Path::new(path)).is_ok_and(|path| has_entries(&path))
        }) else {
            return;
        };
        let Some(rpm) = Tool::find(&["rpm"], volume) else {
            return;
        };
        let path = if rpm.is_on_volume() {
            PathBuf::from(database)
        } else {
            inside::resolve(volume, Path::new(database)).unwrap_or_default()
        };
        let arguments = [
            "-qa".as_ref(),
            "--qf".as_ref(),
            OsStr::new("[%{FILENAMES}\\t%{=NAME}\\n]"),
            "--dbpath".as_ref(),
            path.as_os_str(),
        ];
        match rpm.run(volume, &arguments, b"") {
            Ok(printed) => {
                for line in printed.stdout.split(|&b| b == b'\n') {
                    if let Some(tab) = line.iter().rposition(|&b| b == b'\t') {
                        self.note(&line[..tab], &String::from_utf8_lossy(&line[tab + 1..]));
                    }
                }
            }
            Err(error) => debug!(%error, "rpm's database"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(volume: &Path, paths: &[&str]) -> Vec<(String, String)> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let name =
            |(path, package): (PathBuf, String)| (path.to_str().unwrap().to_owned(), package);
        owners(volume, &paths).into_iter().map(name).collect()
    }

    #[test]
    fn dpkgs_lists_are_searched_by_either_path_of_a_merged_system() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
        fs::write(
            root.join("var/lib/dpkg/info/libx:amd64.list"),
            "/.\n/lib/x/a.pem\n/usr/share/b.pem\n",
        )
        .unwrap();
        fs::write(
            root.join("var/lib/dpkg/info/libx:amd64.md5sums"),
            "/etc/c.pem\n",
        )
        .unwrap();
        assert_eq!(
            found(
                root,
                &["/usr/share/b.pem", "/etc/c.pem", "/usr/lib/x/a.pem"]
            ),
            [
                ("/usr/share/b.pem".into(), "libx".into()),
                ("/usr/lib/x/a.pem".into(), "libx".into())
            ]
        );
        assert_eq!(found(root, &[]), []);
    }
}
