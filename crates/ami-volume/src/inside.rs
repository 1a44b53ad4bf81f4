//! Paths inside another root directory: an absolute link there means that root, not this machine's.
//!
//! What is in that directory may be somebody else's, who may change it at any time. So a path is followed descriptor by descriptor,
//! and what it leads to is opened only when it is known to be a plain file: opening a device or a FIFO has effects, or waits.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use ami_files::LimitReader;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// As the kernel (MAXSYMLINKS).
const MOST_LINKS: u32 = 40;

/// The most that is read of a file, in bytes; configurations and package lists have less than a hundredth.
const MOST_BYTES: u64 = 64 << 20;

/// What a path of the root directory `root` leads to, without opening it (`O_PATH`).
pub(crate) fn find(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // From the root directory to where the path has led so far.
    let mut found = vec![rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?];
    let mut rest: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            found.truncate((found.len() - 1).max(1));
            continue;
        }
        let next = rustix::fs::openat(&found[found.len() - 1], &name, flags, Mode::empty())?;
        if kind(&next)? != FileType::Symlink {
            found.push(next);
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let aim = rustix::fs::readlinkat(&next, c"", Vec::new())?;
        let aim = PathBuf::from(OsString::from_vec(aim.into_bytes()));
        if aim.is_absolute() {
            found.truncate(1);
        }
        for name in names(&aim).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(name);
        }
    }
    Ok(found.swap_remove(found.len() - 1))
}

fn kind(file: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// A path by which this process reaches what a descriptor is of.
pub(crate) fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens a plain file of the root directory `root`, and nothing else.
pub(crate) fn open(root: &Path, path: &Path) -> io::Result<File> {
    ami_files::open_regular(&path_of(&find(root, path)?))
}

/// Reads a plain file of the root directory `root`; `None` if nothing is there.
pub(crate) fn read(root: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match open(root, path) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    let _ = LimitReader::new(file, MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Reads a plain file of the root directory `root` that must be there.
pub(crate) fn read_needed(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    read(root, path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The names in a folder of the root directory `root`, sorted.
pub(crate) fn list(root: &Path, path: &Path) -> io::Result<Vec<OsString>> {
    let found = find(root, path)?;
    if kind(&found)? != FileType::Directory {
        return Err(Errno::NOTDIR.into());
    }
    let entries = fs::read_dir(path_of(&found))?;
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Whether the root directory `root` has a plain file there.
pub(crate) fn is_file(root: &Path, path: &Path) -> bool {
    is(root, path, FileType::RegularFile)
}

/// Whether the root directory `root` has a folder there.
pub(crate) fn is_folder(root: &Path, path: &Path) -> bool {
    is(root, path, FileType::Directory)
}

fn is(root: &Path, path: &Path, wanted: FileType) -> bool {
    find(root, path).is_ok_and(|found| kind(&found).is_ok_and(|kind| kind == wanted))
}

/// Where a path of the root directory `root` really is, without links. The last name need not exist.
///
/// For the image only: nobody else may change links below `root` meanwhile.
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
                    return Err(Errno::LOOP.into());
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
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    })
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
        fs::write(root.join("usr/lib/x/file"), "text").unwrap();
        for path in [
            "/lib/x/file",
            "/absolute/file",
            "/lib/../../../usr/lib/x/file",
        ] {
            assert_eq!(
                read_needed(root, Path::new(path)).unwrap(),
                b"text",
                "{path}"
            );
        }
        assert!(find(root, Path::new("/loop1")).is_err());
        assert!(
            is_folder(root, Path::new("/absolute")) && is_file(root, Path::new("absolute/file"))
        );
        assert_eq!(list(root, Path::new("/lib")).unwrap(), ["x"]);
    }

    #[test]
    fn finding_06_what_is_no_plain_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let zero = rustix::fs::makedev(1, 5);
        for (name, kind, device, told) in [
            ("fifo", FileType::Fifo, 0, "a FIFO"),
            ("socket", FileType::Socket, 0, "a socket"),
            (
                "zero",
                FileType::CharacterDevice,
                zero,
                "a character device",
            ),
        ] {
            let path = root.join(name);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::RWXU, device).unwrap();
            let error = read(root, Path::new(name)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("it is {told}, not a regular file")
            );
        }
        let large = File::create(root.join("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        assert_eq!(
            read(root, Path::new("large")).unwrap_err().to_string(),
            "file too large"
        );
    }
}
