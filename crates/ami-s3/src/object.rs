//! Objects: the files of a bundle in a bucket.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use ami_parts::PartFile;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::operation::put_object_acl::PutObjectAclError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ObjectCannedAcl, ServerSideEncryption};
use md5::Md5;
use openssl::base64::encode_block;
use sha1::{Digest, Sha1};

use crate::connection::{Attempt, Bucket, Trouble};
use crate::credentials::root_cause;
use crate::error::Error;

/// How much of a file is read at a time (bytes).
const READ: usize = 256 * 1024;

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

/// What is uploaded.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file, which is read as it is sent.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
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
        self.md5.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Bucket {
    /// Uploads a file. `doing` begins an error's line.
    ///
    /// S3 itself compares what it gets with the MD5, and what it says that it has is compared again.
    ///
    /// # Errors
    /// S3's reason; [`Error::Io`] if the file cannot be read.
    pub async fn put(
        &self,
        doing: &str,
        file: &str,
        content: &Content,
        fingerprint: &Fingerprint,
        acl: Acl,
    ) -> Result<(), Error> {
        self.perform(doing, fingerprint.size, |attempt: Attempt| async move {
            let request = attempt
                .client
                .put_object()
                .bucket(&self.path().bucket)
                .key(self.path().key(file))
                .acl(acl.into())
                .content_md5(encode_block(&fingerprint.md5))
                .content_length(fingerprint.size.cast_signed())
                .body(body(content).await?);
            let answer = request
                .customize()
                .config_override(attempt.config())
                .interceptor(attempt.watch::<PutObjectError>())
                .send()
                .await
                .map_err(|error| attempt.explain(error))?;
            check_stored(doing, fingerprint, &answer)
        })
        .await
    }

    /// Whether the bucket holds exactly this under the file's key.
    ///
    /// # Errors
    /// S3 cannot be asked.
    pub async fn holds(
        &self,
        doing: &str,
        file: &str,
        fingerprint: &Fingerprint,
    ) -> Result<bool, Error> {
        let asked = self
            .perform(doing, 0, |attempt: Attempt| async move {
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
            .await;
        match asked {
            Ok(answer) => Ok(is_same(fingerprint, &answer)),
            // Who may not list a bucket is told 403 for what is not there.
            Err(error) if error.is_not_found() || error.is_denied() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets who may read an object that is there. Servers without ACLs are left alone.
    ///
    /// # Errors
    /// S3's reason.
    pub async fn set_acl(&self, doing: &str, file: &str, acl: Acl) -> Result<(), Error> {
        let set = self
            .perform(doing, 0, |attempt: Attempt| async move {
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
    /// S3's reason; [`Error::Content`] if it has more than `most` bytes.
    pub async fn get(&self, doing: &str, file: &str, most: u64) -> Result<Vec<u8>, Error> {
        self.perform(doing, 0, |attempt: Attempt| async move {
            let mut bytes = Vec::new();
            let object = self.open(&attempt, file).await?;
            receive(&attempt, object, most, |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .await?;
            Ok(bytes)
        })
        .await
    }

    /// Downloads a file of at most `most` bytes to `path`, where nothing may be, and gives its SHA-1. It is synced. If a digest is
    /// `expected` and another comes, it is tried again as any failure is.
    ///
    /// # Errors
    /// S3's reason; [`Error::Content`] for a wrong digest, and then the file is not there; [`Error::Io`] if it cannot be written.
    pub async fn get_file(
        &self,
        doing: &str,
        file: &str,
        most: u64,
        expected: Option<[u8; 20]>,
        path: &Path,
    ) -> Result<[u8; 20], Error> {
        let result = self
            .perform(doing, most, |attempt: Attempt| async move {
                let object = self.open(&attempt, file).await?;
                let mut target = File::create(path).map_err(Error::io("create", path))?;
                let mut digest = Sha1::new();
                receive(&attempt, object, most, |chunk| {
                    digest.update(chunk);
                    target.write_all(chunk).map_err(Error::io("write", path))
                })
                .await?;
                let found: [u8; 20] = digest.finalize().into();
                if let Some(expected) = expected
                    && expected != found
                {
                    let (found, expected) = (hex(&found), hex(&expected));
                    let reason = format!(
                        "its SHA-1 is {found}, the manifest says {expected}: what S3 has is damaged"
                    );
                    return Err(Trouble::again(attempt.doing(), reason));
                }
                let synced = tokio::task::spawn_blocking(move || target.sync_all()).await;
                synced
                    .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                    .map_err(Error::io("write", path))?;
                Ok(found)
            })
            .await;
        if result.is_err() {
            // It may not be there either.
            let _ = std::fs::remove_file(path);
        }
        result
    }

    async fn open(&self, attempt: &Attempt, file: &str) -> Result<GetObjectOutput, Trouble> {
        let request = attempt
            .client
            .get_object()
            .bucket(&self.path().bucket)
            .key(self.path().key(file));
        request
            .customize()
            .config_override(attempt.config())
            .interceptor(attempt.watch::<GetObjectError>())
            .send()
            .await
            .map_err(|error| attempt.explain(error))
    }
}

async fn receive(
    attempt: &Attempt,
    mut object: GetObjectOutput,
    most: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Trouble> {
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
            Trouble::again(attempt.doing(), reason)
        })?;
        received += chunk.len() as u64;
        if received > most {
            return Err(Error::Content {
                doing: attempt.doing().to_owned(),
                reason: format!("it has more than {most} bytes, which no file of this bundle has"),
            }
            .into());
        }
        attempt.tries.moves(chunk.len());
        take(&chunk)?;
    }
    match announced {
        Some(announced) if announced != received => {
            let reason = format!("{received} bytes came of {announced}");
            Err(Trouble::again(attempt.doing(), reason))
        }
        _ => Ok(()),
    }
}

async fn body(content: &Content) -> Result<ByteStream, Error> {
    match content {
        Content::Bytes(bytes) => Ok(ByteStream::from(bytes.clone())),
        Content::File(path) => {
            let stream = ByteStream::read_from()
                .path(path)
                .buffer_size(READ)
                .build()
                .await;
            stream
                .map_err(|error| Error::io("read", path)(std::io::Error::other(root_cause(&error))))
        }
    }
}

/// With keys of the customer or of KMS the ETag is no MD5; then S3's own comparison with `Content-MD5` stands alone.
fn check_stored(
    doing: &str,
    fingerprint: &Fingerprint,
    answer: &PutObjectOutput,
) -> Result<(), Trouble> {
    let is_other_kind = answer.sse_customer_algorithm().is_some()
        || matches!(
            answer.server_side_encryption(),
            Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
        );
    match md5_of(answer.e_tag()) {
        Some(etag) if !is_other_kind && etag != fingerprint.etag() => {
            let reason = format!(
                "S3 has stored something else: its MD5 is {etag}, that of the file {}",
                fingerprint.etag()
            );
            Err(Trouble::again(doing, reason))
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
fn md5_of(etag: Option<&str>) -> Option<String> {
    let etag = etag?.trim_matches('"').to_ascii_lowercase();
    let is_md5 = etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    is_md5.then_some(etag)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
