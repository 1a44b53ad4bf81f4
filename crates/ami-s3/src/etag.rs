//! ETags: the MD5 of an object, unless it is encrypted with certain keys.

use aws_sdk_s3::types::ServerSideEncryption;

use crate::operation::AttemptError;

/// Whether the object is encrypted with a customer's or KMS's key. Its ETag is then not an MD5, and only S3 itself compares the
/// content with `Content-MD5`.
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

/// Compares an MD5 in hex with the stored object's ETag, if that is one.
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
            Err(AttemptError::of_content(operation, reason))
        }
        _ => Ok(()),
    }
}

/// An ETag's digest, in lower case, if it has the form of one.
pub(crate) fn md5_of(etag: Option<&str>) -> Option<String> {
    let etag = etag?.trim_matches('"').to_ascii_lowercase();
    let is_md5 = etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    is_md5.then_some(etag)
}
