//! Whether two paths are the same file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The first of `paths` that is the same file as one of `others`: by another path, as a hard link, or as a symbolic link to it.
/// Paths that do not exist are skipped.
pub fn first_same_file<'a>(
    others: &[PathBuf],
    mut paths: impl Iterator<Item = &'a Path>,
) -> Option<&'a Path> {
    let others: Vec<Identity> = others.iter().flat_map(|path| identities(path)).collect();
    paths.find(|path| identities(path).any(|found| others.contains(&found)))
}

/// Identifies a file whatever its name: its device and inode number.
pub type Identity = (u64, u64);

/// The identity of the file that a path leads to; `None` if there is none.
pub fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| of(&metadata))
}

/// The identity of the path itself and, if it is a symbolic link, of the file that it leads to.
fn identities(path: &Path) -> impl Iterator<Item = Identity> {
    let link = fs::symlink_metadata(path).ok();
    link.map(|metadata| of(&metadata))
        .into_iter()
        .chain(identity(path))
}

fn of(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::every_kind;

    #[test]
    fn a_file_is_known_by_whatever_name() {
        let folder = every_kind();
        let path = |name: &str| folder.path().join(name);
        fs::hard_link(path("file"), path("hard")).unwrap();
        fs::copy(path("file"), path("copy")).map(drop).unwrap();
        let same = |other: &str, path: &Path| {
            first_same_file(&[folder.path().join(other)], [path].into_iter()).is_some()
        };
        for name in ["file", "hard", "to-file", "directory/../file"] {
            assert!(same("file", &path(name)), "{name}");
            assert!(same(name, &path("file")), "{name}");
        }
        // The link itself may be the other path.
        assert!(same("to-file", &path("to-file")));
        for name in ["copy", "directory", "missing", "to-fifo"] {
            assert!(!same("file", &path(name)), "{name}");
            assert!(!same("missing", &path(name)), "{name}");
        }
    }
}
