//! Uploading a bundle: first its parts, then its manifest.

use std::path::PathBuf;
use std::sync::Arc;

use ami_manifest::ParsedManifest;
use ami_s3::{Acl, Bucket, BucketPath, Location, Settings, in_order};
use serde::Serialize;
use tracing::debug;

use crate::destination::Destination;
use crate::error::Error;
use crate::link::{Link, connected};
use crate::local::{Bundle, Sent};
use crate::observer::{Event, Observer, ask_to_continue};
use crate::older::OlderManifests;

/// Settings of an upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The settings of the connection to S3.
    pub s3: Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// Where the bucket must be, and is created if it does not exist. `None`: anywhere; it is created in the connection's region.
    pub location: Option<Location>,
    /// The manifest's file.
    pub manifest: PathBuf,
    /// The folder of the parts; `None`: that of the manifest.
    pub folder: Option<PathBuf>,
    /// Who else can read the bundle.
    pub acl: Acl,
    /// How many parts are left out, in the manifest's order.
    pub parts_left_out: usize,
    /// Whether the manifest is left out.
    pub leaves_out_manifest: bool,
    /// Whether parts that are in S3 already are skipped.
    pub resumes: bool,
    /// How many files are sent at once.
    pub parallel: usize,
    /// Whether to ask the instance metadata service for this instance's region, to warn of a kernel that the bucket's region does not have.
    pub warns_of_region: bool,
}

/// What was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// BUCKET/KEY, which EC2's RegisterImage takes; `None` if the manifest was left out.
    pub manifest: Option<String>,
    /// The bucket's region.
    pub region: String,
    /// Whether the bucket was created.
    pub bucket_created: bool,
    /// The names of the parts that were sent.
    pub uploaded: Vec<String>,
    /// The names of the parts that were left out, or were in S3 already.
    pub skipped: Vec<String>,
}

/// Uploads a bundle.
///
/// Every part is compared with the manifest's digest before anything is sent. The manifest is sent last, because a manifest in S3 means
/// that the whole bundle is there. An older bundle's manifest is deleted before the first of its parts is replaced.
///
/// # Errors
/// [`Error::Files`], [`Error::Size`], [`Error::Manifest`], before anything is sent; [`Error::S3`]; [`Error::Declined`].
pub async fn upload(request: &Upload, observer: &impl Observer) -> Result<Uploaded, Error> {
    if !request.bucket.is_dns_safe() {
        observer.tell(Event::UnsafeBucketName {
            bucket: request.bucket.bucket.clone(),
        })?;
        ask_to_continue(observer)?;
    }
    connected(&request.s3, observer, async |link| {
        run(request, link, observer).await
    })
    .await
}

async fn run(request: &Upload, link: &Link, observer: &impl Observer) -> Result<Uploaded, Error> {
    let asked = request.location.as_ref();
    let destination = Destination::find(link, request.bucket.clone(), asked).await?;
    let (bucket, region) = (&destination.bucket, &destination.region);
    let (parsed, bytes) = ParsedManifest::load_bytes(&request.manifest)?;
    if let Some(kernel) = &parsed.manifest.machine.kernel_id
        && request.warns_of_region
    {
        warn_of_other_region(kernel, region, observer).await?;
    }
    let image = &parsed.manifest.image;
    let folder = request.folder.as_deref();
    let bundle = Bundle::check(image, bytes, &request.manifest, folder).await?;

    let manifest = bundle.manifest_name();
    let older = destination
        .open(link, asked, &manifest, &image.name, observer)
        .await?;
    let older = Arc::new(older);
    observer.tell(Event::SendingParts {
        bucket: bucket.path().bucket.clone(),
    })?;
    let resumes = request.resumes && destination.exists;
    let (uploaded, skipped) =
        send_parts(request, &bundle, bucket, resumes, &older, link, observer).await?;
    let manifest = send_manifest(request, &bundle, bucket, &older, observer).await?;
    Ok(Uploaded {
        manifest,
        bucket_created: !destination.exists,
        region: destination.region,
        uploaded,
        skipped,
    })
}

/// A kernel belongs to one region, so an image that names one can be started only there.
async fn warn_of_other_region(
    kernel: &str,
    region: &str,
    observer: &impl Observer,
) -> Result<(), Error> {
    match ami_imds::region().await {
        Ok(Some(here)) if here != region => {
            observer.tell(Event::OtherRegion {
                here,
                region: region.to_owned(),
                kernel: kernel.to_owned(),
            })?;
            ask_to_continue(observer)
        }
        Ok(_) => Ok(()),
        Err(error) => {
            debug!("{error}: this instance's region is unknown");
            Ok(())
        }
    }
}

/// Sends the parts, and returns the names of those that were sent and of those that were not.
async fn send_parts(
    request: &Upload,
    bundle: &Bundle,
    bucket: &Bucket,
    resumes: bool,
    older: &Arc<OlderManifests>,
    link: &Link,
    observer: &impl Observer,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let is_left_out = |index: usize| bundle.parts[index].index < request.parts_left_out;
    let bytes = (0..bundle.parts.len())
        .filter(|index| !is_left_out(*index))
        .map(|index| bundle.parts[index].print.size)
        .sum();
    observer.tell(link.begin(bytes, bundle.parts.len()))?;
    let (mut uploaded, mut skipped) = (Vec::new(), Vec::new());
    let sent: Result<(), Error> = in_order(
        bundle.parts.len(),
        request.parallel,
        |index| {
            let (part, bucket) = (bundle.parts[index].clone(), bucket.clone());
            let (is_left_out, older, acl) = (is_left_out(index), older.clone(), request.acl);
            async move {
                if is_left_out {
                    return Ok(Sent::Skipped);
                }
                part.send(&bucket, acl, resumes, &older).await
            }
        },
        |index, sent| {
            let part = bundle.parts[index].name.clone();
            observer.tell(Event::FilesDone(index + 1))?;
            let (names, event) = match sent {
                Sent::Now => (&mut uploaded, Event::Sent { part: part.clone() }),
                Sent::Skipped => (&mut skipped, Event::Skipped { part: part.clone() }),
            };
            observer.tell(event)?;
            names.push(part);
            Ok(())
        },
    )
    .await;
    observer.tell(Event::End)?;
    sent.map(|()| (uploaded, skipped))
}

/// Sends the manifest, unless it is left out, and returns its location.
async fn send_manifest(
    request: &Upload,
    bundle: &Bundle,
    bucket: &Bucket,
    older: &OlderManifests,
    observer: &impl Observer,
) -> Result<Option<String>, Error> {
    if request.leaves_out_manifest {
        observer.tell(Event::ManifestLeftOut)?;
        for location in older.deleted() {
            observer.tell(Event::OlderDeleted { location })?;
        }
        return Ok(None);
    }
    observer.tell(Event::SendingManifest)?;
    bundle.send_manifest(bucket, request.acl).await?;
    let location = bucket.path().location(&bundle.manifest_name());
    observer.tell(Event::Complete {
        location: location.clone(),
    })?;
    Ok(Some(location))
}
