//! Copying a bundle in S3 to another bucket, for another region.

use std::path::PathBuf;
use std::sync::Arc;

use ami_aws::DEFAULT_REGION;
use ami_manifest::{Image, LARGEST_MANIFEST};
use ami_s3::{Acl, Bucket, BucketPath, Content, Fingerprint, Location, Settings, in_order};
use serde::Serialize;

use crate::error::Error;
use crate::held_parts::{HeldPart, check_size, held_parts};
use crate::kernels::KernelMapping;
use crate::link::{Link, connected};
use crate::migration::{Migration, Signer, signed_manifest};
use crate::observer::{Event, Observer};
use crate::older::OlderManifests;

/// The older suite's name for the manifest in its work folder, which status lines show.
const OLDER_MANIFEST: &str = "temp-migration.manifest.xml";

/// Settings of a bundle's migration.
pub struct MigrateBundle<'a> {
    /// The settings of the connection to S3, and the credentials for EC2.
    pub s3: Settings,
    /// The bundle's bucket, and the folder in it.
    pub source: BucketPath,
    /// The bucket for the new bundle, and the folder in it.
    pub destination: BucketPath,
    /// Where the destination bucket must be, and is created if it does not exist. `None`: anywhere; it is created in the connection's
    /// region.
    pub location: Option<Location>,
    /// The manifest's file name, in both buckets.
    pub manifest: String,
    /// The region where the new bundle is used; `None`: that of the destination bucket.
    pub region: Option<String>,
    /// Who else can read the new bundle.
    pub acl: Acl,
    /// Keys, kernel and RAM disk.
    pub migration: Migration<'a>,
    /// How many parts are copied at once.
    pub parallel: usize,
    /// The older suite's work folder for this bundle. If it exists, the migration fails.
    pub older_folder: PathBuf,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigratedBundle {
    /// BUCKET/KEY, which EC2's RegisterImage takes.
    pub manifest: String,
    /// The region where the new bundle is used.
    pub region: String,
    /// Whether the destination bucket was created.
    pub bucket_created: bool,
    /// The names of the parts that were copied.
    pub copied: Vec<String>,
}

/// Has S3 copy a bundle to another bucket, and then puts a manifest for the target region there.
///
/// Before a bucket is created or anything is copied, the manifest's signature is verified and every part is looked up.
///
/// # Errors
/// [`Error::DestinationBucket`], [`Error::WorkFolder`], [`Error::BadManifest`], [`Error::Ec2Certificate`],
/// [`Error::SizeInS3`], [`Error::Ec2`]: nothing was changed. [`Error::S3`].
pub async fn migrate_bundle(
    request: &MigrateBundle<'_>,
    observer: &impl Observer,
) -> Result<MigratedBundle, Error> {
    if !request.destination.is_dns_safe() {
        observer.tell(Event::UnsafeBucketName {
            bucket: request.destination.bucket.clone(),
        })?;
    }
    connected(&request.s3, observer, async |link| {
        run(request, link, observer).await
    })
    .await
}

