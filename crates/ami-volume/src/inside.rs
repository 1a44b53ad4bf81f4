//! Paths inside another root directory: an absolute link there means that root, not this machine's.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As the kernel (MAXSYMLINKS).
const MOST_LINKS: u32 = 40;

/// Where a path of the root directory `root` really is, without links. The last name need not exist.
///
/// Nobody else may change links below `root` meanwhile.
pub(crate) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut found = PathBuf::new();
    let mut rest: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            let _ = found.pop();
            continue;
        }
        let here = root.join(&found).join(&name);
        match fs::read_link(&here) {
            Ok(aim) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::other("too many symbolic links"));
                }
                if aim.is_absolute() {
                    found.clear();
                }
                for name in names(&aim).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(name);
                }
            }
            // No link, or not there: the last name may be missing.
            Err(_) => found.push(name),
        }
    }
    Ok(root.join(found))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// Reads a file of the root directory `root`; `None` if it is not there.
pub(crate) fn read(root: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(resolve(root, path)?) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Whether the root directory `root` has a file there.
pub(crate) fn is_file(root: &Path, path: &Path) -> bool {
    resolve(root, path).is_ok_and(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("usr/lib/x")).unwrap();
        for (aim, link) in [
            ("usr/lib", "lib"),
            ("/usr/lib/x", "absolute"),
            ("../../../../etc/passwd", "out"),
            ("loop2", "loop1"),
            ("loop1", "loop2"),
        ] {
            symlink(aim, root.join(link)).unwrap();
        }
        let resolved = |path: &str| resolve(root, Path::new(path)).ok();
        assert_eq!(resolved("/lib/x/y"), Some(root.join("usr/lib/x/y")));
        assert_eq!(resolved("/absolute/y"), Some(root.join("usr/lib/x/y")));
        assert_eq!(resolved("/absolute/../../../z"), Some(root.join("z")));
        assert_eq!(resolved("/out"), Some(root.join("etc/passwd")));
        assert_eq!(resolved("/loop1"), None);
        assert_eq!(read(root, Path::new("/out")).unwrap(), None);
    }
}
