//! A folder of the file system, accessed through one descriptor.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use ami_files::LimitReader;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, Statx, StatxFlags,
};
use rustix::io::Errno;

use crate::folder::{Entry, Folder, Identity, is_component};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The errors for a name that does not exist, also on a file server in a folder that somebody else has removed.
const GONE: [io::ErrorKind; 2] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::StaleNetworkFileHandle,
];

/// An open folder, and the path that it was opened by.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: File,
    path: PathBuf,
}

impl Dir {
    /// Opens a folder that the user named. Links are followed.
    pub(crate) fn named(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
        Ok(Self {
            fd: fd.into(),
            path: path.to_owned(),
        })
    }

    /// Wraps a folder that is already open.
    pub(crate) fn from_descriptor(fd: File, path: &Path) -> Self {
        Self {
            fd,
            path: path.to_owned(),
        }
    }

    /// Duplicates the descriptor.
    pub(crate) fn descriptor(&self) -> io::Result<File> {
        self.fd.try_clone()
    }

    /// A path to this very folder, whatever its name now leads to. Valid only in this process.
    pub(crate) fn own_path(&self) -> PathBuf {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        // Without /proc, its name must do.
        if path.exists() {
            path
        } else {
            self.path.clone()
        }
    }

    /// Makes a new file.
    pub(crate) fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, component(name)?, flags, Mode::from_raw_mode(mode))?;
        Ok(fd.into())
    }

    /// Opens a plain file for reading.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        let _ = component(name)?;
        ami_files::open_regular_at(&self.fd, Path::new(name), OFlags::RDONLY | OFlags::NOFOLLOW)
    }

    /// Gives an open file of the same file system a name in this folder.
    pub(crate) fn link_file(&self, file: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(
            CWD,
            path,
            &self.fd,
            component(name)?,
            AtFlags::SYMLINK_FOLLOW,
        )?;
        Ok(())
    }
}

fn component(name: &str) -> io::Result<CString> {
    if is_component(name) {
        return Ok(CString::new(name)?);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is not a file name",
    ))
}

/// Kernels before 4.11 have no statx.
fn stat(folder: BorrowedFd<'_>, name: &CString, flags: AtFlags) -> io::Result<Entry> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match rustix::fs::statx(folder, name, flags, wanted) {
        Ok(found) => Ok(entry_of(&found)),
        Err(Errno::NOSYS) => {
            let found = rustix::fs::statat(folder, name, flags)?;
            Ok(Entry {
                is_folder: FileType::from_raw_mode(found.st_mode).is_dir(),
                access: (found.st_uid, found.st_mode & 0o7777),
                links: found.st_nlink as u64,
                identity: Identity {
                    inode: found.st_ino,
                    size: found.st_size.unsigned_abs(),
                    modified: (
                        found.st_mtime,
                        u32::try_from(found.st_mtime_nsec).unwrap_or_default(),
                    ),
                    born: None,
                },
            })
        }
        Err(e) => Err(e.into()),
    }
}

fn entry_of(found: &Statx) -> Entry {
    let mode = u32::from(found.stx_mode);
    let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    let (modified, born) = (found.stx_mtime, found.stx_btime);
    Entry {
        is_folder: FileType::from_raw_mode(mode).is_dir(),
        access: (found.stx_uid, mode & 0o7777),
        links: u64::from(found.stx_nlink),
        identity: Identity {
            inode: found.stx_ino,
            size: found.stx_size,
            modified: (modified.tv_sec, modified.tv_nsec),
            born: has_birth.then_some((born.tv_sec, born.tv_nsec)),
        },
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Folder for Dir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn stat(&self) -> io::Result<Entry> {
        stat(self.fd.as_fd(), &CString::default(), AtFlags::EMPTY_PATH)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_owned().into_string();
            names.extend(name.ok().filter(|name| is_component(name)));
        }
        Ok(names)
    }

    fn look(&self, name: &str) -> io::Result<Option<Entry>> {
        match stat(
            self.fd.as_fd(),
            &component(name)?,
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Err(e) if GONE.contains(&e.kind()) => Ok(None),
            result => result.map(Some),
        }
    }

    fn make(&self, name: &str) -> io::Result<()> {
        rustix::fs::mkdirat(&self.fd, component(name)?, Mode::RWXU)?;
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Self> {
        let flags = FOLDER | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.fd, component(name)?, flags, Mode::empty())?;
        Ok(Self {
            fd: fd.into(),
            path: self.path.join(name),
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let lock = || rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive);
        match rustix::io::retry_on_intr(lock) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(name, 0o600)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let file = self.open_file(name)?;
        let mut bytes = Vec::new();
        let _ = LimitReader::new(file, most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn rename(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.fd, component(name)?, &to.fd, component(new)?)?;
        Ok(())
    }

    fn rename_new(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let (name, new) = (component(name)?, component(new)?);
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            result => Ok(result?),
        }
    }

    fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let (name, new) = (component(name)?, component(new)?);
        rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty())?;
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.fd, component(name)?, AtFlags::empty())?;
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.fd, component(name)?, AtFlags::REMOVEDIR)?;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.fd.sync_all()
    }
}
