//! Deleting a bundle: first its manifest, then its parts.

use std::path::{Path, PathBuf};

use ami_manifest::BundleContents;
use ami_s3::{Bucket, BucketPath, Settings};
use serde::Serialize;

use crate::error::Error;
use crate::link::connected;
use crate::observer::{Event, Observer, Question};

/// Settings of a deletion.
#[derive(Debug, Clone)]
pub struct Delete {
    /// The settings of the connection to S3.
    pub s3: Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// Which files.
    pub files: BundleFiles,
    /// Whether [`Question::Delete`] is asked before anything is deleted. [`Question::DeleteOthers`] is always asked.
    pub asks: bool,
    /// Whether the bucket is deleted too, which must then be empty.
    pub deletes_bucket: bool,
    /// How many files are deleted at once if the server cannot delete several with one request.
    pub parallel: usize,
}

/// Which files are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleFiles {
    /// The manifest, which is a local file, and the parts that it names.
    NamedBy(PathBuf),
    /// All manifests and parts in the bucket's folder that belong to bundles of this name.
    OfBundle(String),
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The names of the files that were deleted.
    pub deleted: Vec<String>,
    /// The names of files in the manifest that were kept because they are not names of parts.
    pub kept: Vec<String>,
    /// Whether the bucket was deleted.
    pub bucket_deleted: bool,
}

/// Deletes a bundle's files, manifests first, so that what an interruption leaves does not look like a bundle.
///
/// # Errors
/// [`Error::Manifest`], before anything is deleted; [`Error::S3`].
pub async fn delete(request: &Delete, observer: &impl Observer) -> Result<Deleted, Error> {
    let source = match &request.files {
        BundleFiles::NamedBy(manifest) => Source::Manifest(named_by(manifest, observer)?),
        BundleFiles::OfBundle(bundle) => Source::Bucket(bundle),
    };
    connected(&request.s3, observer, async |link| {
        let bucket = link.connection.bucket(request.bucket.clone());
        let names = match source {
            Source::Manifest(names) => names,
            Source::Bucket(bundle) => Names {
                usual: list(&bucket, bundle).await?,
                odd: Vec::new(),
            },
        };
        run(request, &bucket, names, observer).await
    })
    .await
}

/// Where the files' names come from.
enum Source<'a> {
    /// A manifest that has been read.
    Manifest(Names),
    /// A listing of the bucket: the bundle's name.
    Bucket(&'a str),
}

/// File names, separated by whether they are usual for a bundle's files.
///
/// The names in a manifest were chosen by whoever made it. A file whose name is not that of a part may be anything.
struct Names {
    /// The manifest, then the files that are named like parts.
    usual: Vec<String>,
    /// The other files that the manifest names.
    odd: Vec<String>,
}

/// The files that a manifest names, and the manifest itself.
fn named_by(manifest: &Path, observer: &impl Observer) -> Result<Names, Error> {
    let contents = BundleContents::load(manifest)?.with_name(manifest)?;
    for lack in contents.lacks {
        observer.tell(Event::Incomplete {
            manifest: manifest.to_owned(),
            lack,
        })?;
    }
    let parts = contents.parts.into_iter().map(|part| part.filename);
    let (parts, odd): (Vec<_>, Vec<_>) = parts.partition(|name| ami_parts::is_part_name(name));
    let name = manifest.file_name().unwrap_or_default();
    Ok(Names {
        usual: std::iter::once(name.to_string_lossy().into_owned())
            .chain(parts)
            .collect(),
        odd,
    })
}

/// The files of all bundles of this name, manifests first.
pub(crate) async fn list(bucket: &Bucket, bundle: &str) -> Result<Vec<String>, ami_s3::Error> {
    let is_manifest = |file: &str| {
        let rest = file.strip_prefix(bundle);
        matches!(rest, Some(".manifest" | ".manifest.xml"))
    };
    let belongs = |file: &str| is_manifest(file) || ami_parts::is_part_of(bundle, file);
    let mut files = bucket.list(&format!("{bundle}."), belongs).await?;
    files.sort_by_key(|file| !is_manifest(file));
    Ok(files)
}

async fn run(
    request: &Delete,
    bucket: &Bucket,
    names: Names,
    observer: &impl Observer,
) -> Result<Deleted, Error> {
    let Names { usual, odd } = names;
    let mut result = Deleted::default();
    if !agree(request, &usual, observer)? {
        return Ok(result);
    }
    let (odd, kept) = settle_odd(odd, observer)?;
    result.kept = kept;
    let files: Vec<String> = usual.into_iter().chain(odd).collect();
    let deleted = &mut result.deleted;
    bucket
        .delete(&files, request.parallel, Error::from, |file| {
            deleted.push(file.to_owned());
            let file = file.to_owned();
            Ok(observer.tell(Event::Deleted { file })?)
        })
        .await?;
    if request.deletes_bucket {
        observer.tell(Event::DeletingBucket {
            bucket: bucket.path().bucket.clone(),
        })?;
        bucket.remove().await?;
        result.bucket_deleted = true;
    }
    Ok(result)
}

/// Shows the files, if there are any, and asks whether to delete them.
fn agree(request: &Delete, files: &[String], observer: &impl Observer) -> Result<bool, Error> {
    if files.is_empty() {
        observer.tell(Event::NothingToDelete)?;
        return Ok(true);
    }
    observer.tell(Event::ToDelete {
        files: files.to_vec(),
    })?;
    Ok(!request.asks || observer.agrees(Question::Delete)?)
}

/// Which of the files that are not named like parts are deleted, and which are kept. They are asked about separately; hidden files are
/// always kept. Those that are kept are reported.
fn settle_odd(
    odd: Vec<String>,
    observer: &impl Observer,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let (mut kept, mut odd): (Vec<_>, Vec<_>) =
        odd.into_iter().partition(|name| ami_parts::is_hidden(name));
    if !odd.is_empty() && !observer.agrees(Question::DeleteOthers(&odd))? {
        kept.append(&mut odd);
    }
    for file in &kept {
        observer.tell(Event::NotDeleted { file: file.clone() })?;
    }
    Ok((odd, kept))
}
