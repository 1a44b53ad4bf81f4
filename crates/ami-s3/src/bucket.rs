//! Buckets themselves: where they are, making and removing them.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, ObjectOwnership};

use crate::address::Location;
use crate::connection::Bucket;
use crate::error::Error;
use crate::operation::{Attempt, send};

/// How errors begin.
const OPERATION: &str = "Error talking to S3";

impl Bucket {
    /// Where the bucket is, and asks there from now on; `None`: there is no such bucket.
    ///
    /// # Errors
    /// S3 cannot be asked. Who may not ask for a bucket's location may still use it: then its region is taken from another answer.
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

    /// As [`locate`](Self::locate), of a bucket that must be where it was asked for if it is anywhere.
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

    /// Every answer about a bucket of AWS, even a refusal, names its region.
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

    /// Makes the bucket, there or in the region where the connection begins, so that ACLs can be set on what is put into it.
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
                // A try whose answer was lost has made it.
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

    /// Removes the bucket, which must be empty.
    ///
    /// # Errors
    /// S3's reason; `BucketNotEmpty` where it is not.
    pub async fn remove(&self) -> Result<(), Error> {
        self.perform(OPERATION, 0, |attempt: Attempt| async move {
            let request = attempt.client.delete_bucket().bucket(&self.path().bucket);
            send!(attempt, request).await.map(drop)
        })
        .await
    }
}
