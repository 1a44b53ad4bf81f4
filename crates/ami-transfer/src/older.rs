//! Manifests of older bundles, which become wrong when their parts are replaced.
//!
//! A manifest in S3 means that its whole bundle is there. So a manifest that names a part is deleted just before that part is replaced,
//! and not earlier, so that a run that ends before has changed nothing.

use std::collections::HashMap;

use ami_manifest::{LARGEST_MANIFEST, ParsedManifest, Sha1Digest};
use ami_s3::{Bucket, Error};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

use crate::link::Link;
use crate::observer::Event;

/// The manifests that were in the bucket before this upload.
#[derive(Debug)]
pub(crate) struct OlderManifests {
    bucket: Bucket,
    events: UnboundedSender<Event>,
    manifests: Vec<Older>,
}

#[derive(Debug)]
struct Older {
    file: String,
    /// Its parts by name; `None`: it cannot be read, so it may name any.
    parts: Option<HashMap<String, Sha1Digest>>,
    /// Whether it could be deleted; empty until that is tried.
    is_gone: OnceCell<bool>,
}

impl OlderManifests {
    /// None, for a new bucket.
    pub(crate) fn none(bucket: &Bucket, link: &Link) -> Self {
        Self {
            bucket: bucket.clone(),
            events: link.events.clone(),
            manifests: Vec::new(),
        }
    }

    /// Looks for a manifest only under the name of the new one, and under the usual name for the bundle.
    ///
    /// One that cannot be read, with these credentials or at all, is assumed to name every part.
    ///
    /// # Errors
    /// S3 cannot be asked.
    pub(crate) async fn find(
        bucket: &Bucket,
        link: &Link,
        target: &str,
        bundle: &str,
    ) -> Result<Self, Error> {
        let usual = ami_parts::manifest_file_name(bundle);
        let mut manifests = Vec::new();
        let other = Some(usual.as_str()).filter(|usual| *usual != target);
        for file in [target].into_iter().chain(other) {
            if let Some(parts) = read(bucket, file).await? {
                manifests.push(Older {
                    file: file.to_owned(),
                    parts,
                    is_gone: OnceCell::new(),
                });
            }
        }
        Ok(Self {
            manifests,
            ..Self::none(bucket, link)
        })
    }

    /// Deletes the manifests that name this part with another digest. Must complete before the part is replaced.
    ///
    /// A manifest that these credentials cannot delete stays, and [`Event::OlderStays`] reports it.
    ///
    /// # Errors
    /// S3 cannot be asked.
    pub(crate) async fn make_way(&self, part: &str, digest: Sha1Digest) -> Result<(), Error> {
        for older in &self.manifests {
            let is_wrong = match &older.parts {
                Some(parts) => parts.get(part).is_some_and(|named| *named != digest),
                None => true,
            };
            if is_wrong {
                let delete = || self.delete(&older.file);
                let _ = older.is_gone.get_or_try_init(delete).await?;
            }
        }
        Ok(())
    }

    /// The locations of those that were deleted.
    pub(crate) fn deleted(&self) -> Vec<String> {
        let gone = self.manifests.iter();
        let gone = gone.filter(|older| older.is_gone.get() == Some(&true));
        gone.map(|older| self.bucket.path().location(&older.file))
            .collect()
    }

    async fn delete(&self, file: &str) -> Result<bool, Error> {
        let location = self.bucket.path().location(file);
        // Sent before the request, so that it is reported even if the story is interrupted meanwhile.
        self.tell(Event::OlderGoes {
            location: location.clone(),
        });
        match self.bucket.delete_file(file).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_refused() => {
                self.tell(Event::OlderStays { location, error });
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self, event: Event) {
        // Fails only if the story has ended.
        let _ = self.events.send(event);
    }
}

/// The parts of a manifest, if there is one: `Some(None)` if it cannot be read.
async fn read(
    bucket: &Bucket,
    file: &str,
) -> Result<Option<Option<HashMap<String, Sha1Digest>>>, Error> {
    let doing = format!("Failed to look at the older \"{file}\"");
    let bytes = match bucket.get(&doing, file, LARGEST_MANIFEST).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) if error.is_refused() || matches!(error, Error::TooLong { .. }) => {
            debug!("{error}: it may name any part");
            return Ok(Some(None));
        }
        Err(error) => return Err(error),
    };
    match ParsedManifest::parse(&bytes) {
        Ok(parsed) => {
            let parts = parsed.manifest.image.parts.into_iter();
            Ok(Some(Some(
                parts.map(|part| (part.filename, part.digest)).collect(),
            )))
        }
        Err(error) => {
            debug!("{file} cannot be read as a manifest ({error}): it may name any part");
            Ok(Some(None))
        }
    }
}
