//! Addresses of bundles in S3, as arguments.

use ami_s3::BucketPath;

const SCHEME: &str = "s3://";

/// `s3://BUCKET` or `s3://BUCKET/FOLDER`.
pub fn folder(text: &str) -> Result<BucketPath, String> {
    let path = text
        .strip_prefix(SCHEME)
        .ok_or("s3://BUCKET or s3://BUCKET/FOLDER is needed")?;
    path.parse().map_err(|error| format!("{error}"))
}

/// A bundle's manifest in S3.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// The manifest's file name.
    pub file: String,
}

/// Whether a text is meant as an address in S3.
pub fn is_address(text: &str) -> bool {
    text.starts_with(SCHEME)
}

/// `BUCKET/FOLDER/NAME.manifest.xml`, with or without `s3://`.
pub fn manifest(text: &str) -> Result<Manifest, String> {
    let text = text.strip_prefix(SCHEME).unwrap_or(text);
    let (bucket, file) = text
        .rsplit_once('/')
        .filter(|(_, file)| !file.is_empty())
        .ok_or("BUCKET/FOLDER/NAME.manifest.xml is needed")?;
    Ok(Manifest {
        bucket: bucket.parse().map_err(|error| format!("{error}"))?,
        file: file.to_owned(),
    })
}
