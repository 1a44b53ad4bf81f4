//! Which file names a download may use.
//!
//! The user chooses the manifest's name, but the parts' names come from the manifest, which may be hostile. A part may replace an
//! existing file only if that is named like a part.

use std::path::{Path, PathBuf};

use ami_manifest::Part;

/// Why a file of a bundle is not downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The manifest's name is that of a hidden file.
    #[error("{0:?} is the name of a hidden file")]
    HiddenManifest(String),
    /// The manifest names a hidden file.
    #[error("the manifest names the part {0:?}, a hidden file: none is downloaded")]
    Hidden(String),
    /// The manifest names a part twice.
    #[error("the manifest names the part {0:?} more than once")]
    Twice(String),
    /// The manifest names itself.
    #[error("the manifest names the part {0:?}, which is the manifest's own name")]
    IsManifest(String),
    /// The private key has the name of a file of the bundle.
    #[error(
        "{path} is the private key, or a link to it, and would be replaced",
        path = .0.display()
    )]
    IsKey(PathBuf),
    /// Another file has the name.
    #[error(
        "{path} already exists, and is not replaced because it is not named like a part (NAME.part.NUMBER)",
        path = .0.display()
    )]
    Exists(PathBuf),
}

/// The manifest's path, which must be neither a hidden file nor the private key.
pub(crate) fn manifest_target(folder: &Path, file: &str, key: &Path) -> Result<PathBuf, NameError> {
    let path = folder.join(file);
    spare_key(&path, key)?;
    Ok(path)
}

/// Refuses parts with names that a manifest must not use.
pub(crate) fn check_parts(
    parts: &[Part],
    folder: &Path,
    manifest: &str,
    key: &Path,
) -> Result<(), NameError> {
    check_listed(parts, manifest)?;
    parts
        .iter()
        .try_for_each(|part| check_target(&part.filename, folder, key))
}

/// Refuses parts with names that no part of a bundle with a manifest of that name can have.
pub(crate) fn check_listed(parts: &[Part], manifest: &str) -> Result<(), NameError> {
    let mut names: Vec<&str> = parts.iter().map(|part| part.filename.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(NameError::Twice(pair[0].to_owned()));
    }
    for name in names {
        if ami_parts::is_hidden(name) {
            return Err(NameError::Hidden(name.to_owned()));
        }
        if name == manifest {
            return Err(NameError::IsManifest(name.to_owned()));
        }
    }
    Ok(())
}

fn check_target(name: &str, folder: &Path, key: &Path) -> Result<(), NameError> {
    let path = folder.join(name);
    spare_key(&path, key)?;
    if !ami_parts::is_part_name(name) && path.symlink_metadata().is_ok() {
        return Err(NameError::Exists(path));
    }
    Ok(())
}

fn spare_key(path: &Path, key: &Path) -> Result<(), NameError> {
    match ami_files::first_same_file(&[key.to_owned()], [path].into_iter()) {
        None => Ok(()),
        Some(path) => Err(NameError::IsKey(path.to_owned())),
    }
}
