//! Giving a finished bundle its names, so that the destination holds the old bundle or the new one and never a mixture.
//!
//! | step | state in the private folder | what a later run does after a kill |
//! |---|---|---|
//! | 1. the manifest is written and everything synced | no `replacing`, no `replaced` | removes the private folder |
//! | 2. files of an older bundle of the name move into `replacing` | `replacing` | moves them back |
//! | 3. `replacing` is renamed to `replaced` | `replaced` and the new manifest | removes the new parts, moves the old files back |
//! | 4. the new parts, then the manifest, take their names | `replaced`, no manifest | removes the private folder |

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::Error;
use crate::names;
use crate::staging::{Abandoned, Staging};
use crate::write::StagedParts;

const REPLACING: &str = "replacing";
const REPLACED: &str = "replaced";
const STAGED_MANIFEST: &str = "manifest";
const MANIFEST_SUFFIX: &str = ".manifest.xml";

/// The files of a published bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The manifest's path in the destination.
    pub manifest: PathBuf,
    /// The parts' file names, in order, without a folder.
    pub parts: Vec<String>,
}

/// The files of an older bundle of that name, which publishing replaces or removes.
///
/// # Errors
/// [`Error::InTheWay`] names a folder that has such a name; [`Error::Io`] when the destination cannot be read.
pub fn replaced_files(destination: &Path, bundle: &str) -> Result<Vec<PathBuf>, Error> {
    let names = existing_files(destination, bundle)?;
    Ok(names.iter().map(|name| destination.join(name)).collect())
}

/// Publishes the parts and then the manifest of the bundle `bundle` in the destination of `staging`.
///
/// Files of an older bundle of that name are replaced, those beyond the new one's count removed. If this fails, or the
/// process is killed, the older bundle is put back, now or by the next [`Staging::new`] on that destination.
///
/// # Errors
/// A file cannot be written, synced or renamed.
pub fn publish(
    staging: Staging,
    bundle: &str,
    parts: &StagedParts,
    manifest: &[u8],
) -> Result<Published, Error> {
    let manifest_name = names::manifest_file_name(bundle);
    let staged_manifest = staging.path().join(&manifest_name);
    write_synced(&staged_manifest, manifest)?;

    let part_names: Vec<String> = (0..parts.len())
        .map(|index| names::part_file_name(bundle, index, parts.len()))
        .collect();
    let _turn = take_turn(staging.destination())?;
    let moved = set_aside(&staging, bundle).and_then(|()| {
        for (index, name) in part_names.iter().enumerate() {
            let from = staging.path().join(parts.staged_name(index));
            rename(&from, &staging.destination().join(name))?;
        }
        sync_folder(staging.destination())?;
        let target = staging.destination().join(&manifest_name);
        rename(&staged_manifest, &target)?;
        sync_folder(staging.destination())?;
        Ok(target)
    });
    match moved {
        Ok(manifest) => Ok(Published {
            manifest,
            parts: part_names,
        }),
        Err(error) => {
            restore(staging.path(), staging.destination())?;
            Err(error)
        }
    }
}

/// Publishes the files `parts` of `folder`, which is in the private folder, under the names that they have, and then the manifest.
///
/// Files of these names are replaced. While this runs, or if the process is killed meanwhile, there is no manifest.
///
/// # Errors
/// A file cannot be written, synced or renamed; [`Error::InTheWay`].
pub fn publish_as_named(
    staging: &Staging,
    folder: &Path,
    parts: &[String],
    manifest_name: &str,
    manifest: &[u8],
) -> Result<(), Error> {
    let in_destination = |name: &str| staging.destination().join(name);
    for name in parts.iter().map(String::as_str).chain([manifest_name]) {
        let path = in_destination(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::InTheWay { path });
        }
    }
    let staged_manifest = staging.path().join(STAGED_MANIFEST);
    let _ = fs::remove_file(&staged_manifest);
    write_synced(&staged_manifest, manifest)?;
    let _turn = take_turn(staging.destination())?;
    let target = in_destination(manifest_name);
    match fs::remove_file(&target) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &target)(e));
        }
        _ => sync_folder(staging.destination())?,
    }
    for name in parts {
        rename(&folder.join(name), &in_destination(name))?;
    }
    sync_folder(staging.destination())?;
    rename(&staged_manifest, &target)?;
    sync_folder(staging.destination())
}

/// Waits until nobody else publishes in this folder, for as long as the result lives.
fn take_turn(destination: &Path) -> Result<File, Error> {
    let folder = File::open(destination).map_err(Error::io("open", destination))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&folder, FlockOperation::LockExclusive))
        .map_err(|e| Error::io("lock", destination)(e.into()))?;
    Ok(folder)
}

