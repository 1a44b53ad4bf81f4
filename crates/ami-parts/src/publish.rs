//! Gives finished files their names, so that the destination holds either the old files or the new ones, never a mixture.
//!
//! A run takes the [turn](crate::turn) and [settles](crate::recovery) every unfinished publication. Then:
//!
//! | step | effect of a kill or a power cut after it |
//! |---|---|
//! | 1. The journal is written in the private folder; both folders are synced. | everything is put back |
//! | 2. Older manifests move into the private folder; synced. | |
//! | 3. The other older files follow; synced. | |
//! | 4. The new files take their names in order, replacing nothing; synced. | |
//! | 5. The last one, the manifest, takes its name; synced. | the older files are removed |
//! | 6. The journal is removed, then the older files. | the private folder is removed |

use std::io;
use std::path::PathBuf;

use crate::asking::{self, look, sync};
use crate::error::Error;
use crate::folder::{Entry, Folder, place, take};
use crate::journal::{self, JOURNAL, Journal, New, Old, UNFINISHED};
use crate::names;
use crate::private::Private;
use crate::recovery::{self, Settled};
use crate::turn::take_turn;

/// A file of the private folder that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name in the private folder.
    pub staged: String,
    /// The name that it gets in the destination.
    pub target: String,
    /// Whether an existing file of that name is replaced. If not, it is an error.
    pub may_replace: bool,
}

impl NewFile {
    /// A file that replaces an existing one of its name.
    pub fn replacing(staged: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            staged: staged.into(),
            target: target.into(),
            may_replace: true,
        }
    }

    /// A file whose name must be free.
    pub fn fresh(staged: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            may_replace: false,
            ..Self::replacing(staged, target)
        }
    }
}

/// Publishes synced files in this order; the last one gets its name when the others' names are synced. Files of the bundle `retired` that
/// are not replaced are removed. Returns the folders with older files of interrupted runs that could not be restored.
///
/// `wait` is called while another run has the turn.
pub(crate) fn publish<F: Folder>(
    private: &Private<F>,
    files: &[NewFile],
    retired: Option<&str>,
    wait: impl FnMut() -> Result<(), Error>,
) -> Result<Vec<PathBuf>, Error> {
    let _turn = take_turn(private, wait)?;
    let saved = private.settle_all()?;
    let Some(journal) = plan(private, files, retired)? else {
        return Ok(saved);
    };
    let error = match carry_out(private, &journal) {
        Ok(()) => return Ok(saved),
        Err(error @ Error::NotSynced { .. }) => return Err(error),
        Err(error) => error,
    };
    let not_put_back = |path, error| Error::NotPutBack {
        path,
        source: Box::new(error),
    };
    match recovery::settle(&private.destination, &private.folder, &private.name) {
        Ok(Settled::Forward) => Ok(saved),
        Ok(Settled::Saved(path)) => Err(not_put_back(path, error)),
        Ok(_) => Err(error),
        // A later run restores the rest.
        Err(_) => Err(not_put_back(private.folder.path().to_owned(), error)),
    }
}

/// The journal of what is to be done; `None` if there is nothing to do. Changes nothing.
fn plan<F: Folder>(
    private: &Private<F>,
    files: &[NewFile],
    retired: Option<&str>,
) -> Result<Option<Journal>, Error> {
    let Private {
        destination,
        folder,
        ..
    } = private;
    let in_destination = |name: &str| destination.path().join(name);
    let of_folder = folder.stat().map_err(Error::io("read", folder.path()))?;
    let mut journal = Journal {
        folder: (of_folder.identity.inode, of_folder.identity.born),
        old: Vec::new(),
        new: Vec::new(),
    };
    let mut there = Vec::new();
    for file in files {
        let path = folder.path().join(&file.staged);
        let staged = look(folder, &file.staged)?;
        let staged =
            staged.ok_or_else(|| Error::io("find", &path)(io::ErrorKind::NotFound.into()))?;
        if let Some(old) = look(destination, &file.target)? {
            // The staged file is a link to it, so it is in place already.
            if old.identity == staged.identity && !is_last(files, file) {
                continue;
            }
            if !file.may_replace {
                let path = in_destination(&file.target);
                return Err(Error::Exists { path });
            }
            there.push((file.target.clone(), old));
        }
        journal.new.push(New {
            identity: staged.identity,
            staged: file.staged.clone(),
            target: file.target.clone(),
        });
    }
    if let Some(bundle) = retired {
        for (name, old) in files_of_bundle(destination, bundle)? {
            if !files.iter().any(|file| file.target == name) {
                there.push((name, old));
            }
        }
    }
    for (target, old) in there {
        if old.is_folder {
            let path = in_destination(&target);
            return Err(Error::InTheWay { path });
        }
        if !journal::may_make_way(&target) {
            let path = in_destination(&target);
            return Err(Error::DotFile { path });
        }
        let (size, modified) = (old.identity.size, old.identity.modified);
        journal.old.push(Old {
            size,
            modified,
            target,
        });
    }
    // Without its manifest, what remains cannot be mistaken for a bundle.
    let mut old = std::mem::take(&mut journal.old);
    old.sort_by_key(|old| !journal.is_manifest(&old.target));
    journal.old = old;
    if journal.new.is_empty() {
        return Ok(None);
    }
    // A journal that cannot be parsed again could not be used to restore the files.
    if !journal.is_sound() {
        let path = destination.path().to_owned();
        return Err(Error::Names { path });
    }
    Ok(Some(journal))
}

