//! Where parts are put until all of them are there.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ami_cli::{BundleFiles, Context, Failure, OrExit, exit};
use ami_manifest::Image;
use ami_parts::{PartFile, Staging};
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
    /// Whether it is there.
    pub is_there: bool,
}

/// A private folder in the destination.
pub struct Landing {
    /// In the order of their names, in which the older suite gets them.
    pub parts: Vec<Part>,
    staging: Staging,
    folder: PathBuf,
}

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
            let kept = Staging::kept(destination, &id(manifest)).or_exit(exit::SERVICE)?;
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
        let folder = staging.path().join("parts");
        fs::create_dir_all(&folder)
            .map_err(ami_parts::Error::io("create", &folder))
            .or_exit(exit::SERVICE)?;
        let landed = BundleFiles::named(image, &folder);
        let there = if resumes {
            find_again(&landed, &BundleFiles::named(image, destination), context)?
        } else {
            vec![false; landed.len()]
        };
        let mut parts: Vec<Part> = image
            .parts
            .iter()
            .zip(landed)
            .zip(there)
            .map(|((part, file), is_there)| Part {
                name: part.filename.clone(),
                digest: file.digest,
                path: file.path,
                is_there,
            })
            .collect();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            parts,
            staging,
            folder,
        })
    }

    /// Gives all files their names; the private folder goes.
    pub fn publish(self, manifest_name: &str, manifest: &[u8]) -> Result<(), Failure> {
        let names: Vec<String> = self.parts.into_iter().map(|part| part.name).collect();
        ami_parts::publish_as_named(&self.staging, &self.folder, &names, manifest_name, manifest)
            .or_exit(exit::OTHER)?;
        self.staging.remove();
        Ok(())
    }
}

/// Only the same bundle is gone on with.
fn id(manifest: &[u8]) -> String {
    let digest = Fingerprint::of(manifest).sha1;
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which parts have landed, or can be taken from the destination.
fn find_again(
    landed: &[PartFile],
    published: &[PartFile],
    context: &Context,
) -> Result<Vec<bool>, Failure> {
    let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let is_whole = |part: &PartFile| part.verify(|_| {}).is_ok();
    let check = |files: &[PartFile]| {
        ami_parts::check_all(files, threads, context.interrupted(), is_whole)
            .ok_or_else(Failure::interrupted)
    };
    let (in_folder, in_destination) = (check(landed)?, check(published)?);
    let files = landed.iter().zip(published);
    let states = in_folder.into_iter().zip(in_destination);
    Ok(files
        .zip(states)
        .map(|((landed, published), (has_landed, is_published))| {
            has_landed || (is_published && take_over(&published.path, &landed.path))
        })
        .collect())
}

/// A second name for the file; where the file system has none of these, it is downloaded again.
fn take_over(published: &Path, landed: &Path) -> bool {
    // What is there is not whole.
    let _ = fs::remove_file(landed);
    fs::hard_link(published, landed).is_ok()
}
