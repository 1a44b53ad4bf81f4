//! Which names a download may give to files.
//!
//! The person chooses the manifest's name, whoever made the manifest those of the parts. What such a name may replace is a file that
//! is called as parts are; anything else of the person's stays what it is.

use std::path::{Path, PathBuf};

use ami_cli::{Failure, OrExit, exit};
use ami_manifest::Part;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the manifest names the part {0:?}, a hidden file: none is downloaded")]
    Hidden(String),
    #[error("the manifest names the part {0:?} more than once")]
    Twice(String),
    #[error("the manifest names the part {0:?}, which is the manifest's own name")]
    IsManifest(String),
    #[error(
        "{path} is the private key, or a link to it, and would be replaced: choose another folder with -d",
        path = .0.display()
    )]
    IsKey(PathBuf),
    #[error(
        "{path} is there already, and is not called as a part is (NAME.part.NUMBER), so that it is not replaced: move it, or choose \
         another folder with -d",
        path = .0.display()
    )]
    Exists(PathBuf),
}

/// Refuses a manifest's name that nothing is downloaded to.
pub fn check_manifest_name(option: &str, file: &str) -> Result<(), Failure> {
    if ami_parts::is_hidden(file) {
        return Err(Failure::usage(format!(
            "--{option} has invalid value '{file}': it is the name of a hidden file."
        )));
    }
    Ok(())
}

/// Where the manifest goes, which is not where the private key is.
pub fn manifest_target(folder: &Path, file: &str, key: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join(file);
    spare_key(&path, key).or_exit(exit::OTHER)?;
    Ok(path)
}

/// Refuses parts whose names are not for a manifest to choose.
pub fn check_parts(
    parts: &[Part],
    folder: &Path,
    manifest: &str,
    key: &Path,
) -> Result<(), Failure> {
    let mut names: Vec<&str> = parts.iter().map(|part| part.filename.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Twice(pair[0].to_owned())).or_exit(exit::OTHER);
    }
    for name in names {
        check_part(name, folder, manifest, key).or_exit(exit::OTHER)?;
    }
    Ok(())
}

fn check_part(name: &str, folder: &Path, manifest: &str, key: &Path) -> Result<(), Error> {
    if ami_parts::is_hidden(name) {
        return Err(Error::Hidden(name.to_owned()));
    }
    if name == manifest {
        return Err(Error::IsManifest(name.to_owned()));
    }
    let path = folder.join(name);
    spare_key(&path, key)?;
    if !ami_parts::is_part_name(name) && path.symlink_metadata().is_ok() {
        return Err(Error::Exists(path));
    }
    Ok(())
}

fn spare_key(path: &Path, key: &Path) -> Result<(), Error> {
    match ami_files::first_same_file(&[key.to_owned()], [path].into_iter()) {
        None => Ok(()),
        Some(path) => Err(Error::IsKey(path.to_owned())),
    }
}
