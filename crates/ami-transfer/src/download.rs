//! Downloading a bundle: first its manifest, then the parts that it names.

use std::path::{Path, PathBuf};

use ami_manifest::{Image, PrivateKey, Sha1Digest};
use ami_parts::PART_SIZE;
use ami_s3::{Arrived, Bucket, BucketPath, Expected, Settings, in_order};
use serde::Serialize;
use tracing::debug;

use crate::error::Error;
use crate::held_parts::{self, operation};
use crate::landing::Landing;
use crate::link::{Link, connected};
use crate::names::{self, NameError};
use crate::observer::{Event, Observer, Stopped};

/// Settings of a download.
#[derive(Debug, Clone)]
pub struct Download {
    /// The settings of the connection to S3.
    pub s3: Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// The manifest's file name.
    pub manifest: String,
    /// The file of the private key, which decrypts an encrypted manifest. It is never replaced.
    pub private_key: PathBuf,
    /// The folder for the bundle.
    pub folder: PathBuf,
    /// Whether an interrupted download of the same bundle is resumed, and this one can be resumed later.
    pub resumes: bool,
    /// Whether parts with a wrong digest are kept.
    pub keeps_damaged: bool,
    /// How many files are downloaded at once.
    pub parallel: usize,
}

/// What was downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Downloaded {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// The names of the parts that were downloaded.
    pub downloaded: Vec<String>,
    /// The names of the parts that were there already.
    pub skipped: Vec<String>,
    /// The names of parts with a wrong digest; only with [`Download::keeps_damaged`].
    pub damaged: Vec<String>,
}

/// Downloads a bundle to a folder.
///
/// Every part is compared with the manifest's digest. When all are there, the files get their names: all or none, the manifest last.
///
/// # Errors
/// [`Error::S3`], [`Error::Manifest`], [`Error::Name`], [`Error::Rival`], [`Error::Destination`], [`Error::Files`].
pub async fn download(request: &Download, observer: &impl Observer) -> Result<Downloaded, Error> {
    if ami_parts::is_hidden(&request.manifest) {
        return Err(NameError::HiddenManifest(request.manifest.clone()).into());
    }
    connected(&request.s3, observer, async |link| {
        run(request, link, observer).await
    })
    .await
}

async fn run(
    request: &Download,
    link: &Link,
    observer: &impl Observer,
) -> Result<Downloaded, Error> {
    let (file, folder) = (request.manifest.as_str(), request.folder.as_path());
    let bucket = link.connection.bucket(request.bucket.clone());
    let key = &request.private_key;
    let target = names::manifest_target(folder, file, key)?;
    let manifest = get_manifest(&bucket, file, &target, key, observer).await?;
    let parsed = held_parts::parse_manifest(&manifest, &bucket, file)?;
    let image = parsed.manifest.image;
    debug!(
        name = image.name,
        parts = image.parts.len(),
        "manifest read"
    );
    let check_names = || names::check_parts(&image.parts, folder, file, key);
    check_names()?;

    let landing = Landing::prepare(&manifest, &image, folder, request.resumes, observer).await?;
    let damaged = get_parts(request, &image, &bucket, &landing, link, observer).await?;
    for part in &damaged {
        observer.tell(Event::KeptDamaged { part: part.clone() })?;
    }
    let names = |was_there| {
        let parts = landing.parts.iter();
        let parts = parts.filter(|part| part.is_there == was_there);
        parts.map(|part| part.name.clone()).collect()
    };
    let downloaded = Downloaded {
        manifest: target,
        downloaded: names(false),
        skipped: names(true),
        damaged,
    };
    // Checked again: something may have been created under one of the names meanwhile.
    check_names()?;
    landing.publish(file, &manifest, observer)?;
    Ok(downloaded)
}

async fn get_manifest(
    bucket: &Bucket,
    file: &str,
    target: &Path,
    key: &Path,
    observer: &impl Observer,
) -> Result<Vec<u8>, Error> {
    let in_bucket = bucket.path().key(file);
    observer.tell(Event::GettingManifest {
        bucket: bucket.path().bucket.clone(),
        key: in_bucket,
        path: target.to_owned(),
    })?;
    let bytes = held_parts::get_manifest(bucket, file).await?;
    if !ami_manifest::is_encrypted(&bytes) {
        return Ok(bytes);
    }
    observer.tell(Event::DecryptingManifest)?;
    let key = PrivateKey::load(key)?;
    Ok(ami_manifest::decrypt(&bytes, &key)?)
}

/// Downloads the parts that are not there yet, and returns the names of damaged parts that were kept.
async fn get_parts(
    request: &Download,
    image: &Image,
    bucket: &Bucket,
    landing: &Landing,
    link: &Link,
    observer: &impl Observer,
) -> Result<Vec<String>, Error> {
    observer.tell(link.begin(image.bundled_size, landing.parts.len()))?;
    // Announced when all parts before it are done.
    let announce = |index: usize| -> Result<(), Stopped> {
        let Some(part) = landing.parts.get(index) else {
            return Ok(());
        };
        observer.tell(if part.is_there {
            Event::Skipped {
                part: part.name.clone(),
            }
        } else {
            Event::Getting {
                key: bucket.path().key(&part.name),
                path: request.folder.join(&part.name),
            }
        })
    };
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    announce(0)?;
    let got: Result<(), Error> = in_order(
        landing.parts.len(),
        request.parallel,
        |index| {
            let (part, bucket) = (landing.parts[index].clone(), bucket.clone());
            let expected = Expected {
                most: image.bundled_size,
                usual: usual_size(image, &part.name),
                // All parts except the last have the same size.
                patience: image.bundled_size / image.parts.len().saturating_sub(1).max(1) as u64,
                sha1: (!request.keeps_damaged).then_some(part.digest),
            };
            async move {
                if part.is_there {
                    return Ok(None);
                }
                let operation = operation(&bucket.path().key(&part.name));
                let got = bucket
                    .get_file(&operation, &part.name, &expected, &part.path)
                    .await;
                Ok(Some(got?))
            }
        },
        |index, arrived: Option<Arrived>| {
            let part = &landing.parts[index];
            observer.tell(Event::FilesDone(index + 1))?;
            if let Some(arrived) = arrived {
                if arrived.sha1 != part.digest {
                    debug!(part = part.name, found = %Sha1Digest(arrived.sha1), "damaged");
                    damaged.push(part.name.clone());
                }
                observer.tell(Event::Got {
                    part: part.name.clone(),
                    bucket: bucket.path().bucket.clone(),
                })?;
                all.push(arrived);
            }
            Ok(announce(index + 1)?)
        },
    )
    .await;
    observer.tell(Event::End)?;
    got?;
    for arrived in all {
        arrived.synced().await?;
    }
    Ok(damaged)
}

/// About how many bytes a part has; 0 if unknown: for the last part of a bundle whose parts do not have the usual size.
fn usual_size(image: &Image, part: &str) -> u64 {
    let (count, usual) = (image.parts.len().max(1) as u64, PART_SIZE.get());
    let before = usual.saturating_mul(count - 1);
    let last = image.bundled_size.checked_sub(before);
    let last = last.filter(|size| (1..=usual).contains(size));
    let is_last = image.parts.last().is_some_and(|last| last.filename == part);
    match (last, is_last) {
        (Some(size), true) => size,
        (Some(_), false) => usual,
        (None, true) => 0,
        (None, false) => image.bundled_size / count,
    }
}
