//! Bundling an image straight to S3: the parts are sent while they are made, the manifest last.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ami_bundle::{BundlePlan, BundledImage, Running};
use ami_image::Image;
use ami_s3::{Acl, BucketPath, Location, Settings};
use tracing::debug;

use crate::delete::list;
use crate::destination::Destination;
use crate::error::{BoxError, Error};
use crate::link::{Link, connected, in_background};
use crate::observer::{Event, Observer};
use crate::sending::Sending;
use crate::sink::BucketSink;

/// How often a running story looks whether it is interrupted.
const TICK: Duration = Duration::from_millis(50);

/// Where in S3 a bundle goes, and for whom.
#[derive(Debug, Clone)]
pub struct Place {
    /// The settings of the connection to S3.
    pub s3: Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// Where the bucket must be, and is created if it does not exist. `None`: anywhere; it is created in the connection's region.
    pub location: Option<Location>,
    /// Who else can read the bundle.
    pub acl: Acl,
}

/// What is at a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceFound {
    /// The bucket's region; of one that does not exist, that in which it would be created.
    pub region: String,
    /// Whether the bucket exists.
    pub exists: bool,
    /// The files of bundles of the same name, manifests first. `None`: these credentials cannot list them.
    pub older: Option<Vec<String>>,
}

/// Called when the image has been read. An error says that it may have changed meanwhile, and ends the story.
pub type WhenRead = Box<dyn FnOnce() -> Result<(), BoxError> + Send>;

/// An image that is bundled to S3.
pub struct BundleToS3 {
    /// Where it goes.
    pub place: Place,
    /// The image: a file or a block device.
    pub image: PathBuf,
    /// The bundle.
    pub plan: BundlePlan,
    /// How many threads compress and encrypt.
    pub threads: NonZeroUsize,
    /// For an image that is kept from changing.
    pub when_read: Option<WhenRead>,
}

/// What was bundled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledToS3 {
    /// BUCKET/KEY of the manifest, which EC2's RegisterImage takes.
    pub manifest: String,
    /// The bucket's region.
    pub region: String,
    /// Whether the bucket was created.
    pub bucket_created: bool,
    /// The image, and the parts.
    pub bundled: BundledImage<()>,
}

/// Looks where a bundle of this name would go, and what is there.
///
/// # Errors
/// S3 cannot be asked; the bucket is elsewhere; [`Error::Interrupted`].
pub async fn look_at_place(
    place: &Place,
    bundle: &str,
    interrupted: &AtomicBool,
    observer: &impl Observer,
) -> Result<PlaceFound, Error> {
    connected(&place.s3, observer, async |link| {
        unless(interrupted, async {
            let found = find(place, link).await?;
            let older = match found.exists {
                false => Some(Vec::new()),
                true => match list(&found.bucket, bundle).await {
                    Ok(files) => Some(files),
                    Err(error) if error.is_refused() => {
                        debug!("{error}: what is there is unknown");
                        None
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            Ok(PlaceFound {
                region: found.region,
                exists: found.exists,
                older,
            })
        })
        .await
    })
    .await
}

/// Bundles an image to S3. Only the parts that are being made or sent are in memory, and nothing is written to a disk.
///
/// The manifest is sent last, because a manifest in S3 means that the whole bundle is there. An older bundle's manifest is deleted before
/// the first of its parts is replaced, as [`upload`](crate::upload()) does it.
///
/// If anything fails, or `interrupted` is set, what was sent is deleted again; [`Event::FilesStay`] reports what could not be. If the
/// future is dropped, that goes on in the runtime without it.
///
/// # Errors
/// [`Error::Bundle`], before anything is done if the image cannot be bundled at all; [`Error::S3`]; [`Error::Source`];
/// [`Error::Interrupted`].
pub async fn bundle_to_s3(
    request: BundleToS3,
    interrupted: &AtomicBool,
    observer: &impl Observer,
) -> Result<BundledToS3, Error> {
    let bucket = &request.place.bucket;
    if !bucket.is_dns_safe() {
        let bucket = bucket.bucket.clone();
        observer.tell(Event::UnsafeBucketName { bucket })?;
    }
    let settings = request.place.s3.clone();
    connected(&settings, observer, async |link| {
        run(request, link, interrupted, observer).await
    })
    .await
}

async fn find(place: &Place, link: &Link) -> Result<Destination, Error> {
    Destination::find(link, place.bucket.clone(), place.location.as_ref()).await
}

async fn run(
    request: BundleToS3,
    link: &Link,
    interrupted: &AtomicBool,
    observer: &impl Observer,
) -> Result<BundledToS3, Error> {
    let BundleToS3 {
        place,
        image: path,
        plan,
        threads,
        when_read,
    } = request;
    let opened = in_background(move |_| {
        let image = Image::open(&path).map_err(ami_bundle::Error::from)?;
        let checked = plan.check(&image, None, &|_| {});
        checked.map_err(ami_bundle::Error::from)?;
        Ok::<_, Error>((image, plan))
    });
    let (image, plan) = unless(interrupted, opened).await??;
    let manifest = ami_parts::manifest_file_name(plan.name());
    let (destination, older) = unless(interrupted, async {
        let found = find(&place, link).await?;
        let location = place.location.as_ref();
        let older = found
            .open(link, location, &manifest, plan.name(), observer)
            .await?;
        Ok((found, older))
    })
    .await?;

    let read = Arc::<AtomicU64>::default();
    observer.tell(Event::Bundling {
        bytes: image.data_size(),
        read: read.clone(),
    })?;
    let (sink, sending) = Sending::begin(&destination.bucket, place.acl, older, link);
    let bundling = in_background(move |dropped| {
        let events = |event: ami_bundle::Event<'_>| {
            if let ami_bundle::Event::Read(count) = event {
                let _ = read.fetch_add(count, Ordering::Relaxed);
            }
        };
        let running = Running {
            threads,
            events: &events,
            interrupted: dropped,
        };
        make(plan, &image, sink, when_read, &running)
    });
    let mut bundling = pin!(bundling);
    let (bundled, sent) = tokio::select! {
        biased;
        bundled = &mut bundling => (bundled, sending.end().await),
        () = raised(interrupted) => {
            // The pipeline ends as soon as its sink does.
            let sent = sending.stop().await;
            (bundling.await, sent)
        }
    };
    observer.tell(Event::End)?;
    // What the sink says is only that there is such a reason.
    sent?;
    Ok(BundledToS3 {
        bundled: bundled??,
        manifest: destination.bucket.path().location(&manifest),
        region: destination.region,
        bucket_created: !destination.exists,
    })
}

fn make(
    plan: BundlePlan,
    image: &Image,
    sink: BucketSink,
    when_read: Option<WhenRead>,
    running: &Running<'_>,
) -> Result<BundledImage<()>, Error> {
    let parts = plan.write_parts(image, sink, running)?;
    if let Some(check) = when_read {
        check().map_err(Error::Source)?;
    }
    Ok(plan.publish(parts)?)
}

/// Works until it is done or the flag is raised, which drops the work where it stands.
async fn unless<T>(
    interrupted: &AtomicBool,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        result = work => result,
        () = raised(interrupted) => Err(Error::Interrupted),
    }
}

/// Ends when the flag is raised.
async fn raised(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(TICK).await;
    }
}
