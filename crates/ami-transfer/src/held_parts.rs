//! A bundle in S3 as it is looked up before its parts are read or copied: its manifest, and what S3 says about every part.

use ami_manifest::{Image, LARGEST_MANIFEST, ParsedManifest, Sha1Digest};
use ami_s3::{Bucket, Held, in_order};

use crate::error::Error;

/// A part in S3.
#[derive(Debug, Clone)]
pub(crate) struct HeldPart {
    /// Its file's name.
    pub(crate) name: String,
    /// The manifest's SHA-1.
    pub(crate) digest: Sha1Digest,
    /// What S3 says about it.
    pub(crate) held: Held,
}

/// Downloads a manifest, which may be encrypted.
pub(crate) async fn get_manifest(bucket: &Bucket, file: &str) -> Result<Vec<u8>, Error> {
    let operation = operation(&bucket.path().key(file));
    Ok(bucket.get(&operation, file, LARGEST_MANIFEST).await?)
}

/// Parses a manifest of that name in the bucket.
pub(crate) fn parse_manifest(
    bytes: &[u8],
    bucket: &Bucket,
    file: &str,
) -> Result<ParsedManifest, Error> {
    let parsed = ParsedManifest::parse(bytes).map_err(|source| ami_manifest::Error::Manifest {
        path: bucket.path().location(file).into(),
        source: Box::new(source),
    });
    Ok(parsed?)
}

/// Asks S3 about every part, `parallel` at once. Errors begin with what `operation` makes of a part's name.
///
/// # Errors
/// S3's reason for the first part that is missing.
pub(crate) async fn held_parts(
    bucket: &Bucket,
    image: &Image,
    parallel: usize,
    operation: impl Fn(&str) -> String,
) -> Result<Vec<HeldPart>, Error> {
    let mut parts: Vec<HeldPart> = Vec::new();
    in_order(
        image.parts.len(),
        parallel,
        |index| {
            let (bucket, part) = (bucket.clone(), &image.parts[index]);
            let (name, digest) = (part.filename.clone(), part.digest);
            let operation = operation(&name);
            async move {
                let held = bucket.held(&operation, &name).await?;
                Ok(HeldPart { name, digest, held })
            }
        },
        |_, part| {
            parts.push(part);
            Ok::<(), Error>(())
        },
    )
    .await?;
    Ok(parts)
}

/// Compares the sum of the parts' sizes with the manifest's, and returns it.
///
/// # Errors
/// [`Error::SizeInS3`].
pub(crate) fn check_size(parts: &[HeldPart], image: &Image) -> Result<u64, Error> {
    let sizes = parts.iter().map(|part| part.held.size);
    let found = sizes.fold(0, u64::saturating_add);
    match found == image.bundled_size {
        true => Ok(found),
        false => Err(Error::SizeInS3 {
            found,
            expected: image.bundled_size,
        }),
    }
}

/// The beginning of an error about a key that is read.
pub(crate) fn operation(key: &str) -> String {
    format!("Failed to download \"{key}\"")
}