/// Undoes what a killed run had begun to publish.
pub(crate) fn roll_back(stale: &Abandoned, destination: &Path) -> Result<(), Error> {
    restore(&stale.path, destination)
}

fn set_aside(staging: &Staging, bundle: &str) -> Result<(), Error> {
    let replacing = staging.path().join(REPLACING);
    fs::create_dir(&replacing).map_err(Error::io("create", &replacing))?;
    let mut old = existing_files(staging.destination(), bundle)?;
    // The manifest first: without it, what remains cannot be taken for a bundle.
    old.sort_by_key(|name| !name.ends_with(MANIFEST_SUFFIX));
    for name in old {
        rename(&staging.destination().join(&name), &replacing.join(&name))?;
    }
    rename(&replacing, &staging.path().join(REPLACED))
}

fn restore(staging: &Path, destination: &Path) -> Result<(), Error> {
    let replaced = staging.join(REPLACED);
    let replacing = staging.join(REPLACING);
    if replaced.is_dir() {
        let Some(bundle) = unpublished_bundle(staging)? else {
            return Ok(()); // the manifest had got its name: the new bundle is whole
        };
        for name in existing_files(destination, &bundle)? {
            let path = destination.join(name);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        move_back(&replaced, destination)
    } else if replacing.is_dir() {
        move_back(&replacing, destination)
    } else {
        Ok(())
    }
}

fn move_back(from: &Path, destination: &Path) -> Result<(), Error> {
    let mut names = file_names(from)?;
    names.sort_by_key(|name| name.ends_with(MANIFEST_SUFFIX));
    for name in names {
        rename(&from.join(&name), &destination.join(&name))?;
    }
    sync_folder(destination)
}

/// The name of the bundle whose manifest still waits in the private folder.
fn unpublished_bundle(staging: &Path) -> Result<Option<String>, Error> {
    Ok(file_names(staging)?
        .into_iter()
        .find_map(|name| name.strip_suffix(MANIFEST_SUFFIX).map(str::to_owned)))
}

fn existing_files(destination: &Path, bundle: &str) -> Result<Vec<String>, Error> {
    let mut found = file_names(destination)?;
    found.retain(|name| names::belongs_to_bundle(bundle, name));
    for name in &found {
        let path = destination.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if metadata.is_dir() {
            return Err(Error::InTheWay { path });
        }
    }
    Ok(found)
}

/// Names that are no UTF-8 cannot be a bundle's: the manifest could not hold them.
fn file_names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create_new(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("sync", path))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("rename a file to", to))
}

