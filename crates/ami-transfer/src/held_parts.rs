//! A bundle in S3 as it is looked up before its parts are read or copied: its manifest, and what S3 says about every part.

use ami_bundle::Fault;
use ami_manifest::{Image, LARGEST_MANIFEST, ParsedManifest, Part, Sha1Digest};
use ami_s3::{Bucket, Held, in_order};

use crate::error::Error;

/// How many parts are looked up at once.
pub(crate) const LOOK_UPS: usize = 16;

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
    let path = bucket.path().location(file);
    Ok(ParsedManifest::parse_named(bytes, path.as_ref())?)
}

/// Asks S3 about every part, `parallel` at once. Errors begin with what `operation` makes of a part's name.
///
/// # Errors
/// S3's reason for the first part that is missing.
pub(crate) async fn held_parts(
    bucket: &Bucket,
    parts: &[Part],
    parallel: usize,
    operation: impl Fn(&str) -> String,
) -> Result<Vec<HeldPart>, Error> {
    let mut held: Vec<HeldPart> = Vec::new();
    in_order(
        parts.len(),
        parallel,
        |index| {
            let part = &parts[index];
            ask(bucket, part, operation(&part.filename))
        },
        |_, part| {
            held.push(part);
            Ok::<(), Error>(())
        },
    )
    .await?;
    Ok(held)
}

/// The parts of a bundle that are in S3, and those that are not.
pub(crate) struct Found {
    /// In the manifest's order.
    pub(crate) parts: Vec<HeldPart>,
    /// S3's reasons.
    pub(crate) missing: Vec<Fault>,
}

/// Asks S3 about every part. That one is missing is no error.
///
/// # Errors
/// S3's reason why it does not say whether a part is there.
pub(crate) async fn look_up_each(bucket: &Bucket, parts: &[Part]) -> Result<Found, Error> {
    let mut found = Found {
        parts: Vec::new(),
        missing: Vec::new(),
    };
    in_order(
        parts.len(),
        LOOK_UPS,
        |index| {
            let asked = ask(
                bucket,
                &parts[index],
                operation(&bucket.path().key(&parts[index].filename)),
            );
            async move {
                match asked.await {
                    Err(Error::S3(error)) if error.is_not_found() => Ok(Err(error)),
                    asked => asked.map(Ok),
                }
            }
        },
        |_, asked| {
            match asked {
                Ok(part) => found.parts.push(part),
                Err(error) => found.missing.push(Fault::Stream(Error::S3(error).into())),
            }
            Ok::<(), Error>(())
        },
    )
    .await?;
    Ok(found)
}

/// Asks S3 about a part. The error begins with `operation`.
fn ask(
    bucket: &Bucket,
    part: &Part,
    operation: String,
) -> impl Future<Output = Result<HeldPart, Error>> + Send + 'static {
    let (bucket, name, digest) = (bucket.clone(), part.filename.clone(), part.digest);
    async move {
        let held = bucket.held(&operation, &name).await?;
        Ok(HeldPart { name, digest, held })
    }
}

/// Compares the sum of the parts' sizes with the manifest's.
///
/// # Errors
/// [`Error::SizeInS3`].
pub(crate) fn check_size(parts: &[HeldPart], image: &Image) -> Result<(), Error> {
    let sizes = parts.iter().map(|part| part.held.size);
    let found = sizes.fold(0, u64::saturating_add);
    match found == image.bundled_size {
        true => Ok(()),
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