async fn run(
    request: &MigrateBundle<'_>,
    link: &Link,
    observer: &impl Observer,
) -> Result<MigratedBundle, Error> {
    let source = link.connection.bucket(request.source.clone());
    let destination = link.connection.bucket(request.destination.clone());
    let (name, location) = (request.manifest.as_str(), request.location.as_ref());
    let found = destination.locate_at(location).await;
    let found = found.map_err(Error::DestinationBucket)?;
    let of_bucket = || match found.as_ref().or(location) {
        Some(location) => location.region().to_owned(),
        None => link.connection.region().to_owned(),
    };
    let region = request.region.clone().unwrap_or_else(of_bucket);

    // No bucket is created for a bundle that cannot be copied, but events come in the older suite's order.
    let is_in_the_way = request.older_folder.exists();
    let bundle = match is_in_the_way {
        true => Err(Error::WorkFolder(request.older_folder.clone())),
        false => Bundle::read(request, &source, &region, observer).await,
    };
    if found.is_none() && bundle.is_ok() {
        observer.tell(Event::CreatingBucket)?;
        let created = destination.create(location).await;
        let _ = created.map_err(Error::DestinationBucket)?;
    }
    if request.region.is_none() {
        let is_default = |location: &Location| location.region() == DEFAULT_REGION;
        let is_unconstrained = found.as_ref().is_some_and(is_default);
        observer.tell(Event::GuessedRegion {
            region: (!is_unconstrained).then(|| region.clone()),
        })?;
    }
    if !is_in_the_way {
        observer.tell(Event::GettingManifest {
            bucket: source.path().bucket.clone(),
            key: source.path().key(name),
            path: request.older_folder.join(OLDER_MANIFEST),
        })?;
    }
    let bundle = bundle?;
    let older = match &found {
        Some(_) => OlderManifests::find(&destination, link, name, &bundle.image.name).await?,
        None => OlderManifests::none(&destination, link),
    };
    copy_parts(
        request,
        &bundle,
        &source,
        &destination,
        older,
        link,
        observer,
    )
    .await?;
    let print = Fingerprint::of(&bundle.manifest);
    let content = Content::Bytes(bundle.manifest.into());
    let operation = format!("Failed to upload {name:?}");
    destination
        .put(&operation, name, &content, &print, request.acl)
        .await?;
    let manifest = destination.path().location(name);
    observer.tell(Event::Complete {
        location: manifest.clone(),
    })?;
    Ok(MigratedBundle {
        manifest,
        region,
        bucket_created: found.is_none(),
        copied: bundle.parts.into_iter().map(|part| part.name).collect(),
    })
}

/// A bundle that is complete in S3.
struct Bundle {
    /// In the manifest's order.
    parts: Vec<HeldPart>,
    /// What the old manifest says about the image.
    image: Image,
    /// The new manifest.
    manifest: Vec<u8>,
}

impl Bundle {
    /// Reads the manifest, writes the new one, and looks up every part.
    async fn read(
        request: &MigrateBundle<'_>,
        bucket: &Bucket,
        region: &str,
        observer: &impl Observer,
    ) -> Result<Self, Error> {
        let (name, migration) = (request.manifest.as_str(), &request.migration);
        let getting = format!("Failed to download {name:?}");
        let bytes = bucket.get(&getting, name, LARGEST_MANIFEST).await?;
        let certificate = migration.certificate()?;
        let manifest = signed_manifest(&bytes, name, &certificate)?;
        let signer = Signer::new(migration, &certificate, Some(region))?;
        let parts = held_parts(bucket, &manifest.image.parts, request.parallel, operation);
        let parts = parts.await?;
        check_size(&parts, &manifest.image)?;
        let identity = || Ok(request.s3.identity.clone());
        let mapping = KernelMapping::new(migration, region, &manifest.machine, identity, false);
        let boot = mapping.await?.boot_images(observer).await?;
        Ok(Self {
            parts,
            image: manifest.image.clone(),
            manifest: signer.sign(manifest, boot)?,
        })
    }
}

async fn copy_parts(
    request: &MigrateBundle<'_>,
    bundle: &Bundle,
    source: &Bucket,
    destination: &Bucket,
    older: OlderManifests,
    link: &Link,
    observer: &impl Observer,
) -> Result<(), Error> {
    let older = Arc::new(older);
    let bytes = bundle.parts.iter().map(|part| part.held.size).sum();
    observer.tell(link.begin(bytes, bundle.parts.len()))?;
    let copied = in_order(
        bundle.parts.len(),
        request.parallel,
        |index| {
            let part = bundle.parts[index].clone();
            let told = observer.tell(Event::Copying {
                part: part.name.clone(),
            });
            let (source, destination) = (source.clone(), destination.clone());
            let (acl, older) = (request.acl, older.clone());
            async move {
                told?;
                older.make_way(&part.name, part.digest).await?;
                let operation = operation(&part.name);
                let copy = destination.copy_from(&operation, &source, &part.name, &part.held, acl);
                Ok(copy.await?)
            }
        },
        |index, ()| Ok::<(), Error>(observer.tell(Event::FilesDone(index + 1))?),
    )
    .await;
    observer.tell(Event::End)?;
    copied
}

/// The beginning of an error about a part.
fn operation(name: &str) -> String {
    format!("Failed to copy {name:?}")
}
