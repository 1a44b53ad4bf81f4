//! Replacing a manifest, and keeping the old one as a backup.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use ami_files::{LimitReader, folder_of};
use ami_parts::{Prepared, Staging};
use rustix::fs::{CWD, OFlags};
use tracing::debug;

use crate::error::Error;
use crate::observer::{Observer, make_private};

/// The files' names in the private folder.
const NEW: &str = "new";
const BACKUP: &str = "backup";

/// A manifest that can be replaced.
pub(crate) struct Replacement {
    /// The manifest's file, with links resolved.
    file: PathBuf,
    backup: PathBuf,
    old: Vec<u8>,
    /// Whether the backup exists already: an earlier run was killed just before it replaced the manifest.
    is_backed_up: bool,
}

impl Replacement {
    /// Chooses the backup's name. No file may have it, except a backup of the same manifest.
    pub(crate) fn prepare(path: &Path, old: Vec<u8>) -> Result<Self, Error> {
        let mut backup = path.as_os_str().to_owned();
        backup.push(".bak");
        let backup = PathBuf::from(backup);
        let is_backed_up = holds(&backup, &old);
        if !is_backed_up && fs::symlink_metadata(&backup).is_ok() {
            return Err(Error::BackupExists(backup));
        }
        Ok(Self {
            file: fs::canonicalize(path).map_err(writing(path))?,
            backup,
            old,
            is_backed_up,
        })
    }

    /// The backup's path.
    pub(crate) fn backup(&self) -> &Path {
        &self.backup
    }

    /// Checks the permission to write to the file. Replacing it by a rename would not need it, but a read-only file is not meant to change.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        ami_files::open_regular_at(CWD, &self.file, OFlags::WRONLY)
            .map(drop)
            .map_err(writing(&self.file))
    }

    /// Backs up the old manifest and replaces it by the new one, both with the old one's owner and mode. On error, nothing has changed.
    pub(crate) fn replace(&self, new: &[u8], observer: &impl Observer) -> Result<(), Error> {
        let staging = private_folder(folder_of(&self.file), observer)?;
        self.write_alike(&staging, NEW, new)?;
        let is_new_backup = !self.is_backed_up;
        if is_new_backup {
            self.back_up(observer)?;
        }
        let replaced = staging.replace(NEW, &name_of(&self.file));
        let is_replaced = matches!(replaced, Ok(_) | Err(ami_parts::Error::NotSynced { .. }));
        if !is_replaced && is_new_backup {
            let _ = fs::remove_file(&self.backup);
        }
        Ok(replaced.map(drop)?)
    }

    fn back_up(&self, observer: &impl Observer) -> Result<(), Error> {
        let staging = private_folder(folder_of(&self.backup), observer)?;
        self.write_alike(&staging, BACKUP, &self.old)?;
        let named = staging.give_name(BACKUP, &name_of(&self.backup))?;
        debug!(path = %named.display(), "kept");
        Ok(())
    }

    fn write_alike(&self, staging: &Staging, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = staging.path().join(name);
        let mut file = staging.create(name, 0o666)?;
        let mut write = || {
            let old = fs::metadata(&self.file)?;
            file.write_all(bytes)?;
            // Only root may give files away.
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            file.sync_all()
        };
        write().map_err(writing(&path))
    }
}

fn private_folder(folder: &Path, observer: &impl Observer) -> Result<Staging, Error> {
    make_private(Prepared::new(folder)?, observer, Error::Files)
}

/// Whether it is a file with exactly these bytes. Reads no more than needed.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let mut found = Vec::new();
    let read = ami_files::open_regular(path)
        .and_then(|file| LimitReader::new(file, bytes.len() as u64).read_to_end(&mut found));
    read.is_ok() && found == bytes
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write { path, source }
}
