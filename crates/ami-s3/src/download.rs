//! Downloading objects to files and into memory.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ami_aws::root_cause;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use sha1::{Digest, Sha1};
use tokio::task::JoinHandle;

use crate::connection::Bucket;
use crate::error::Error;
use crate::event::Event;
use crate::held::Held;
use crate::object::READ;
use crate::operation::{Attempt, AttemptError, send};

/// Half of a part of the usual 10 MiB (bytes). S3 limits the speed of each connection, so larger files are downloaded over several.
pub const HALF: u64 = 5 << 20;

/// What is known about a file before it is downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The most bytes that it may have.
    pub most: u64,
    /// About how many bytes it has.
    pub usual: u64,
    /// The most bytes that a file of its kind usually has; they determine its deadline.
    pub patience: u64,
    /// The SHA-1 that it must have, if known.
    pub sha1: Option<[u8; 20]>,
}

/// A downloaded file, which is synced to disk while the next ones are downloaded.
#[derive(Debug)]
pub struct Arrived {
    /// Its SHA-1.
    pub sha1: [u8; 20],
    path: PathBuf,
    syncing: JoinHandle<std::io::Result<()>>,
}

impl Arrived {
    /// Waits until it is on disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn synced(self) -> Result<(), Error> {
        let result = self.syncing.await;
        let result = result.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        result.map_err(Error::io("sync", &self.path))
    }
}

