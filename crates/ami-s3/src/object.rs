//! Objects: the files of a bundle in a bucket.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ami_aws::root_cause;
use ami_parts::PartFile;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::operation::put_object_acl::PutObjectAclError;
use aws_sdk_s3::types::{ChecksumMode, ObjectCannedAcl, ServerSideEncryption};
use md5::Md5;
use openssl::base64::encode_block;
use sha1::{Digest, Sha1};
use tokio::task::JoinHandle;

use crate::connection::{Attempt, AttemptError, Bucket};
use crate::error::Error;
use crate::outgoing::{Content, Outgoing};

/// How much of a file is read at a time (bytes).
pub(crate) const READ: usize = 256 * 1024;

/// The first half of a part of the usual 10 MiB (bytes).
const HALF: u64 = 5 << 20;

/// Who may read what is uploaded, besides its owner (S3 user guide, "Canned ACL").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acl {
    /// EC2, which has to read bundles.
    #[default]
    AwsExecRead,
    /// Everybody.
    PublicRead,
}

impl From<Acl> for ObjectCannedAcl {
    fn from(acl: Acl) -> Self {
        match acl {
            Acl::AwsExecRead => Self::AwsExecRead,
            Acl::PublicRead => Self::PublicRead,
        }
    }
}

/// A file's size in bytes and its digests, by which it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// MD5, which S3 checks what it gets with, and calls an object by.
    pub md5: [u8; 16],
    /// SHA-1, which manifests have.
    pub sha1: [u8; 20],
}

impl Fingerprint {
    /// That of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len() as u64,
            md5: Md5::digest(bytes).into(),
            sha1: Sha1::digest(bytes).into(),
        }
    }

    /// That of a part, if its SHA-1 is the manifest's.
    ///
    /// # Errors
    /// The part is missing, damaged or cannot be read.
    pub fn of_part(part: &PartFile) -> Result<Self, ami_parts::Error> {
        let mut md5 = Md5::new();
        let size = part.verify(|bytes| md5.update(bytes))?;
        Ok(Self {
            size,
            md5: md5.finalize().into(),
            sha1: part.digest,
        })
    }

    fn etag(&self) -> String {
        hex::encode(self.md5)
    }
}

/// What is known of a file before it comes.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The most bytes that it can have.
    pub most: u64,
    /// About how many bytes it has.
    pub usual: u64,
    /// The most bytes that a file of its kind has in bundles as they usually are: how long it is waited for.
    pub patience: u64,
    /// Its SHA-1, if it must have that.
    pub sha1: Option<[u8; 20]>,
}

/// A file that has come, and is on its way to the disk while the next ones come.
#[derive(Debug)]
pub struct Arrived {
    /// Its SHA-1.
    pub sha1: [u8; 20],
    path: PathBuf,
    syncing: JoinHandle<std::io::Result<()>>,
}

impl Arrived {
    /// Waits until it outlasts a power cut.
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
    /// Uploads a file. `operation` begins an error's line.
    ///
    /// S3 itself compares what it gets with the MD5, and what it says that it has is compared again.
    ///
    /// # Errors
    /// S3's reason; [`Error::Io`] if the file cannot be read.
    pub async fn put(
        &self,
        operation: &str,
        file: &str,
        content: &Content,
        fingerprint: &Fingerprint,
        acl: Acl,
    ) -> Result<(), Error> {
        let outgoing = Outgoing::of(content, fingerprint.size)?;
        let outgoing = &outgoing;
        self.perform(operation, fingerprint.size, |attempt: Attempt| async move {
            let request = attempt
                .client
                .put_object()
                .bucket(&self.path().bucket)
                .key(self.path().key(file))
                .acl(acl.into())
                .content_md5(encode_block(&fingerprint.md5))
                .content_length(fingerprint.size.cast_signed())
                .body(outgoing.body());
            let sent = request
                .customize()
                .config_override(attempt.config())
                .interceptor(attempt.watch::<PutObjectError>())
                .send()
                .await;
            outgoing.check()?;
            let answer = sent.map_err(|error| attempt.explain(error))?;
            check_stored(operation, fingerprint, &answer)
        })
        .await
    }