fn is_last(files: &[NewFile], file: &NewFile) -> bool {
    files.last() == Some(file)
}

/// The files of a bundle in a folder.
pub(crate) fn files_of_bundle<F: Folder>(
    destination: &F,
    bundle: &str,
) -> Result<Vec<(String, Entry)>, Error> {
    let mut found = Vec::new();
    for name in asking::names(destination)? {
        if names::belongs_to_bundle(bundle, &name)
            && let Some(entry) = look(destination, &name)?
        {
            found.push((name, entry));
        }
    }
    Ok(found)
}

fn carry_out<F: Folder>(private: &Private<F>, journal: &Journal) -> Result<(), Error> {
    let Private {
        destination,
        folder,
        ..
    } = private;
    write_journal(folder, journal)?;
    // The private folder's own name must be synced before anything is moved from or to it.
    sync(destination)?;
    set_aside(private, journal)?;
    let Some((last, others)) = journal.new.split_last() else {
        return Ok(());
    };
    for new in others {
        place_new(private, new)?;
    }
    if !others.is_empty() {
        sync(destination)?;
    }
    place_new(private, last)?;
    if let Err(source) = destination.sync() {
        // Replaced files are removed only when their replacements' names are on disk.
        if destination.sync().is_ok() {
            let _ = recovery::finish(folder, journal);
        }
        let path = destination.path().join(&last.target);
        return Err(Error::NotSynced { path, source });
    }
    // The publication is complete; if this fails, the next run does it.
    let _ = recovery::finish(folder, journal);
    Ok(())
}

fn write_journal<F: Folder>(folder: &F, journal: &Journal) -> Result<(), Error> {
    let path = folder.path().join(JOURNAL);
    let _ = folder.remove(UNFINISHED);
    folder
        .write(UNFINISHED, journal.to_text().as_bytes())
        .and_then(|()| folder.rename(UNFINISHED, folder, JOURNAL))
        .map_err(Error::io("write", &path))?;
    sync(folder)
}

fn set_aside<F: Folder>(private: &Private<F>, journal: &Journal) -> Result<(), Error> {
    let Private {
        destination,
        folder,
        ..
    } = private;
    if journal.old.is_empty() {
        return Ok(());
    }
    let mut was_manifest = false;
    for (index, old) in journal.old.iter().enumerate() {
        let is_manifest = journal.is_manifest(&old.target);
        if was_manifest && !is_manifest {
            sync(destination)?;
        }
        was_manifest = is_manifest;
        let path = destination.path().join(&old.target);
        let slot = Journal::slot(index);
        let is_aside = take(destination, &old.target, folder, &slot, |now| old.is(now));
        if !is_aside.map_err(Error::io("set aside", &path))?
            && look(destination, &old.target)?.is_some()
        {
            return Err(Error::Changed { path });
        }
    }
    sync(destination)
}

fn place_new<F: Folder>(private: &Private<F>, new: &New) -> Result<(), Error> {
    let path = private.destination.path().join(&new.target);
    match place(
        &private.folder,
        &new.staged,
        &private.destination,
        &new.target,
    ) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists { path }),
        result => result.map_err(Error::io("create", &path)),
    }
}
