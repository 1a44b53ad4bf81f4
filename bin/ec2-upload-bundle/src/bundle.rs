//! The bundle on disk, checked before anything of it is sent.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ami_cli::{BundleFiles, Context, Failure, exit};
use ami_manifest::{Image, Sha1Digest};
use ami_parts::PartFile;
use ami_s3::{Acl, Bucket, Content, Error, Fingerprint};
use ami_s3_cli::OlderManifests;

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was sent.
    Now,
    /// It was left out, or was there.
    Skipped,
}

/// A part, as it will be sent.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its file's name.
    pub name: String,
    /// Its number in the manifest, from 0.
    pub index: usize,
    /// What it must be.
    pub print: Fingerprint,
    path: PathBuf,
}

/// A bundle whose parts have the manifest's digests.
#[derive(Debug)]
pub struct Bundle {
    /// In the order of their names, in which the older suite sends them.
    pub parts: Vec<Part>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// What S3 must have of them.
    pub manifest_print: Fingerprint,
    path: PathBuf,
}

impl Bundle {
    /// Reads every part, which must be what the manifest says, in `folder` or else beside the manifest.
    pub fn check(
        image: &Image,
        manifest: Vec<u8>,
        path: PathBuf,
        folder: Option<&Path>,
        context: &Context,
    ) -> Result<Self, Failure> {
        let beside = path.parent().unwrap_or(Path::new(""));
        let folder = folder.unwrap_or(beside);
        let files = BundleFiles::named(&image.parts, folder);
        let prints = fingerprints(&files, context)?;
        let size: u64 = prints.iter().map(|print| print.size).sum();
        if size != image.bundled_size {
            let said = image.bundled_size;
            let text = format!("the parts have {size} bytes in all, the manifest says {said}");
            return Err(Failure::new(exit::OTHER, text));
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
            path,
        })
    }

    /// The manifest's file name, and how an error about it begins.
    pub fn manifest_name(&self) -> (String, String) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        (name.into_owned(), doing(&self.path))
    }
}

fn fingerprints(files: &[PartFile], context: &Context) -> Result<Vec<Fingerprint>, Failure> {
    let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let checked = ami_parts::check_all(files, threads, context.interrupted(), Fingerprint::of_part)
        .ok_or_else(Failure::interrupted)?;
    checked
        .into_iter()
        .map(|print| {
            print.map_err(|error| match error {
                ami_parts::Error::Missing { .. } => Failure::new(exit::SERVICE, error),
                error => Failure::new(exit::OTHER, error),
            })
        })
        .collect()
}

impl Part {
    /// Sends it, unless it `resumes` and S3 has it; before it replaces a part of an older bundle, that one's manifest goes.
    pub async fn send(
        &self,
        bucket: &Bucket,
        acl: Acl,
        resumes: bool,
        older: &OlderManifests,
    ) -> Result<Sent, Error> {
        let doing = doing(&self.path);
        if resumes && bucket.holds(&doing, &self.name, &self.print).await? {
            // Whoever sent it may have let others read it.
            bucket.set_acl(&doing, &self.name, acl).await?;
            return Ok(Sent::Skipped);
        }
        older
            .make_way(&self.name, Sha1Digest(self.print.sha1))
            .await?;
        let content = Content::File(self.path.clone());
        bucket
            .put(&doing, &self.name, &content, &self.print, acl)
            .await?;
        Ok(Sent::Now)
    }
}

fn doing(path: &Path) -> String {
    format!("Failed to upload \"{}\"", path.display())
}
