//! Buckets themselves: where they are, making and removing them.

use aws_sdk_s3::operation::create_bucket::CreateBucketError;
use aws_sdk_s3::operation::delete_bucket::DeleteBucketError;
use aws_sdk_s3::operation::get_bucket_location::GetBucketLocationError;
use aws_sdk_s3::operation::head_bucket::HeadBucketError;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, ObjectOwnership};
use tracing::debug;

use crate::address::Location;
use crate::connection::{Attempt, Bucket};
use crate::error::Error;

const OPERATION: &str = "Error talking to S3";

/// AWS SDKs get it with every answer about a bucket, whoever asks.
const REGION_HEADER: &str = "x-amz-bucket-region";

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
                request
                    .customize()
                    .config_override(attempt.config())
                    .interceptor(attempt.watch::<GetBucketLocationError>())
                    .send()
                    .await
                    .map_err(|error| attempt.explain(error))
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
            let asked = request
                .customize()
                .config_override(attempt.config())
                .interceptor(attempt.watch::<HeadBucketError>())
                .send()
                .await;
            match asked {
                Ok(answer) => Ok(answer.bucket_region().map(str::to_owned)),
                Err(error) => {
                    let answer = error.raw_response();
                    let region = answer.and_then(|answer| answer.headers().get(REGION_HEADER));
                    match region.map(str::to_owned) {
                        Some(region) => Ok(Some(region)),
                        None => {
                            debug!("{}", attempt.explain(error).told());
                            Ok(None)
                        }
                    }
                }
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
            let made = request
                .customize()
                .config_override(attempt.config())
                .interceptor(attempt.watch::<CreateBucketError>())
                .send()
                .await;
            match made {
                Ok(_) => Ok(()),
                // A try whose answer was lost has made it.
                Err(error)
                    if attempt.tries.made() > 1
                        && error
                            .as_service_error()
                            .is_some_and(CreateBucketError::is_bucket_already_owned_by_you) =>
                {
                    Ok(())
                }
                Err(error) => Err(attempt.explain(error)),
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
            let removed = request
                .customize()
                .config_override(attempt.config())
                .interceptor(attempt.watch::<DeleteBucketError>())
                .send()
                .await;
            removed.map(drop).map_err(|error| attempt.explain(error))
        })
        .await
    }
}
