//! Copying objects between buckets, without downloading them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::connection::Bucket;
use crate::error::Error;
use crate::etag::{check_md5, is_of_other_kind};
use crate::held::Held;
use crate::object::Acl;
use crate::operation::{Attempt, send};

/// The characters of a copy's source that are not encoded (S3 API reference, `CopyObject`: "must be URL-encoded").
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl Bucket {
    /// Has S3 copy a file from `source`, and compares the MD5s if S3 says both.
    ///
    /// # Errors
    /// S3's reason; [`Error::Content`] if the copy differs.
    pub async fn copy_from(
        &self,
        operation: &str,
        source: &Bucket,
        file: &str,
        held: &Held,
        acl: Acl,
    ) -> Result<(), Error> {
        let location = source.path().location(file);
        let location = &utf8_percent_encode(&location, &PLAIN).to_string();
        self.perform(operation, held.size, |attempt: Attempt| async move {
            let request = attempt
                .client
                .copy_object()
                .copy_source(location)
                .bucket(&self.path().bucket)
                .key(self.path().key(file))
                .acl(acl.into());
            let answer = send!(attempt, request).await?;
            let is_of_other_kind = is_of_other_kind(
                answer.sse_customer_algorithm(),
                answer.server_side_encryption(),
            );
            let copied = answer.copy_object_result().and_then(|copy| copy.e_tag());
            match &held.md5 {
                Some(md5) if !is_of_other_kind => check_md5(operation, md5, copied),
                _ => Ok(()),
            }
        })
        .await?;
        self.connection().count(held.size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_of_a_copy_is_encoded_except_slashes() {
        let encoded = utf8_percent_encode("my.bucket/a b/ü+%_~x-1.part.0", &PLAIN).to_string();
        assert_eq!(encoded, "my.bucket/a%20b/%C3%BC%2B%25_~x-1.part.0");
    }
}
