//! Files that somebody else may have made: opening them, and telling whether one is another.
//!
//! A name in a folder of somebody else can belong to a FIFO, on which an ordinary open waits for ever, or to a device, which an
//! open can set going (a watchdog, a tape). So what has the name is looked at first, through a descriptor that does nothing else
//! (`O_PATH`), and exactly that is then opened: between the two nobody can put something else in its place.
//!
//! Not here: limits on how much is read. Whoever reads knows how much a file of its kind can have.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! let error = ami_files::open_regular("/dev/zero".as_ref()).unwrap_err();
//! assert_eq!(error.to_string(), "it is a character device, not a regular file");
//! # Ok(()) }
//! ```

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// What has the name is of another kind than what can be opened. It is the inner error of an [`io::Error`] of the kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput), or [`IsADirectory`](io::ErrorKind::IsADirectory).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is {found}, not a regular file")]
pub struct NotRegular {
    /// What it is, with its article.
    pub found: &'static str,
}

/// Opens a regular file for reading; links to one are followed.
///
/// # Errors
/// [`NotRegular`]; what the system says. `WouldBlock` means that another process has a lease on the file (fcntl(2)).
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_at(CWD, path, OFlags::RDONLY)
}

/// Opens a regular file below `folder`. Of `flags`, the access mode and `NOFOLLOW` count, which refuses a link as the last
/// component.
///
/// # Errors
/// As of [`open_regular`].
pub fn open_regular_at(folder: impl AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    open_if(folder, path, flags, FileType::is_file)
}

/// Opens a regular file or block device for reading; links to one are followed.
///
/// # Errors
/// As of [`open_regular`].
pub fn open_regular_or_block_device(path: &Path) -> io::Result<File> {
    open_if(CWD, path, OFlags::RDONLY, |kind| {
        kind.is_file() || kind.is_block_device()
    })
}

fn open_if(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    is_right: fn(FileType) -> bool,
) -> io::Result<File> {
    let folder = folder.as_fd();
    let only_look = OFlags::PATH | OFlags::CLOEXEC | (flags & OFlags::NOFOLLOW);
    let seen =
        rustix::io::retry_on_intr(|| rustix::fs::openat(folder, path, only_look, Mode::empty()))?;
    let before = rustix::fs::fstat(&seen)?;
    check(&before, is_right)?;

    // The last component is no link: `seen` is what it led to.
    let at_once = (flags - OFlags::NOFOLLOW) | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open_again(&seen, at_once) {
        // No /proc: then by its name, which may have got another owner.
        Err(Errno::NOENT | Errno::NOTDIR) => {
            let flags = at_once | (flags & OFlags::NOFOLLOW);
            let opened = rustix::io::retry_on_intr(|| {
                rustix::fs::openat(folder, path, flags, Mode::empty())
            })?;
            check(&rustix::fs::fstat(&opened)?, is_right)?;
            Ok(opened.into())
        }
        opened => Ok(opened?.into()),
    }
}

fn open_again(seen: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", seen.as_raw_fd());
    rustix::io::retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))
}

fn check(found: &Stat, is_right: fn(FileType) -> bool) -> io::Result<()> {
    let kind = FileType::from_raw_mode(found.st_mode);
    if is_right(kind) {
        return Ok(());
    }
    let (found, error) = match kind {
        FileType::Directory => ("a directory", io::ErrorKind::IsADirectory),
        FileType::Fifo => ("a FIFO", io::ErrorKind::InvalidInput),
        FileType::Socket => ("a socket", io::ErrorKind::InvalidInput),
        FileType::CharacterDevice => ("a character device", io::ErrorKind::InvalidInput),
        FileType::BlockDevice => ("a block device", io::ErrorKind::InvalidInput),
        FileType::Symlink => ("a symbolic link", io::ErrorKind::InvalidInput),
        _ => ("something else", io::ErrorKind::InvalidInput),
    };
    Err(io::Error::new(error, NotRegular { found }))
}

/// The first of `paths` that is one of the files `others`, under whatever name: by another path, as a hard link, or as a symbolic
/// link to it. What is not there is no file.
pub fn first_same_file<'a>(
    others: &[PathBuf],
    mut paths: impl Iterator<Item = &'a Path>,
) -> Option<&'a Path> {
    let others: Vec<(u64, u64)> = others.iter().flat_map(|path| identities(path)).collect();
    paths.find(|path| identities(path).any(|found| others.contains(&found)))
}

/// Device and inode of what has the name and, if that is a symbolic link, of what it leads to.
fn identities(path: &Path) -> impl Iterator<Item = (u64, u64)> {
    [fs::symlink_metadata(path), fs::metadata(path)]
        .into_iter()
        .flatten()
        .map(|metadata: Metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    /// A folder with something of every kind that needs no root, and links to all of it.
    fn every_kind() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        fs::create_dir(path("directory")).unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        drop(UnixListener::bind(path("socket")).unwrap());
        symlink("/dev/zero", path("device")).unwrap();
        for name in ["file", "directory", "fifo", "socket", "device"] {
            symlink(name, path(&format!("to-{name}"))).unwrap();
        }
        folder
    }

    #[test]
    fn finding_06_only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = every_kind();
        for (name, found) in [
            ("directory", "a directory"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
            ("device", "a character device"),
        ] {
            for name in [name, &format!("to-{name}")] {
                let error = open_regular(&folder.path().join(name)).unwrap_err();
                let expected = format!("it is {found}, not a regular file");
                assert_eq!(error.to_string(), expected, "{name}");
                let inner = error.get_ref().unwrap().downcast_ref();
                assert_eq!(inner, Some(&NotRegular { found }));
                assert!(open_regular_or_block_device(&folder.path().join(name)).is_err());
            }
        }
        for name in ["file", "to-file"] {
            let mut text = String::new();
            let mut file = open_regular(&folder.path().join(name)).unwrap();
            let _ = file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        let missing = open_regular(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

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
        // A link itself may be what the other path goes through.
        assert!(same("to-file", &path("to-file")));
        for name in ["copy", "directory", "missing", "to-fifo"] {
            assert!(!same("file", &path(name)), "{name}");
            assert!(!same("missing", &path(name)), "{name}");
        }
    }

    #[test]
    fn a_link_is_refused_where_it_is_not_to_be_followed_and_files_can_be_opened_for_writing() {
        let folder = every_kind();
        let root = fs::File::open(folder.path()).unwrap();
        let open = |name: &str, flags| open_regular_at(&root, name.as_ref(), flags);
        let error = open("to-file", OFlags::NOFOLLOW).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is a symbolic link, not a regular file"
        );
        assert!(open("file", OFlags::NOFOLLOW).is_ok());
        assert!(open("fifo", OFlags::WRONLY).is_err());
        let file = open("file", OFlags::WRONLY | OFlags::NOFOLLOW).unwrap();
        assert_eq!(rustix::io::write(&file, b"new!").unwrap(), 4);
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"new!");
    }
}
