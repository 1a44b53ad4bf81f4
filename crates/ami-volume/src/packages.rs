//! Which of some files belong to installed packages, as the volume's package database says.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tracing::debug;

use crate::error::Package;
use crate::inside;
use crate::tools::{Finder, Surroundings};

/// Folders that are links into /usr on merged systems: packages may name their files by either path.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

const DPKG: &str = "/var/lib/dpkg/info";

/// Where rpm's database is, on older and on newer systems.
const RPM: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];

const RPM_PACKAGE: Package = Package {
    debian: "rpm",
    red_hat: "rpm",
};

/// Of these paths (below the volume), those that a package owns, with its name; in the order given. No program of the volume is run.
pub(crate) fn owners(
    volume: &Path,
    paths: &[PathBuf],
    interrupted: &AtomicBool,
) -> Vec<(PathBuf, String)> {
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
    search.rpm(volume, interrupted);
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
        let folder = Path::new(DPKG);
        for name in inside::list(volume, folder).unwrap_or_default() {
            let name = Path::new(&name);
            if name.extension() != Some(OsStr::new("list")) {
                continue;
            }
            let stem = name.file_stem().unwrap_or_default().to_string_lossy();
            let package = stem.split(':').next().unwrap_or_default();
            // A list that cannot be read names nobody's files.
            let list = inside::read(volume, &folder.join(name));
            for line in list
                .ok()
                .flatten()
                .unwrap_or_default()
                .split(|&b| b == b'\n')
            {
                self.note(line, package);
            }
        }
    }

    fn rpm(&mut self, volume: &Path, interrupted: &AtomicBool) {
        let has_entries =
            |path: &&Path| inside::list(volume, path).is_ok_and(|names| !names.is_empty());
        let Some(database) = RPM.iter().map(Path::new).find(has_entries) else {
            return;
        };
        let finder = Finder {
            view: volume,
            volume,
            use_volume: false,
        };
        let (Ok(folder), Ok(Some(rpm))) = (
            inside::find(volume, database),
            finder.find(&["rpm"], RPM_PACKAGE),
        ) else {
            return;
        };
        // It would follow a link to this machine's database, and wait for a FIFO.
        let is_plain = |name: &OsString| {
            let path = inside::path_of(&folder).join(name);
            path.symlink_metadata()
                .is_ok_and(|m| m.is_file() || m.is_dir())
        };
        if !inside::list(volume, database).is_ok_and(|names| names.iter().all(is_plain)) {
            return;
        }
        let arguments = [
            "-qa",
            "--qf",
            "[%{FILENAMES}\\t%{=NAME}\\n]",
            // The folder that was looked at, whatever has its name now.
            "--dbpath",
            "/proc/self/cwd",
        ]
        .map(OsStr::new);
        let surroundings = Surroundings {
            place: None,
            folder: Some(&folder),
            interrupted,
        };
        match rpm.run(&surroundings, &arguments, b"") {
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
        let interrupted = AtomicBool::new(false);
        owners(volume, &paths, &interrupted)
            .into_iter()
            .map(name)
            .collect()
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

    #[test]
    fn finding_06_a_package_list_that_is_a_fifo_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("var/lib/dpkg/info");
        fs::create_dir_all(&info).unwrap();
        let mode = rustix::fs::Mode::RWXU;
        for name in ["a.list", "c.list"] {
            let path = info.join(name);
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        }
        fs::write(info.join("b.list"), "/x.pem\n").unwrap();
        // Out of the volume, to what this machine has.
        fs::write(folder.path().join("outside"), "/y.pem\n").unwrap();
        let outside = folder.path().join("outside");
        std::os::unix::fs::symlink(&outside, info.join("d.list")).unwrap();
        assert_eq!(
            found(folder.path(), &["/x.pem", "/y.pem"]),
            [("/x.pem".into(), "b".into())]
        );
    }
}
