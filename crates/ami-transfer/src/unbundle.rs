//! Restoring the image of a bundle, in S3 or on disk, without storing the bundle.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ami_bundle::{Event as BundleEvent, Naming, Running, Settings, UnbundleRequest};
use ami_image::ImageSink;
use ami_manifest::BundleContents;

use crate::error::Error;
use crate::link::{connected, in_background};
use crate::observer::{Event, Observer};
use crate::remote_bundle::{OpenBundle, RemoteBundle};

/// Unbundles a bundle in S3 into `sink`, and returns what the sink returns for the finished image.
///
/// The sink is begun only after all parts were found, and finished only when everything has been verified.
///
/// # Errors
/// Those of [`RemoteBundle::open`]; [`Error::S3`] for a part; [`Error::Bundle`] for the stream and for the sink's errors.
pub async fn unbundle<I>(
    request: &OpenBundle,
    sink: I,
    threads: NonZeroUsize,
    observer: &impl Observer,
) -> Result<I::Finished, Error>
where
    I: ImageSink + 'static,
    I::Error: Into<ami_bundle::Error>,
    I::Finished: Send + 'static,
{
    connected(&request.s3, observer, async |link| {
        let bundle = RemoteBundle::open_on(&link.connection, request).await?;
        let (parts, expected, key) = (bundle.parts(), bundle.expected(), bundle.shared_key());
        observer.tell(link.begin_bytes(expected.bundled_size))?;
        let unbundled = in_background(move |interrupted| {
            let settings = Settings {
                threads,
                progress: &|_| {},
                interrupted,
            };
            ami_bundle::unbundle(parts, &expected, &key, sink, &settings)
        });
        let unbundled = unbundled.await;
        observer.tell(Event::End)?;
        Ok(unbundled??)
    })
    .await
}

/// The same with a bundle on disk. `open` is told which files the image is made from.
///
/// # Errors
/// Those of [`ami_bundle::unbundle_image`], as [`Error::Bundle`] and [`Error::Manifest`].
pub async fn unbundle_files<I>(
    request: UnbundleRequest,
    open: impl FnOnce(Naming) -> Result<I, I::Error> + Send + 'static,
    threads: NonZeroUsize,
    observer: &impl Observer,
) -> Result<I::Finished, Error>
where
    I: ImageSink + 'static,
    I::Error: Into<ami_bundle::Error>,
    I::Finished: Send + 'static,
{
    let manifest = request.manifest.clone();
    let contents = in_background(move |_| BundleContents::load(&manifest)).await??;
    for lack in contents.lacks {
        let manifest = request.manifest.clone();
        observer.tell(Event::Incomplete { manifest, lack })?;
    }
    let read = Arc::<AtomicU64>::default();
    observer.tell(Event::Reading {
        bytes: contents.bundled_size.unwrap_or(0),
        moved: read.clone(),
    })?;
    let unbundled = in_background(move |interrupted| {
        let running = Running {
            threads,
            events: &|event| {
                if let BundleEvent::Read(count) = event {
                    let _ = read.fetch_add(count, Ordering::Relaxed);
                }
            },
            interrupted,
        };
        ami_bundle::unbundle_image(request, open, &running)
    });
    let unbundled = unbundled.await;
    observer.tell(Event::End)?;
    Ok(unbundled??.image)
}
