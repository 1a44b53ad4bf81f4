//! What S3 says about an object, and whether it can be read.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;

use crate::connection::Bucket;
use crate::error::Error;
use crate::etag::{is_of_other_kind, md5_of};

/// What S3 says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Bytes.
    pub size: u64,
    /// Where it is kept, if it must be restored from there before it can be read.
    pub archive: Option<Archive>,
    /// What identifies its content, as S3 gives it.
    pub(crate) etag: Option<String>,
    /// Its MD5 in hex, if S3 says it.
    pub(crate) md5: Option<String>,
}

/// An archive that an object is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The storage class, or the tier of one that moves objects by itself: `GLACIER`, `DEEP_ARCHIVE`, `ARCHIVE_ACCESS` or
    /// `DEEP_ARCHIVE_ACCESS`.
    pub name: String,
    /// Whether somebody has asked for it and S3 is restoring it.
    pub is_being_restored: bool,
}

/// The storage classes whose objects must be restored (S3 user guide, "Working with archived objects"). Those of `GLACIER_IR` need not.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

impl Archive {
    /// From an object's headers `x-amz-storage-class`, `x-amz-archive-status` and `x-amz-restore` (S3 API reference, "HeadObject").
    fn of(class: Option<&str>, status: Option<&str>, restore: Option<&str>) -> Option<Self> {
        // An object of INTELLIGENT_TIERING has a status only while it is in an archive.
        let name = status.or(class.filter(|class| ARCHIVES.contains(class)))?;
        let says = |text: &str| restore.is_some_and(|restore| restore.contains(text));
        if says(r#"ongoing-request="false""#) {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            is_being_restored: says(r#"ongoing-request="true""#),
        })
    }
}

impl From<HeadObjectOutput> for Held {
    fn from(answer: HeadObjectOutput) -> Self {
        let is_of_other_kind = is_of_other_kind(
            answer.sse_customer_algorithm(),
            answer.server_side_encryption(),
        );
        let size = answer.content_length().unwrap_or_default();
        Self {
            size: u64::try_from(size).unwrap_or_default(),
            archive: Archive::of(
                answer.storage_class().map(|class| class.as_str()),
                answer.archive_status().map(|status| status.as_str()),
                answer.restore(),
            ),
            etag: answer.e_tag().map(str::to_owned),
            md5: md5_of(answer.e_tag()).filter(|_| !is_of_other_kind),
        }
    }
}

impl Bucket {
    /// What S3 says about a file. Errors begin with `operation`.
    ///
    /// # Errors
    /// S3's reason, also if there is no such file.
    pub async fn held(&self, operation: &str, file: &str) -> Result<Held, Error> {
        self.head(operation, file).await.map(Held::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_an_archive_cannot_be_read_until_it_is_restored() {
        let of = |class, status, restore| {
            let archive = Archive::of(class, status, restore);
            archive.map(|archive| (archive.name, archive.is_being_restored))
        };
        let archived = |name: &str, is_being_restored| Some((name.to_owned(), is_being_restored));
        let (ongoing, finished) = (
            Some(r#"ongoing-request="true""#),
            Some(r#"ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT""#),
        );
        assert_eq!(of(None, None, None), None);
        for class in ["STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING"] {
            assert_eq!(of(Some(class), None, None), None);
        }
        for class in ["GLACIER", "DEEP_ARCHIVE"] {
            assert_eq!(of(Some(class), None, None), archived(class, false));
            assert_eq!(of(Some(class), None, ongoing), archived(class, true));
            assert_eq!(of(Some(class), None, finished), None);
        }
        let tiering = Some("INTELLIGENT_TIERING");
        for tier in ["ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"] {
            assert_eq!(of(tiering, Some(tier), None), archived(tier, false));
            assert_eq!(of(tiering, Some(tier), ongoing), archived(tier, true));
        }
    }
}
