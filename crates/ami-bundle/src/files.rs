//! The files of a bundle that a manifest names.

use std::fs;
use std::io;
use std::path::Path;

use ami_manifest::{BundleContents, Part};
use ami_parts::PartFile;

use crate::unbundle::Expected;

/// A bundle's parts on disk, and the image that they must contain.
#[derive(Debug)]
pub struct BundleFiles {
    /// The parts in order.
    pub parts: Vec<PartFile>,
    /// What the manifest says about the image, and the sum of the parts' actual sizes.
    pub expected: Expected,
}

impl BundleFiles {
    /// The parts that the manifest names, in `folder`. Does not access the files.
    pub fn named(parts: &[Part], folder: &Path) -> Vec<PartFile> {
        parts
            .iter()
            .map(|part| PartFile::in_folder(folder, &part.filename, part.digest.0))
            .collect()
    }

    /// Finds the parts in `folder`.
    ///
    /// # Errors
    /// [`Missing`](ami_parts::Error::Missing) for the first part that is missing; a part cannot be examined.
    pub fn find(contents: &BundleContents, folder: &Path) -> Result<Self, ami_parts::Error> {
        let parts = Self::named(&contents.parts, folder);
        let mut size = 0;
        for part in &parts {
            size += size_of(part)?;
        }
        Ok(Self {
            parts,
            expected: Expected {
                digest: contents.digest.0,
                size: contents.size,
                bundled_size: size,
            },
        })
    }
}

fn size_of(part: &PartFile) -> Result<u64, ami_parts::Error> {
    let path = &part.path;
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(ami_parts::Error::Missing { path: path.clone() })
        }
        Err(e) => Err(ami_parts::Error::io("read", path)(e)),
    }
}
