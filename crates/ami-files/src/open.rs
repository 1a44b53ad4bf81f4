//! Opening a path that may belong to a file of any kind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The file is of a kind that is not opened. This is the inner error of an [`io::Error`] of the kind
/// [`InvalidInput`](io::ErrorKind::InvalidInput) or [`IsADirectory`](io::ErrorKind::IsADirectory).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is {found}, not a regular file")]
pub struct NotRegular {
    /// What it is, with its article.
    pub found: &'static str,
}

/// Opens a regular file for reading; links to one are followed.
///
/// # Errors
/// [`NotRegular`]; the system's error. `WouldBlock` means that another process has a lease on the file (fcntl(2)).
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_at(CWD, path, OFlags::RDONLY)
}

/// Opens a regular file below `folder`. `flags` takes an access mode and `NOFOLLOW`, which refuses a link as the last component.
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

    // `seen` is already what a link led to, and `/proc/self/fd` is a link itself.
    let at_once = (flags - OFlags::NOFOLLOW) | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open_again(&seen, at_once) {
        // Without /proc it is opened by its name, which may belong to another file by now.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;
    use crate::tests::every_kind;

    #[test]
    fn finding_06_only_regular_files_are_opened_and_opening_never_blocks() {
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
