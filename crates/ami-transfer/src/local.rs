//! The bundle on disk, which is checked before anything is sent.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ami_manifest::{Image, Sha1Digest};
use ami_parts::PartFile;
use ami_s3::{Acl, Bucket, Content, Fingerprint};

use crate::error::Error;
use crate::link::in_background;
use crate::older::OlderManifests;

/// What was done with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It was sent.
    Now,
    /// It was left out, or was in S3 already.
    Skipped,
}

/// A part, as it will be sent.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its file's name.
    pub(crate) name: String,
    /// Its number in the manifest, from 0.
    pub(crate) index: usize,
    /// Its size and digests.
    pub(crate) print: Fingerprint,
    path: PathBuf,
}

/// A bundle whose parts have the manifest's digests.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// In the order of their names, in which the older suite sends them.
    pub(crate) parts: Vec<Part>,
    /// The manifest's bytes.
    pub(crate) manifest: Vec<u8>,
    /// The manifest's size and digests.
    pub(crate) manifest_print: Fingerprint,
    path: PathBuf,
}

impl Bundle {
    /// Reads every part, in `folder` or else beside the manifest, and compares it with the manifest.
    ///
    /// Each part is read again when it is sent. This cannot be avoided: a damaged part must be found before the first one is sent, and the
    /// bundle may have been made by another process or on another machine.
    pub(crate) async fn check(
        image: &Image,
        manifest: Vec<u8>,
        path: &Path,
        folder: Option<&Path>,
    ) -> Result<Self, Error> {
        let beside = path.parent().unwrap_or(Path::new(""));
        let folder = folder.unwrap_or(beside);
        let files: Vec<PartFile> = image
            .parts
            .iter()
            .map(|part| PartFile::in_folder(folder, &part.filename, part.digest.0))
            .collect();
        let prints = fingerprints(files.clone()).await?;
        let size: u64 = prints.iter().map(|print| print.size).sum();
        if size != image.bundled_size {
            return Err(Error::Size {
                found: size,
                expected: image.bundled_size,
            });
        }
        let names = image.parts.iter().map(|part| part.filename.clone());
        let mut parts: Vec<Part> = names
            .zip(files)
            .zip(prints)
            .enumerate()
            .map(|(index, ((name, file), print))| Part {
                name,
                index,
                print,
                path: file.path,
            })
            .collect();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            parts,
            manifest_print: Fingerprint::of(&manifest),
            manifest,
            path: path.to_owned(),
        })
    }

    /// The manifest's file name.
    pub(crate) fn manifest_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Sends the manifest.
    pub(crate) async fn send_manifest(&self, bucket: &Bucket, acl: Acl) -> Result<(), Error> {
        let content = Content::Bytes(self.manifest.clone().into());
        let (operation, name) = (operation(&self.path), self.manifest_name());
        let put = bucket.put(&operation, &name, &content, &self.manifest_print, acl);
        Ok(put.await?)
    }
}

async fn fingerprints(files: Vec<PartFile>) -> Result<Vec<Fingerprint>, Error> {
    let checked = in_background(move |interrupted| {
        let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        ami_parts::check_all(&files, threads, interrupted, Fingerprint::of_part)
    });
    let checked = checked.await?.ok_or(Error::Interrupted)?;
    let prints: Result<Vec<_>, _> = checked.into_iter().collect();
    Ok(prints?)
}

impl Part {
    /// Sends the part, unless S3 has it and the upload `resumes`. The manifest of an older bundle is deleted before one of its parts is
    /// replaced.
    pub(crate) async fn send(
        &self,
        bucket: &Bucket,
        acl: Acl,
        resumes: bool,
        older: &OlderManifests,
    ) -> Result<Sent, Error> {
        let operation = operation(&self.path);
        if resumes && bucket.holds(&operation, &self.name, &self.print).await? {
            // It may have been uploaded with another ACL.
            bucket.set_acl(&operation, &self.name, acl).await?;
            return Ok(Sent::Skipped);
        }
        older
            .make_way(&self.name, Sha1Digest(self.print.sha1))
            .await?;
        let content = Content::File(self.path.clone());
        bucket
            .put(&operation, &self.name, &content, &self.print, acl)
            .await?;
        Ok(Sent::Now)
    }
}

/// The beginning of an error about a file.
fn operation(path: &Path) -> String {
    format!("Failed to upload \"{}\"", path.display())
}
