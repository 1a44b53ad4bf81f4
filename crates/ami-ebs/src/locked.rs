//! A file of our own that one run uses at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use ami_files::{Identity, identity};
use rustix::fs::{CWD, FlockOperation, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// How long another run's lock is waited for: what holds it can outlive the run for a moment.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Opens a file, or makes it (mode 0600), and locks it. A file that is not ours alone is refused.
pub(crate) fn open_locked(path: &Path) -> Result<File, Error> {
    for _ in 0..LOCK_TRIES {
        let file = match ami_files::open_regular_at(CWD, path, OFlags::RDWR | OFlags::NOFOLLOW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match File::options()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    made => made.map_err(Error::io("create", path))?,
                }
            }
            opened => opened.map_err(Error::io("open", path))?,
        };
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        let foreign = if metadata.uid() != rustix::process::geteuid().as_raw() {
            Some("it belongs to somebody else")
        } else if metadata.mode() & 0o077 != 0 {
            Some("others may read or write it")
        } else if metadata.nlink() > 1 {
            Some("it has another name")
        } else {
            None
        };
        if let Some(reason) = foreign {
            let path = path.to_owned();
            return Err(Error::Foreign { path, reason });
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                std::thread::sleep(LOCK_PAUSE);
                continue;
            }
            Err(error) => return Err(Error::io("lock", path)(error.into())),
        }
        // The run that had the lock may have removed it.
        let opened: Identity = (metadata.dev(), metadata.ino());
        if identity(path) == Some(opened) {
            return Ok(file);
        }
    }
    Err(Error::Busy {
        path: path.to_owned(),
    })
}

/// Opens a file and locks it. `None`: another run has the lock, or had it and has removed the file.
pub(crate) fn lock_if_free(path: &Path) -> Result<Option<File>, Error> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW;
    let file = ami_files::open_regular_at(CWD, path, flags).map_err(Error::io("open", path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
        Err(error) => return Err(Error::io("lock", path)(error.into())),
    }
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    let opened: Identity = (metadata.dev(), metadata.ino());
    Ok((identity(path) == Some(opened)).then_some(file))
}
