//! The files of a bundle that a manifest names.

use std::fs;
use std::io;
use std::path::Path;

use ami_bundle::Expected;
use ami_manifest::{BundleContents, Part};
use ami_parts::PartFile;

use crate::context::Context;
use crate::failure::one_line;

/// A bundle's parts on disk, and what must come out of them.
#[derive(Debug)]
pub struct BundleFiles {
    /// The parts in order.
    pub parts: Vec<PartFile>,
    /// The sum of their sizes in bytes, as they are.
    pub size: u64,
    /// What the manifest says of the image.
    pub expected: Expected,
}

impl BundleFiles {
    /// The parts as the manifest names them, in `folder`, without a look at them.
    pub fn named(parts: &[Part], folder: &Path) -> Vec<PartFile> {
        // `.` need not be shown to anybody.
        let folder = if folder == Path::new(".") {
            Path::new("")
        } else {
            folder
        };
        parts
            .iter()
            .map(|part| PartFile {
                path: folder.join(&part.filename),
                digest: part.digest.0,
            })
            .collect()
    }

    /// Finds the parts in `folder`.
    ///
    /// # Errors
    /// Names the first part that is missing.
    pub fn find(contents: &BundleContents, folder: &Path) -> Result<Self, ami_parts::Error> {
        let parts = Self::named(&contents.parts, folder);
        let mut size = 0;
        for part in &parts {
            size += size_of(part)?;
        }
        Ok(Self {
            parts,
            size,
            expected: Expected {
                digest: contents.digest.0,
                size: contents.size,
                bundled_size: size,
            },
        })
    }
}

impl Context {
    /// Warns of what the manifest at `path` lacks, though its bundle can be read without.
    pub fn warn_of_lacks(&self, path: &Path, contents: &BundleContents) {
        for lack in &contents.lacks {
            let lack = one_line(lack);
            self.warn(&format!(
                "The manifest {} is incomplete: {lack}.",
                path.display()
            ));
        }
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
