//! What S3 says of buckets and objects besides their bytes: who pays, and where objects are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where an object is kept, as the headers of S3's answer to HEAD say it (S3 API reference, "HeadObject").
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// `x-amz-storage-class`.
    pub class: &'static str,
    /// `x-amz-archive-status`: only of `INTELLIGENT_TIERING`, and only in an archive.
    pub archive_status: Option<&'static str>,
    /// `x-amz-restore`: whether it is being restored or has been.
    pub restore: Option<&'static str>,
}

impl Kept {
    /// Whether reading it fails with `InvalidObjectState` (S3 user guide, "Working with archived objects").
    fn is_unreadable(&self) -> bool {
        let is_archived =
            matches!(self.class, "GLACIER" | "DEEP_ARCHIVE") || self.archive_status.is_some();
        let restored = r#"ongoing-request="false""#;
        is_archived && !self.restore.is_some_and(|text| text.contains(restored))
    }
}

/// The rules of one server; cheap to clone. They may change while it serves.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The buckets whose owner does not pay.
    requester_pays: BTreeSet<String>,
    /// A key that cannot be stored, of any bucket.
    refused: Option<String>,
    /// By bucket and key; the others are of the class STANDARD.
    kept: BTreeMap<(String, String), Kept>,
}

impl Rules {
    /// Whoever asks pays for requests to this bucket, and must say so in each (S3 user guide, "Requester Pays").
    pub fn requester_pays(&self, bucket: &str) {
        let _ = self.lock().requester_pays.insert(bucket.to_owned());
    }

    /// Refuses a PUT of this key in any bucket; of none.
    pub fn refuse(&self, key: Option<String>) {
        self.lock().refused = key;
    }

    pub(crate) fn is_refused(&self, key: &str) -> bool {
        self.lock().refused.as_deref() == Some(key)
    }

    /// Keeps an object elsewhere.
    pub fn keep(&self, bucket: &str, key: &str, kept: Kept) {
        let name = (bucket.to_owned(), key.to_owned());
        let _ = self.lock().kept.insert(name, kept);
    }

    pub(crate) fn needs_payer(&self, bucket: &str) -> bool {
        self.lock().requester_pays.contains(bucket)
    }

    pub(crate) fn kept(&self, bucket: &str, key: &str) -> Option<Kept> {
        let name = (bucket.to_owned(), key.to_owned());
        self.lock().kept.get(&name).copied()
    }

    pub(crate) fn is_unreadable(&self, bucket: &str, key: &str) -> bool {
        self.kept(bucket, key)
            .is_some_and(|kept| kept.is_unreadable())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
