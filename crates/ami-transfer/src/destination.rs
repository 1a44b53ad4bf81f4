//! The bucket that a bundle is put into: found, or created.

use ami_s3::{Bucket, BucketPath, Location};

use crate::error::Error;
use crate::link::Link;
use crate::observer::{Event, Observer};
use crate::older::OlderManifests;

/// A bucket that was looked for.
pub(crate) struct Destination {
    pub(crate) bucket: Bucket,
    /// The bucket's region; of one that does not exist, that in which it will be created.
    pub(crate) region: String,
    pub(crate) exists: bool,
}

impl Destination {
    /// Looks for the bucket, which must be at `location`, if one is given.
    ///
    /// # Errors
    /// S3 cannot be asked; the bucket is elsewhere.
    pub(crate) async fn find(
        link: &Link,
        path: BucketPath,
        location: Option<&Location>,
    ) -> Result<Self, Error> {
        let bucket = link.connection.bucket(path);
        let found = bucket.locate_at(location).await?;
        let region = match found.as_ref().or(location) {
            Some(location) => location.region().to_owned(),
            None => link.connection.region().to_owned(),
        };
        Ok(Self {
            bucket,
            region,
            exists: found.is_some(),
        })
    }

    /// Creates the bucket if it does not exist, and looks for manifests in it that the bundle's parts may make wrong. `manifest` is the
    /// new manifest's file name.
    ///
    /// # Errors
    /// S3's reason.
    pub(crate) async fn open(
        &self,
        link: &Link,
        location: Option<&Location>,
        manifest: &str,
        bundle: &str,
        observer: &impl Observer,
    ) -> Result<OlderManifests, Error> {
        if self.exists {
            return Ok(OlderManifests::find(&self.bucket, link, manifest, bundle).await?);
        }
        observer.tell(Event::CreatingBucket)?;
        let _ = self.bucket.create(location).await?;
        Ok(OlderManifests::none(&self.bucket, link))
    }
}
