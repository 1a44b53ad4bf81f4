//! Objects: the files of a bundle in a bucket.

use ami_parts::PartFile;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::{ChecksumMode, ObjectCannedAcl};
use md5::Md5;
use openssl::base64::encode_block;
use sha1::{Digest, Sha1};

use crate::connection::Bucket;
use crate::error::Error;
use crate::etag::{check_md5, is_of_other_kind, md5_of};
use crate::operation::{Attempt, AttemptError, send};
use crate::outgoing::{Content, Outgoing};

/// How much of a file is read at a time (bytes).
pub(crate) const READ: usize = 256 * 1024;

/// Who may read an uploaded object, besides its owner (S3 user guide, "Canned ACL").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acl {
    /// EC2, which must read bundles.
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

/// A file's size in bytes and digests, which identify its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// MD5, which S3 checks uploads with and uses as the ETag.
    pub md5: [u8; 16],
    /// SHA-1, which manifests use.
    pub sha1: [u8; 20],
}

impl Fingerprint {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hashed(bytes, Sha1::digest(bytes).into())
    }

    /// Of bytes in memory whose SHA-1 is known.
    pub fn of_hashed(bytes: &[u8], sha1: [u8; 20]) -> Self {
        Self {
            size: bytes.len() as u64,
            md5: Md5::digest(bytes).into(),
            sha1,
        }
    }

    /// Of a part, if its SHA-1 is the manifest's.
    ///
    /// # Errors
    /// The part is missing, damaged or cannot be read.
    pub fn of_part(part: &PartFile) -> Result<Self, ami_parts::Error> {
        let (size, md5) = part.verify_with(Md5::new())?;
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

impl Bucket {
    /// Uploads a file. Errors begin with `operation`.
    ///
    /// S3 compares what it receives with the MD5, and the ETag in its answer is compared as well.
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
            let sent = send!(attempt, request).await;
            outgoing.check()?;
            check_stored(operation, fingerprint, &sent?)
        })
        .await
    }

    /// Whether the bucket has exactly this content under the file's key.
    ///
    /// # Errors
    /// The request failed.
    pub async fn holds(
        &self,
        operation: &str,
        file: &str,
        fingerprint: &Fingerprint,
    ) -> Result<bool, Error> {
        let asked = self.head(operation, file).await;
        match asked {
            Ok(answer) => Ok(is_same(fingerprint, &answer)),
            // Without permission to list the bucket, a missing key is answered with 403.
            Err(error) if error.is_not_found() || error.is_denied() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// S3's metadata of an object.
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
            send!(attempt, request).await
        })
        .await
    }

    /// Sets who may read an existing object. Does nothing on servers without ACLs.
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
                send!(attempt, request).await.map(drop)
            })
            .await;
        match set {
            Err(error) if error.is_not_implemented() => Ok(()),
            result => result,
        }
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

fn is_same(fingerprint: &Fingerprint, answer: &HeadObjectOutput) -> bool {
    let has_size = answer.content_length() == Some(fingerprint.size.cast_signed());
    let has_md5 = md5_of(answer.e_tag()).as_ref() == Some(&fingerprint.etag());
    let has_sha1 = answer.checksum_sha1() == Some(encode_block(&fingerprint.sha1).as_str());
    has_size && (has_md5 || has_sha1)
}
