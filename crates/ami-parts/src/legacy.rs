//! Recovery from killed runs of version 0.1.0. They leave private folders without a journal, in which `replacing` or `replaced` holds
//! the files of an older bundle, and `parts` the files that were downloaded.
//!
//! Sweepers of 0.1.0 lock such a folder before they act on it, and check that it still exists.

use std::io;

use crate::asking::{self, lock, look, sync};
use crate::error::Error;
use crate::folder::{Folder, place};
use crate::names;
use crate::private::{self, Private, clear, open_ours};
use crate::turn::take_turn;

const RUN: &str = ".ec2-ami-tools.";
const DOWNLOAD: &str = ".ec2-ami-tools-kept.";

/// The folders with older files: of a run that was moving them there, and of one that had moved them all.
const ASIDE: [&str; 2] = ["replacing", "replaced"];
const PARTS: &str = "parts";

/// Removes folders without an owner, and restores older files whose names are free. Does not wait.
pub(crate) fn sweep<F: Folder>(private: &Private<F>) -> Result<(), Error> {
    let mut names = asking::names(&private.destination)?;
    names.retain(|name| name.starts_with(RUN) || name.starts_with(DOWNLOAD));
    for name in names {
        // A failure in another run's folder must not fail this run.
        let _ = sweep_one(private, &name);
    }
    Ok(())
}

fn sweep_one<F: Folder>(private: &Private<F>, name: &str) -> Result<(), Error> {
    let Some(folder) = private.open(name)? else {
        return Ok(());
    };
    if !lock(&folder)? {
        return Ok(());
    }
    for aside in ASIDE {
        if let Some(aside) = open(&folder, aside, private.access)? {
            let _turn = take_turn(private, || Err(Error::Interrupted))?;
            if !put_back(private, &folder, &aside)? {
                let _ = private::save(&private.destination, name)?;
                return Ok(());
            }
        }
    }
    for inner in ASIDE.into_iter().chain([PARTS]) {
        if let Some(inner_folder) = open(&folder, inner, private.access)? {
            empty(&inner_folder, inner)?;
            folder
                .remove_folder(inner)
                .map_err(Error::io("remove", inner_folder.path()))?;
        }
    }
    clear(&private.destination, &folder, name);
    Ok(())
}

fn open<F: Folder>(folder: &F, name: &str, access: (u32, u32)) -> Result<Option<F>, Error> {
    // 0.1.0 made inner folders with the default mode and umask.
    let Some(entry) = look(folder, name)? else {
        return Ok(None);
    };
    if entry.access.0 != access.0 {
        return Ok(None);
    }
    open_ours(folder, name, entry.access).map_err(Error::io("open", &folder.path().join(name)))
}

/// Restores the older files; `false` if the name of one is taken, without which the bundle would be incomplete.
fn put_back<F: Folder>(private: &Private<F>, folder: &F, aside: &F) -> Result<bool, Error> {
    let destination = &private.destination;
    let mut names = asking::names(aside)?;
    if aside.path().ends_with(ASIDE[1]) {
        // The new bundle was complete if its manifest had left the private folder, or if the destination has one by now.
        let staged = asking::names(folder)?;
        let manifest = staged
            .iter()
            .find(|name| name.ends_with(names::MANIFEST_SUFFIX));
        match manifest {
            None => return Ok(true),
            Some(manifest) if look(destination, manifest)?.is_some() => return Ok(true),
            Some(_) => {}
        }
    }
    names.sort_by_key(|name| name.ends_with(names::MANIFEST_SUFFIX));
    for name in &names {
        if !names::has_bundle_shape(name) && !name.ends_with(".tar.gz.enc") {
            return Ok(false);
        }
        if look(destination, name)?.is_some() {
            return Ok(false);
        }
    }
    for name in &names {
        if name.ends_with(names::MANIFEST_SUFFIX) {
            sync(destination)?;
        }
        match place(aside, name, destination, name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            result => result.map_err(Error::io("put back", &destination.path().join(name)))?,
        }
    }
    sync(destination)?;
    Ok(true)
}

/// Removes a folder's files: downloaded parts, or files that were replaced.
fn empty<F: Folder>(folder: &F, name: &str) -> Result<(), Error> {
    for file in asking::names(folder)? {
        if name == PARTS || names::has_bundle_shape(&file) || file.ends_with(".tar.gz.enc") {
            folder
                .remove(&file)
                .map_err(Error::io("remove", &folder.path().join(&file)))?;
        }
    }
    Ok(())
}