impl Bucket {
    /// Downloads a small file.
    ///
    /// # Errors
    /// S3's reason; [`Error::TooLong`] if it has more than `most` bytes.
    pub async fn get(&self, operation: &str, file: &str, most: u64) -> Result<Vec<u8>, Error> {
        self.perform(operation, 0, |attempt: Attempt| async move {
            let mut bytes = Vec::new();
            let object = self.open(&attempt, file, None, None).await?;
            receive(&attempt, object, most, |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .await?;
            Ok(bytes)
        })
        .await
    }

    /// Downloads a range of the object that `held` describes; it lies within that. No byte comes of anything that was stored since.
    ///
    /// # Errors
    /// [`Error::Changed`] if something else has been stored; [`Error::Content`] if fewer bytes come; S3's reason.
    pub async fn get_held(
        &self,
        operation: &str,
        file: &str,
        held: &Held,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let length = range.end - range.start;
        // An empty object has no ranges.
        let asked = (length > 0).then_some(&range);
        let (range, etag) = (&range, held.etag.as_deref());
        let got = self.perform(operation, length, |attempt: Attempt| async move {
            let object = self.open(&attempt, file, asked, etag).await?;
            // A server that does not support ranges sends all of it.
            let mut position = match object.content_range() {
                Some(_) => range.start,
                None => 0,
            };
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            receive(&attempt, object, held.size, |chunk| {
                let end = position + chunk.len() as u64;
                let within = |place: u64| (place.clamp(position, end) - position) as usize;
                bytes.extend_from_slice(&chunk[within(range.start)..within(range.end)]);
                position = end;
                Ok(())
            })
            .await?;
            if bytes.len() as u64 == length {
                return Ok(bytes);
            }
            let reason = format!("{} bytes came of {length}", bytes.len());
            Err(AttemptError::of_content(operation, reason))
        });
        got.await.map_err(|error| {
            let operation = operation.to_owned();
            match error.is_no_match() {
                true => Error::Changed { operation },
                false => error,
            }
        })
    }

    /// Downloads a file to `path`. A wrong digest is retried like any failure.
    ///
    /// The two halves of a file that is expected to be large are downloaded over two connections at once, because S3 limits the speed of each.
    ///
    /// # Errors
    /// S3's reason; [`Error::Digest`] for a wrong one, in which case the file is removed; [`Error::Io`] if it cannot be written.
    pub async fn get_file(
        &self,
        operation: &str,
        file: &str,
        expected: &Expected,
        path: &Path,
    ) -> Result<Arrived, Error> {
        let mut tries_left = self.connection().tries();
        let result = loop {
            tries_left -= 1;
            match self.try_get_file(operation, file, expected, path).await {
                Ok(Err(error)) => {
                    if tries_left == 0 {
                        break Err(error);
                    }
                    let (reason, wait) = (error.to_string(), Duration::ZERO);
                    self.connection().tell(Event::Retrying { reason, wait });
                }
                Ok(Ok(arrived)) => break Ok(arrived),
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            // The file may not have been created.
            let _ = std::fs::remove_file(path);
        }
        result
    }

    /// The inner error is that of a wrong digest.
    async fn try_get_file(
        &self,
        operation: &str,
        file: &str,
        expected: &Expected,
        path: &Path,
    ) -> Result<Result<Arrived, Error>, Error> {
        let target = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let target = target.map_err(Error::io("create", path))?;
        let get = async |range: Option<Range<u64>>| {
            self.get_range(operation, file, expected, range, &target, path)
                .await
        };
        if expected.usual > HALF {
            // A file that is smaller than usual has no second half. A server that does not support ranges sends the whole file twice.
            let (first, second) = tokio::join!(get(Some(0..HALF)), get(Some(HALF..u64::MAX)));
            let _ = (first?, second?);
        } else {
            get(None).await?;
        }
        let hashing = target.try_clone().map_err(Error::io("read", path))?;
        let sha1 = in_background(move || digest_of(hashing))
            .await
            .map_err(Error::io("read", path))?;
        Ok(match expected.sha1 {
            Some(expected) if expected != sha1 => Err(Error::of_digest(operation, sha1, expected)),
            _ => Ok(Arrived {
                sha1,
                path: path.to_owned(),
                syncing: tokio::task::spawn_blocking(move || target.sync_all()),
            }),
        })
    }

    /// Downloads a range, or the whole file, and writes it at its offset.
    async fn get_range(
        &self,
        operation: &str,
        file: &str,
        expected: &Expected,
        range: Option<Range<u64>>,
        target: &File,
        path: &Path,
    ) -> Result<(), Error> {
        let range = &range;
        let got = self
            .perform(
                operation,
                expected.patience,
                |attempt: Attempt| async move {
                    let object = self.open(&attempt, file, range.as_ref(), None).await?;
                    let is_range = object.content_range().is_some();
                    let mut position = range
                        .as_ref()
                        .filter(|_| is_range)
                        .map_or(0, |range| range.start);
                    receive(&attempt, object, expected.most, |chunk| {
                        target
                            .write_all_at(chunk, position)
                            .map_err(Error::io("write", path))?;
                        position += chunk.len() as u64;
                        Ok(())
                    })
                    .await
                },
            )
            .await;
        match got {
            Err(error) if error.is_past_the_end() => Ok(()),
            result => result,
        }
    }

    async fn open(
        &self,
        attempt: &Attempt,
        file: &str,
        range: Option<&Range<u64>>,
        etag: Option<&str>,
    ) -> Result<GetObjectOutput, AttemptError> {
        let range = range.map(|range| match range.end {
            u64::MAX => format!("bytes={}-", range.start),
            end => format!("bytes={}-{}", range.start, end - 1),
        });
        let request = attempt
            .client
            .get_object()
            .bucket(&self.path().bucket)
            .key(self.path().key(file))
            .set_range(range)
            .set_if_match(etag.map(str::to_owned));
        let config = attempt.config().http_client(self.connection().objects());
        send!(attempt, config, request).await
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Reads the file back. It has just been written, so it is in the page cache.
fn digest_of(file: File) -> std::io::Result<[u8; 20]> {
    let mut digest = Sha1::new();
    let mut buffer = vec![0; READ];
    let mut position = 0;
    loop {
        match file.read_at(&mut buffer, position)? {
            0 => return Ok(digest.finalize().into()),
            count => {
                digest.update(&buffer[..count]);
                position += count as u64;
            }
        }
    }
}

async fn receive(
    attempt: &Attempt,
    mut object: GetObjectOutput,
    most: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), AttemptError> {
    let announced = object
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    let mut received = 0;
    while let Some(chunk) = object.body.next().await {
        let chunk = chunk.map_err(|error| {
            let reason = format!(
                "the transfer broke off after {received} bytes ({})",
                root_cause(&error)
            );
            AttemptError::of_content(attempt.operation(), reason)
        })?;
        received += chunk.len() as u64;
        if received > most {
            return Err(Error::TooLong {
                operation: attempt.operation().to_owned(),
                most,
            }
            .into());
        }
        attempt.moved.add(chunk.len());
        take(&chunk)?;
    }
    match announced {
        Some(announced) if announced != received => {
            let reason = format!("{received} bytes came of {announced}");
            Err(AttemptError::of_content(attempt.operation(), reason))
        }
        _ => Ok(()),
    }
}
