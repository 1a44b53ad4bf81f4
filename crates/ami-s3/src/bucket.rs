//! Buckets: finding, creating and deleting them.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, ObjectOwnership};

use crate::address::Location;
use crate::connection::Bucket;
use crate::error::Error;
use crate::operation::{Attempt, send};

/// How errors begin.
const OPERATION: &str = "Error talking to S3";

impl Bucket {
    /// Finds the bucket's location, and sends requests there from now on. `None`: there is no such bucket.
    ///
    /// # Errors
    /// The request failed. If it was denied, the region is taken from another answer: the bucket may be usable all the same.
    pub async fn locate(&self) -> Result<Option<Location>, Error> {
        let asked = self
            .perform(OPERATION, 0, |attempt: Attempt| async move {
                let request = attempt
                    .client
                    .get_bucket_location()
                    .bucket(&self.path().bucket);
                send!(attempt, request).await
            })
            .await;
        let location = match asked {
            Ok(answer) => {
                let constraint = answer.location_constraint();
                Location::of_answer(constraint.map(BucketLocationConstraint::as_str))
            }
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.is_denied() => match self.region_from_head().await? {
                Some(region) => Location::of_answer(Some(&region)),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        self.go_to(location.region());
        Ok(Some(location))
    }

    /// As [`locate`](Self::locate), but an existing bucket must be at the location `asked`.
    ///
    /// # Errors
    /// [`Error::Location`] if it is elsewhere.
    pub async fn locate_at(&self, asked: Option<&Location>) -> Result<Option<Location>, Error> {
        let found = self.locate().await?;
        match (&found, asked) {
            (Some(actual), Some(asked)) if actual != asked => Err(Error::Location {
                bucket: self.path().bucket.clone(),
                actual: actual.name().to_owned(),
                asked: asked.name().to_owned(),
            }),
            _ => Ok(found),
        }
    }

    /// The bucket's region, which every answer of AWS about a bucket names, even a refusal.
    async fn region_from_head(&self) -> Result<Option<String>, Error> {
        self.perform(OPERATION, 0, |attempt: Attempt| async move {
            let request = attempt.client.head_bucket().bucket(&self.path().bucket);
            match send!(attempt, request).await {
                Ok(answer) => Ok(answer.bucket_region().map(str::to_owned)),
                Err(failed) => Ok(failed.bucket_region),
            }
        })
        .await
    }

    /// Creates the bucket at `location`, or else in the connection's region, so that objects in it can have ACLs.
    ///
    /// # Errors
    /// S3's reason.
    pub async fn create(&self, location: Option<&Location>) -> Result<Location, Error> {
        let location = match location {
            Some(location) => location.clone(),
            None => Location::of_answer(Some(self.connection().region())),
        };
        self.go_to(location.region());
        let asked = &location;
        self.perform(OPERATION, 0, |attempt: Attempt| async move {
            let configuration = asked.constraint().map(|constraint| {
                CreateBucketConfiguration::builder()
                    .location_constraint(constraint.into())
                    .build()
            });
            let request = attempt
                .client
                .create_bucket()
                .bucket(&self.path().bucket)
                .object_ownership(ObjectOwnership::BucketOwnerPreferred)
                .set_create_bucket_configuration(configuration);
            match send!(attempt, request).await {
                // An earlier try created it, and its answer was lost.
                Err(failed)
                    if attempt.number > 1
                        && failed.error().has_code(&["BucketAlreadyOwnedByYou"]) =>
                {
                    Ok(())
                }
                made => made.map(drop),
            }
        })
        .await?;
        Ok(location)
    }

    /// Deletes the bucket, which must be empty.
    ///
    /// # Errors
    /// S3's reason; `BucketNotEmpty` if it is not empty.
    pub async fn remove(&self) -> Result<(), Error> {
        self.perform(OPERATION, 0, |attempt: Attempt| async move {
            let request = attempt.client.delete_bucket().bucket(&self.path().bucket);
            send!(attempt, request).await.map(drop)
        })
        .await
    }
}