/// Makes renames in `folder` last through a power cut.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::{PART_SIZE, PartWriter};
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;

    fn contents(folder: &Path) -> BTreeMap<String, String> {
        file_names(folder)
            .unwrap()
            .into_iter()
            .map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap()))
            .collect()
    }

    fn old_bundle(folder: &Path) -> BTreeMap<String, String> {
        for (name, text) in [
            ("x.part.00", "old 0"),
            ("x.part.01", "old 1"),
            ("x.part.11", "old 11"),
            ("x.manifest.xml", "old manifest"),
            ("x", "an image"),
            ("y.part.0", "of another bundle"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        contents(folder)
    }

    fn staged(folder: &Path, part_size: NonZeroU64) -> (Staging, StagedParts) {
        let staging = Staging::new(folder).unwrap();
        let mut writer = PartWriter::new(staging.path(), part_size);
        writer.write(b"new 0new 1").unwrap();
        let parts = writer.finish().unwrap();
        (staging, parts)
    }

    #[test]
    fn a_new_bundle_takes_the_place_of_a_longer_one() {
        let folder = tempfile::tempdir().unwrap();
        let _ = old_bundle(folder.path());
        let (staging, parts) = staged(folder.path(), NonZeroU64::new(5).unwrap());
        let mut replaced = replaced_files(folder.path(), "x").unwrap();
        replaced.sort();
        let names = ["x.manifest.xml", "x.part.00", "x.part.01", "x.part.11"];
        assert_eq!(replaced, names.map(|name| folder.path().join(name)));
        let published = publish(staging, "x", &parts, b"new manifest").unwrap();
        assert_eq!(published.parts, ["x.part.0", "x.part.1"]);
        let expected = [
            ("x", "an image"),
            ("x.manifest.xml", "new manifest"),
            ("x.part.0", "new 0"),
            ("x.part.1", "new 1"),
            ("y.part.0", "of another bundle"),
        ];
        assert_eq!(
            contents(folder.path()),
            expected.map(|(k, v)| (k.into(), v.into())).into()
        );
    }

    #[test]
    fn a_folder_with_a_parts_name_is_refused_and_nothing_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x.part.7")).unwrap();
        assert!(matches!(
            replaced_files(folder.path(), "x"),
            Err(Error::InTheWay { .. })
        ));
        let (staging, parts) = staged(folder.path(), PART_SIZE);
        let error = publish(staging, "x", &parts, b"new manifest").unwrap_err();
        assert!(matches!(error, Error::InTheWay { .. }), "{error}");
        assert_eq!(file_names(folder.path()).unwrap(), ["x.part.7"]);
    }

    #[test]
    fn named_files_replace_others_and_what_is_in_the_way_is_said_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let _ = old_bundle(folder.path());
        let staging = Staging::new(folder.path()).unwrap();
        let parts = staging.path().join("parts");
        fs::create_dir(&parts).unwrap();
        let names = ["x.part.00".to_owned(), "odd".to_owned()];
        for name in &names {
            fs::write(parts.join(name), "new").unwrap();
        }
        fs::create_dir(folder.path().join("m")).unwrap();
        let publish =
            |manifest| publish_as_named(&staging, &parts, &names, manifest, b"new manifest");
        assert!(matches!(publish("m"), Err(Error::InTheWay { .. })));
        fs::remove_dir(folder.path().join("m")).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("x.part.00")).unwrap(),
            "old 0"
        );
        publish("x.manifest.xml").unwrap();
        drop(staging);
        let expected = [
            ("odd", "new"),
            ("x", "an image"),
            ("x.manifest.xml", "new manifest"),
            ("x.part.00", "new"),
            ("x.part.01", "old 1"),
            ("x.part.11", "old 11"),
            ("y.part.0", "of another bundle"),
        ];
        assert_eq!(
            contents(folder.path()),
            expected.map(|(k, v)| (k.into(), v.into())).into()
        );
    }

    /// Plays a run that is killed after each single step of publishing, then the next run.
    #[test]
    fn the_old_bundle_comes_back_after_a_kill_at_any_step() {
        let steps: Vec<(&str, &str)> = vec![
            ("mkdir", "replacing"),
            ("aside", "x.manifest.xml"),
            ("aside", "x.part.00"),
            ("aside", "x.part.01"),
            ("aside", "x.part.11"),
            ("commit", ""),
            ("place", "x.part.0"),
            ("place", "x.part.1"),
        ];
        for killed_after in 0..=steps.len() {
            let folder = tempfile::tempdir().unwrap();
            let before = old_bundle(folder.path());
            let (staging, parts) = staged(folder.path(), NonZeroU64::new(5).unwrap());
            write_synced(&staging.path().join("x.manifest.xml"), b"new manifest").unwrap();
            let private = staging.path().to_owned();
            for (index, (step, name)) in steps[..killed_after].iter().enumerate() {
                match *step {
                    "mkdir" => fs::create_dir(private.join(name)).unwrap(),
                    "aside" => {
                        rename(
                            &folder.path().join(name),
                            &private.join(REPLACING).join(name),
                        )
                        .unwrap();
                    }
                    "commit" => rename(&private.join(REPLACING), &private.join(REPLACED)).unwrap(),
                    _ => rename(
                        &private.join(parts.staged_name(index - 6)),
                        &folder.path().join(name),
                    )
                    .unwrap(),
                }
            }
            // A killed process runs no destructor, but the kernel drops its lock.
            let left = tempfile::tempdir().unwrap();
            rename(&private, &left.path().join("kept")).unwrap();
            drop(staging);
            rename(&left.path().join("kept"), &private).unwrap();

            drop(Staging::new(folder.path()).unwrap());
            assert_eq!(
                contents(folder.path()),
                before,
                "killed after step {killed_after}"
            );
        }
    }

    #[test]
    fn a_bundle_that_got_its_manifest_stays_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.manifest.xml"), "new manifest").unwrap();
        fs::write(folder.path().join("x.part.0"), "new").unwrap();
        let private = folder.path().join(".ec2-ami-tools.00");
        fs::create_dir_all(private.join(REPLACED)).unwrap();
        fs::write(private.join(REPLACED).join("x.part.0"), "old").unwrap();
        drop(Staging::new(folder.path()).unwrap());
        let expected = [("x.manifest.xml", "new manifest"), ("x.part.0", "new")];
        assert_eq!(
            contents(folder.path()),
            expected.map(|(k, v)| (k.into(), v.into())).into()
        );
    }
}
