//! A manifest in place of another, which stays as a backup.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use ami_cli::{Context, Failure, OrExit, exit};
use ami_parts::Staging;
use rustix::fs::{CWD, OFlags};
use tracing::debug;

/// The files' names in the private folder.
const NEW: &str = "new";
const BACKUP: &str = "backup";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("Backup file '{path}' already exists. Please delete or rename it and try again.", path = .0.display())]
    BackupExists(PathBuf),
    #[error("cannot write {path}", path = .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A manifest that can be replaced.
pub struct Replacement {
    /// The file itself, where the path that was given is a link.
    file: PathBuf,
    backup: PathBuf,
    old: Vec<u8>,
    /// What was kept is the manifest as it is: a run that was killed just before it was done.
    is_backed_up: bool,
}

impl Replacement {
    /// Sees where the backup goes, which may not be there yet, unless it is the same.
    pub fn prepare(path: &Path, old: Vec<u8>) -> Result<Self, Failure> {
        let mut backup = path.as_os_str().to_owned();
        backup.push(".bak");
        let backup = PathBuf::from(backup);
        let is_backed_up = holds(&backup, &old);
        if !is_backed_up && fs::symlink_metadata(&backup).is_ok() {
            return Err(Failure::new(
                exit::ALREADY_THERE,
                Error::BackupExists(backup),
            ));
        }
        let file = fs::canonicalize(path).map_err(writing(path));
        Ok(Self {
            file: file.or_exit(exit::OTHER)?,
            backup,
            old,
            is_backed_up,
        })
    }

    /// Where the old one is kept.
    pub fn backup(&self) -> &Path {
        &self.backup
    }

    /// A rename needs no leave to write the file itself; who has none did not mean it to change.
    pub fn check_writable(&self) -> Result<(), Failure> {
        ami_files::open_regular_at(CWD, &self.file, OFlags::WRONLY)
            .map(drop)
            .map_err(writing(&self.file))
            .or_exit(exit::OTHER)
    }

    /// Keeps the old one and puts the new one in its place, both with the old one's owner and mode; or leaves all as it was.
    pub fn replace(&self, new: &[u8], context: &Context) -> Result<(), Failure> {
        let folder = folder_of(&self.file);
        let staging = context.staging(folder).or_exit(exit::OTHER)?;
        self.write_alike(&staging, NEW, new)?;
        let is_new_backup = !self.is_backed_up;
        if is_new_backup {
            self.back_up(context)?;
        }
        let replaced = staging.replace(NEW, &name_of(&self.file));
        let is_replaced = matches!(replaced, Ok(_) | Err(ami_parts::Error::NotSynced { .. }));
        if !is_replaced && is_new_backup {
            let _ = fs::remove_file(&self.backup);
        }
        replaced.map(drop).or_exit(exit::OTHER)
    }

    fn back_up(&self, context: &Context) -> Result<(), Failure> {
        let staging = context
            .staging(folder_of(&self.backup))
            .or_exit(exit::OTHER)?;
        self.write_alike(&staging, BACKUP, &self.old)?;
        let named = staging
            .give_name(BACKUP, &name_of(&self.backup))
            .or_exit(exit::OTHER)?;
        debug!(path = %named.display(), "kept");
        Ok(())
    }

    fn write_alike(&self, staging: &Staging, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = staging.path().join(name);
        let mut file = staging.create(name, 0o666).or_exit(exit::OTHER)?;
        let mut write = || {
            let old = fs::metadata(&self.file)?;
            file.write_all(bytes)?;
            // Only root may give files away.
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            file.sync_all()
        };
        write().map_err(writing(&path)).or_exit(exit::OTHER)
    }
}

/// Whether it is a file with these bytes; no more than these are read.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let mut found = Vec::new();
    let read = ami_files::open_regular(path)
        .and_then(|file| file.take(bytes.len() as u64 + 1).read_to_end(&mut found));
    read.is_ok() && found == bytes
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write { path, source }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
