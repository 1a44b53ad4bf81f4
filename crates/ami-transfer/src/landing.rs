//! Where parts are kept until all of them have been downloaded.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ami_manifest::Image;
use ami_parts::{NewFile, PartFile, Prepared, Staging};
use ami_s3::Fingerprint;

use crate::error::Error;
use crate::link::in_background;
use crate::observer::{Event, Observer, make_private};

/// A part, and where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its file's name.
    pub(crate) name: String,
    /// The manifest's SHA-1.
    pub(crate) digest: [u8; 20],
    /// Where it is put.
    pub(crate) path: PathBuf,
    /// The path's name in the private folder.
    staged: String,
    /// Whether it is there.
    pub(crate) is_there: bool,
}

/// A private folder in the destination.
pub(crate) struct Landing {
    /// In the order of their names, in which the older suite downloads them.
    pub(crate) parts: Vec<Part>,
    staging: Staging,
}

/// The manifest's name in the private folder.
const MANIFEST: &str = "manifest";

impl Landing {
    /// Makes the folder. With `resumes`, it is that of an interrupted download of the same bundle, if there is one, and parts in it or in
    /// the destination are used.
    pub(crate) async fn prepare(
        manifest: &[u8],
        image: &Image,
        destination: &Path,
        resumes: bool,
        observer: &impl Observer,
    ) -> Result<Self, Error> {
        let prepared = if resumes {
            // Only a download of the same bundle is resumed.
            let id = hex::encode(Fingerprint::of(manifest).sha1);
            let kept = Prepared::kept(destination, &id).map_err(Error::Destination)?;
            kept.ok_or_else(|| Error::Rival {
                folder: destination.to_owned(),
            })?
        } else {
            Prepared::new(destination).map_err(Error::Destination)?
        };
        let staging = make_private(prepared, observer, Error::Destination)?;
        let parts = image.parts.iter().enumerate().map(|(index, part)| {
            let staged = format!("part.{index}");
            Part {
                name: part.filename.clone(),
                digest: part.digest.0,
                path: staging.own_path(&staged),
                staged,
                is_there: false,
            }
        });
        let mut landing = Self {
            parts: parts.collect(),
            staging,
        };
        if resumes {
            landing.find_again().await?;
        }
        landing.parts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(landing)
    }

    /// Finds the parts that are in the private folder, and takes the others from the destination where possible.
    async fn find_again(&mut self) -> Result<(), Error> {
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let missing = self.check(&all).await?;
        let mut adopted = Vec::new();
        for index in missing {
            let part = &self.parts[index];
            self.staging.discard(&part.staged)?;
            // On a file system without hard links, it is downloaded again.
            if self.staging.adopt(&part.name, &part.staged) {
                adopted.push(index);
            }
        }
        for index in self.check(&adopted).await? {
            let part = &self.parts[index];
            self.staging.discard(&part.staged)?;
        }
        Ok(())
    }

    /// Marks those of these parts that are there and undamaged, and returns the others.
    async fn check(&mut self, indices: &[usize]) -> Result<Vec<usize>, Error> {
        let file = |&index: &usize| PartFile {
            path: self.parts[index].path.clone(),
            digest: self.parts[index].digest,
        };
        let files: Vec<PartFile> = indices.iter().map(file).collect();
        let checked = in_background(move |interrupted| {
            let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
            let is_whole = |part: &PartFile| part.verify().is_ok();
            ami_parts::check_all(&files, threads, interrupted, is_whole)
        });
        let whole = checked.await?.ok_or(Error::Interrupted)?;
        let mut others = Vec::new();
        for (&index, is_whole) in indices.iter().zip(whole) {
            self.parts[index].is_there = is_whole;
            if !is_whole {
                others.push(index);
            }
        }
        Ok(others)
    }

    /// Gives all files their names, and removes the private folder. Not done in the background, because a dropped story must not leave it
    /// half done.
    pub(crate) fn publish(
        self,
        manifest_name: &str,
        manifest: &[u8],
        observer: &impl Observer,
    ) -> Result<(), Error> {
        self.staging.discard(MANIFEST)?;
        self.staging.write(MANIFEST, manifest, 0o666)?;
        let mut files: Vec<NewFile> = self
            .parts
            .into_iter()
            .map(|part| NewFile {
                // The name comes from the manifest, which may be hostile.
                may_replace: ami_parts::is_part_name(&part.name),
                staged: part.staged,
                target: part.name,
            })
            .collect();
        files.push(NewFile::replacing(MANIFEST, manifest_name));
        for folder in self.staging.publish(&files, None, observer.waiting())? {
            observer.tell(Event::Saved { folder })?;
        }
        self.staging.remove();
        Ok(())
    }
}
