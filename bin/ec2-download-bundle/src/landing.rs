//! Where parts are put until all of them are there.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::Image;
use ami_parts::{NewFile, PartFile, Staging};
use ami_s3::Fingerprint;

/// A part, and where it lands.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its file's name.
    pub name: String,
    /// The manifest's SHA-1.
    pub digest: [u8; 20],
    /// Where it is put.
    pub path: PathBuf,
    /// The same, as a name in the private folder.
    staged: String,
    /// Whether it is there.
    pub is_there: bool,
}

/// A private folder in the destination.
pub struct Landing {
    /// In the order of their names, in which the older suite gets them.
    pub parts: Vec<Part>,
    staging: Staging,
}

/// The manifest's name in the private folder.
const MANIFEST: &str = "manifest";

impl Landing {
    /// Makes the folder, or finds it again if this run `resumes` and another was cut off; then also looks which parts are there,
    /// in it or in the destination.
    pub fn prepare(
        manifest: &[u8],
        image: &Image,
        destination: &Path,
        resumes: bool,
        context: &Context,
    ) -> Result<Self, Failure> {
        let staging = if resumes {
            let kept = context
                .kept_staging(destination, &id(manifest))
                .or_exit(exit::SERVICE)?;
            kept.ok_or_else(|| {
                let text = format!(
                    "another command is downloading this bundle to {}: wait for its end, or give another folder with -d",
                    destination.display()
                );
                Failure::new(exit::OTHER, text)
            })?
        } else {
            context.staging(destination).or_exit(exit::SERVICE)?
        };
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
            landing.find_again(context)?;
        }
        landing.parts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(landing)
    }

    /// Looks which parts have landed, and takes those that have not from the destination.
    fn find_again(&mut self, context: &Context) -> Result<(), Failure> {
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let missing = self.check(&all, context)?;
        let mut adopted = Vec::new();
        for index in missing {
            let part = &self.parts[index];
            self.staging.discard(&part.staged).or_exit(exit::OTHER)?;
            // Where the file system has no second names, it is downloaded again.
            if self.staging.adopt(&part.name, &part.staged) {
                adopted.push(index);
            }
        }
        for index in self.check(&adopted, context)? {
            let part = &self.parts[index];
            self.staging.discard(&part.staged).or_exit(exit::OTHER)?;
        }
        Ok(())
    }

    /// Notes which of these parts are there and whole, and gives the others.
    fn check(&mut self, indices: &[usize], context: &Context) -> Result<Vec<usize>, Failure> {
        let file = |&index: &usize| PartFile {
            path: self.parts[index].path.clone(),
            digest: self.parts[index].digest,
        };
        let files: Vec<PartFile> = indices.iter().map(file).collect();
        let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let is_whole = |part: &PartFile| part.verify(|_| {}).is_ok();
        let whole = ami_parts::check_all(&files, threads, context.interrupted(), is_whole)
            .ok_or_else(Failure::interrupted)?;
        let mut others = Vec::new();
        for (&index, is_whole) in indices.iter().zip(whole) {
            self.parts[index].is_there = is_whole;
            if !is_whole {
                others.push(index);
            }
        }
        Ok(others)
    }

    /// Gives all files their names; the private folder goes.
    pub fn publish(
        self,
        manifest_name: &str,
        manifest: &[u8],
        context: &Context,
    ) -> Result<(), Failure> {
        self.staging.discard(MANIFEST).or_exit(exit::OTHER)?;
        self.staging
            .write(MANIFEST, manifest, 0o666)
            .or_exit(exit::OTHER)?;
        let mut files: Vec<NewFile> = self
            .parts
            .into_iter()
            .map(|part| NewFile {
                // Whoever made the bundle chose the name.
                may_replace: ami_parts::is_part_name(&part.name),
                staged: part.staged,
                target: part.name,
            })
            .collect();
        files.push(NewFile::replacing(MANIFEST, manifest_name));
        let saved = self.staging.publish(&files, None, context.waiting());
        context.warn_of_saved(&saved.or_exit(exit::OTHER)?);
        self.staging.remove();
        Ok(())
    }
}

/// Only the same bundle is gone on with.
fn id(manifest: &[u8]) -> String {
    let digest = Fingerprint::of(manifest).sha1;
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