    /// Whether the bucket holds exactly this under the file's key.
    ///
    /// # Errors
    /// S3 cannot be asked.
    pub async fn holds(
        &self,
        operation: &str,
        file: &str,
        fingerprint: &Fingerprint,
    ) -> Result<bool, Error> {
        let asked = self.head(operation, file).await;
        match asked {
            Ok(answer) => Ok(is_same(fingerprint, &answer)),
            // Who may not list a bucket is told 403 for what is not there.
            Err(error) if error.is_not_found() || error.is_denied() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What S3 says of an object.
    pub(crate) async fn head(
        &self,
        operation: &str,
        file: &str,
    ) -> Result<HeadObjectOutput, Error> {
        self.perform(operation, 0, |attempt: Attempt| async move {
            let request = attempt
                .client
                .head_object()
                .bucket(&self.path().bucket)
                .key(self.path().key(file))
                .checksum_mode(ChecksumMode::Enabled);
            request
                .customize()
                .config_override(attempt.config())
                .interceptor(attempt.watch::<HeadObjectError>())
                .send()
                .await
                .map_err(|error| attempt.explain(error))
        })
        .await
    }

    /// Sets who may read an object that is there. Servers without ACLs are left alone.
    ///
    /// # Errors
    /// S3's reason.
    pub async fn set_acl(&self, operation: &str, file: &str, acl: Acl) -> Result<(), Error> {
        let set = self
            .perform(operation, 0, |attempt: Attempt| async move {
                let request = attempt
                    .client
                    .put_object_acl()
                    .bucket(&self.path().bucket)
                    .key(self.path().key(file))
                    .acl(acl.into());
                let set = request
                    .customize()
                    .config_override(attempt.config())
                    .interceptor(attempt.watch::<PutObjectAclError>())
                    .send()
                    .await;
                set.map(drop).map_err(|error| attempt.explain(error))
            })
            .await;
        match set {
            Err(error) if error.is_not_implemented() => Ok(()),
            result => result,
        }
    }

    /// Downloads a small file.
    ///
    /// # Errors
    /// S3's reason; [`Error::TooLong`] if it has more than `most` bytes.
    pub async fn get(&self, operation: &str, file: &str, most: u64) -> Result<Vec<u8>, Error> {
        self.perform(operation, 0, |attempt: Attempt| async move {
            let mut bytes = Vec::new();
            let object = self.open(&attempt, file, None).await?;
            receive(&attempt, object, most, |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .await?;
            Ok(bytes)
        })
        .await
    }

    /// Downloads a file to `path`. If a digest is expected and another comes, it is tried again as any failure is.
    ///
    /// Of files that are expected to be large, two halves come at once, on connections of their own: S3 limits each.
    ///
    /// # Errors
    /// S3's reason; [`Error::Content`] for a wrong digest, and then the file is not there; [`Error::Io`] if it cannot be written.
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
                Ok(Err(reason)) if tries_left > 0 => {
                    self.connection()
                        .tell_retry(format!("{operation}: {reason}"));
                }
                Ok(Err(reason)) => {
                    let operation = operation.to_owned();
                    break Err(Error::Content { operation, reason });
                }
                Ok(Ok(arrived)) => break Ok(arrived),
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            // It may not be there either.
            let _ = std::fs::remove_file(path);
        }
        result
    }

    /// The inner error says what is wrong with what has come.
    async fn try_get_file(
        &self,
        operation: &str,
        file: &str,
        expected: &Expected,
        path: &Path,
    ) -> Result<Result<Arrived, String>, Error> {
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
            // A file that is smaller than usual has no second half; a server without ranges sends all at once, and it twice.
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
            Some(expected) if expected != sha1 => Err(format!(
                "its SHA-1 is {}, the manifest says {}: what S3 has is damaged",
                hex::encode(sha1),
                hex::encode(expected)
            )),
            _ => Ok(Arrived {
                sha1,
                path: path.to_owned(),
                syncing: tokio::task::spawn_blocking(move || target.sync_all()),
            }),
        })
    }

    /// Writes the range, or all of the file, to where it belongs.
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
                    let object = self.open(&attempt, file, range.as_ref()).await?;
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
            // Nothing is there.
            Err(Error::Service { status: 416, .. }) => Ok(()),
            result => result,
        }
    }

    async fn open(
        &self,
        attempt: &Attempt,
        file: &str,
        range: Option<&Range<u64>>,
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
            .set_range(range);
        let config = attempt.config().http_client(self.connection().objects());
        request
            .customize()
            .config_override(config)
            .interceptor(attempt.watch::<GetObjectError>())
            .send()
            .await
            .map_err(|error| attempt.explain(error))
    }
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// It has just been written: this reads memory.
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
            AttemptError::again(attempt.operation(), reason)
        })?;
        received += chunk.len() as u64;
        if received > most {
            return Err(Error::TooLong {
                operation: attempt.operation().to_owned(),
                most,
            }
            .into());
        }
        attempt.tries.moves(chunk.len());
        take(&chunk)?;
    }
    match announced {
        Some(announced) if announced != received => {
            let reason = format!("{received} bytes came of {announced}");
            Err(AttemptError::again(attempt.operation(), reason))
        }
        _ => Ok(()),
    }
}

fn check_stored(
    operation: &str,
    fingerprint: &Fingerprint,
    answer: &PutObjectOutput,
) -> Result<(), AttemptError> {
    let (customer, kind) = (
        answer.sse_customer_algorithm(),
        answer.server_side_encryption(),
    );
    if is_of_other_kind(customer, kind) {
        return Ok(());
    }
    check_md5(operation, &fingerprint.etag(), answer.e_tag())
}

/// With keys of the customer or of KMS the ETag is no MD5; then S3's own comparison with `Content-MD5` stands alone.
pub(crate) fn is_of_other_kind(
    customer_algorithm: Option<&str>,
    encryption: Option<&ServerSideEncryption>,
) -> bool {
    customer_algorithm.is_some()
        || matches!(
            encryption,
            Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
        )
}

/// Compares an MD5 in hex with what S3 has stored, if its ETag is one.
pub(crate) fn check_md5(
    operation: &str,
    md5: &str,
    etag: Option<&str>,
) -> Result<(), AttemptError> {
    match md5_of(etag) {
        Some(stored) if stored != md5 => {
            let reason = format!(
                "S3 has stored something else: its MD5 is {stored}, that of the file {md5}"
            );
            Err(AttemptError::again(operation, reason))
        }
        _ => Ok(()),
    }
}

fn is_same(fingerprint: &Fingerprint, answer: &HeadObjectOutput) -> bool {
    let has_size = answer.content_length() == Some(fingerprint.size.cast_signed());
    let has_md5 = md5_of(answer.e_tag()).as_ref() == Some(&fingerprint.etag());
    let has_sha1 = answer.checksum_sha1() == Some(encode_block(&fingerprint.sha1).as_str());
    has_size && (has_md5 || has_sha1)
}

/// An ETag's digest, in lower case, if it has the form of one.
pub(crate) fn md5_of(etag: Option<&str>) -> Option<String> {
    let etag = etag?.trim_matches('"').to_ascii_lowercase();
    let is_md5 = etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    is_md5.then_some(etag)
}
