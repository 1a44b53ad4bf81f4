//! Listing and deleting many objects at once.

use std::time::Duration;

use ami_aws::ServiceError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use tracing::debug;

use crate::connection::Bucket;
use crate::error::Error;
use crate::operation::{Attempt, AttemptError, send};
use crate::parallel::in_order;

const ASKING: &str = "Error talking to S3";

/// S3 API reference, `DeleteObjects`: the most keys in a request.
const BATCH: usize = 1000;

/// The most pages of a listing: a million names, where a bundle has some thousand.
const MOST_PAGES: usize = 1000;

/// The most bytes of names that are kept of a listing.
const MOST_KEPT: usize = 16 << 20;

/// How long all pages together may take.
const LONGEST: Duration = Duration::from_secs(600);

impl Bucket {
    /// The names of the files in the bucket's folder that begin with `begin` and satisfy `wanted`, in S3's order.
    ///
    /// Uses version 1 of the listing, because servers that know no other are still in use.
    ///
    /// # Errors
    /// S3's reason; [`Error::Content`] if the listing does not end.
    pub async fn list(
        &self,
        begin: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        let listed = tokio::time::timeout(LONGEST, self.pages(begin, wanted)).await;
        listed.unwrap_or_else(|_| Err(endless("takes too long")))
    }

    async fn pages(
        &self,
        begin: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        let (mut files, mut kept) = (Vec::new(), 0);
        let mut marker: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let behind = &marker;
            let page = self
                .perform(ASKING, 0, |attempt: Attempt| async move {
                    let request = attempt
                        .client
                        .list_objects()
                        .bucket(&self.path().bucket)
                        .prefix(self.path().key(begin))
                        .set_marker(behind.clone());
                    send!(attempt, request).await
                })
                .await?;
            let keys: Vec<&str> = page
                .contents()
                .iter()
                .filter_map(|object| object.key())
                .collect();
            for file in keys.iter().filter_map(|key| self.path().file(key)) {
                if wanted(file) {
                    kept += file.len();
                    files.push(file.to_owned());
                }
            }
            if kept > MOST_KEPT {
                return Err(endless("has more names than any bundle"));
            }
            let next = page.next_marker().or(keys.last().copied());
            match next {
                Some(next)
                    if page.is_truncated() == Some(true) && marker.as_deref() != Some(next) =>
                {
                    marker = Some(next.to_owned());
                }
                _ => return Ok(files),
            }
        }
        Err(endless("has more pages than any bundle"))
    }

    /// Deletes files, and passes each name to `done` when it is deleted, in order. A file that does not exist counts as deleted.
    ///
    /// The first is deleted before all others. If the server cannot delete many at once, they are deleted one by one.
    ///
    /// # Errors
    /// S3's reason for the first that could not be deleted, converted by `explain`; or the error that `done` returns.
    pub async fn delete<E: Send + 'static>(
        &self,
        files: &[String],
        parallel: usize,
        explain: fn(Error) -> E,
        mut done: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((first, rest)) = files.split_first() else {
            return Ok(());
        };
        self.delete_file(first).await.map_err(explain)?;
        done(first)?;
        for batch in rest.chunks(BATCH) {
            if batch.len() > 1 {
                match self.delete_batch(batch).await {
                    Ok(()) => {
                        for file in batch {
                            done(file)?;
                        }
                        continue;
                    }
                    Err(error) if error.is_not_implemented() => {
                        debug!("{error}; deleting one by one")
                    }
                    Err(error) => return Err(explain(error)),
                }
            }
            let delete = |index: usize| {
                let (bucket, file) = (self.clone(), batch[index].clone());
                async move { bucket.delete_file(&file).await.map_err(explain) }
            };
            in_order(batch.len(), parallel, delete, |index, ()| {
                done(&batch[index])
            })
            .await?;
        }
        Ok(())
    }

    /// Deletes a file. A file that does not exist counts as deleted.
    ///
    /// # Errors
    /// S3's reason.
    pub async fn delete_file(&self, file: &str) -> Result<(), Error> {
        self.perform(&operation(file), 0, |attempt: Attempt| async move {
            let request = attempt
                .client
                .delete_object()
                .bucket(&self.path().bucket)
                .key(self.path().key(file));
            send!(attempt, request).await.map(drop)
        })
        .await
    }

    async fn delete_batch(&self, files: &[String]) -> Result<(), Error> {
        let first = files.first().map(String::as_str).unwrap_or_default();
        self.perform(&operation(first), 0, |attempt: Attempt| async move {
            let keys = files.iter().map(|file| {
                ObjectIdentifier::builder()
                    .key(self.path().key(file))
                    .build()
            });
            let keys: Result<Vec<_>, _> = keys.collect();
            let delete = keys.and_then(|keys| {
                Delete::builder()
                    .set_objects(Some(keys))
                    .quiet(true)
                    .build()
            });
            let delete = delete.map_err(|error| Error::Content {
                operation: operation(first),
                reason: error.to_string(),
            })?;
            let request = attempt
                .client
                .delete_objects()
                .bucket(&self.path().bucket)
                .delete(delete);
            let answer = send!(attempt, request).await?;
            let Some(failed) = answer.errors().first() else {
                return Ok(());
            };
            let file = failed
                .key()
                .and_then(|key| self.path().file(key))
                .unwrap_or(first);
            let error = ServiceError::of_item(failed.code(), failed.message());
            Err(AttemptError::of_item(operation(file), error))
        })
        .await
    }
}

fn endless(how: &str) -> Error {
    Error::Content {
        operation: ASKING.to_owned(),
        reason: format!("the listing {how}"),
    }
}

fn operation(file: &str) -> String {
    format!("Failed to delete \"{file}\"")
}
