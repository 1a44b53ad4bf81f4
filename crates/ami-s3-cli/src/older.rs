//! The manifests of older bundles, which become untrue when their parts are replaced.
//!
//! A manifest in S3 means that its whole bundle is there. So one that names a part goes before that part becomes another one, and not
//! earlier: whatever ends before then has touched nothing.

use std::collections::HashMap;

use ami_manifest::{Image, LARGEST_MANIFEST, ParsedManifest, Sha1Digest};
use ami_s3::{Bucket, Error, Event};
use tokio::sync::OnceCell;
use tracing::debug;

/// The manifests that are in the bucket before a bundle is put there.
#[derive(Debug)]
pub struct OlderManifests {
    bucket: Bucket,
    manifests: Vec<Older>,
}

#[derive(Debug)]
struct Older {
    file: String,
    /// Its parts by name; `None`: it cannot be read, and may have any.
    parts: Option<HashMap<String, Sha1Digest>>,
    /// Whether it could be deleted, once that was tried.
    is_gone: OnceCell<bool>,
}

impl OlderManifests {
    /// Those of a bucket that has just been made.
    pub fn none(bucket: &Bucket) -> Self {
        Self {
            bucket: bucket.clone(),
            manifests: Vec::new(),
        }
    }

    /// Looks under the name that the new manifest gets, and under the usual one of the bundle; nowhere else.
    ///
    /// One that these credentials may not read, or that is none, counts as one that may name any part.
    ///
    /// # Errors
    /// S3 cannot be asked.
    pub async fn find(bucket: &Bucket, target: &str, image: &Image) -> Result<Self, Error> {
        let usual = ami_parts::manifest_file_name(&image.name);
        let mut manifests = Vec::new();
        let other = Some(usual.as_str()).filter(|usual| *usual != target);
        for file in [target].into_iter().chain(other) {
            if let Some(parts) = read(bucket, file).await? {
                manifests.push(Older {
                    file: file.to_owned(),
                    parts,
                    is_gone: OnceCell::new(),
                });
            }
        }
        Ok(Self {
            bucket: bucket.clone(),
            manifests,
        })
    }

    /// Deletes those that would be untrue if this were the part of that name; to be waited for before it is. What has the digest that
    /// a manifest says is no other part.
    ///
    /// Where these credentials may not delete one, that is told, and it stays.
    ///
    /// # Errors
    /// S3 cannot be asked.
    pub async fn make_way(&self, part: &str, digest: Sha1Digest) -> Result<(), Error> {
        for older in &self.manifests {
            let is_untrue = match &older.parts {
                Some(parts) => parts.get(part).is_some_and(|named| *named != digest),
                None => true,
            };
            if is_untrue {
                let delete = || self.delete(&older.file);
                let _ = older.is_gone.get_or_try_init(delete).await?;
            }
        }
        Ok(())
    }

    /// The locations of those that were deleted.
    pub fn deleted(&self) -> Vec<String> {
        let gone = self.manifests.iter();
        let gone = gone.filter(|older| older.is_gone.get() == Some(&true));
        gone.map(|older| self.bucket.path().location(&older.file))
            .collect()
    }

    async fn delete(&self, file: &str) -> Result<bool, Error> {
        let location = self.bucket.path().location(file);
        // Before it is asked for: whoever interrupts the command meanwhile must know.
        self.bucket.tell(Event::OlderGoes {
            location: location.clone(),
        });
        match self.bucket.delete_file(file).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_refused() => {
                let reason = error.to_string();
                self.bucket.tell(Event::OlderStays { location, reason });
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The parts of a manifest, if there is one: `Some(None)` if it cannot be read.
async fn read(
    bucket: &Bucket,
    file: &str,
) -> Result<Option<Option<HashMap<String, Sha1Digest>>>, Error> {
    let doing = format!("Failed to look at the older \"{file}\"");
    let bytes = match bucket.get(&doing, file, LARGEST_MANIFEST).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) if error.is_refused() || matches!(error, Error::TooLong { .. }) => {
            debug!("{error}: it may name any part");
            return Ok(Some(None));
        }
        Err(error) => return Err(error),
    };
    match ParsedManifest::parse(&bytes) {
        Ok(parsed) => {
            let parts = parsed.manifest.image.parts.into_iter();
            Ok(Some(Some(
                parts.map(|part| (part.filename, part.digest)).collect(),
            )))
        }
        Err(error) => {
            debug!("{file} is no manifest that can be read ({error}): it may name any part");
            Ok(Some(None))
        }
    }
}
