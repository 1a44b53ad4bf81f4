//! The story of unbundling: restores the image from a manifest and its parts.

use std::path::PathBuf;

use ami_image::ImageSink;
use ami_manifest::{BundleContents, Certificate, PrivateKey};
use ami_parts::PartFiles;

use crate::error::Error;
use crate::events::{Event, Running};
use crate::files::BundleFiles;
use crate::naming::Naming;
use crate::unbundle::unbundle;

/// Which bundle to unbundle.
#[derive(Debug, Clone)]
pub struct UnbundleRequest {
    /// The manifest.
    pub manifest: PathBuf,
    /// The folder with the parts.
    pub parts: PathBuf,
    /// The private key that the bundle was made for.
    pub key: PathBuf,
    /// The certificate of the key that must have signed the manifest.
    pub certificate: Option<PathBuf>,
}

/// An image that was restored from its bundle.
#[derive(Debug)]
pub struct UnbundledImage<F> {
    /// What the sink returned: where the image is.
    pub image: F,
    /// What the manifest says about it.
    pub contents: BundleContents,
}

/// Unbundles the image into the sink that `open` returns. `open` is called, with what the image may replace, once the manifest, the key
/// and the parts have been found and belong together.
///
/// # Errors
/// [`Error::Manifest`] for the manifest, key and certificate; [`Error::File`] for a part; those of [`unbundle`]. No image is left
/// behind.
pub fn unbundle_image<I: ImageSink>(
    request: UnbundleRequest,
    open: impl FnOnce(Naming) -> Result<I, I::Error>,
    running: &Running<'_>,
) -> Result<UnbundledImage<I::Finished>, Error>
where
    I::Error: Into<Error>,
{
    let contents = BundleContents::load(&request.manifest)?;
    if let Some(path) = &request.certificate {
        contents.verify(&Certificate::load(path)?)?;
    }
    (running.events)(Event::ManifestRead(&contents));
    let key = PrivateKey::load(&request.key)?;
    let bundle_key = contents.user_key.unwrap_with(&key)?;
    let BundleFiles { parts, expected } = BundleFiles::find(&contents, &request.parts)?;

    let mut naming = Naming::of_manifest(&request.manifest);
    naming.sources.push(request.manifest);
    naming.sources.push(request.key);
    naming.sources.extend(request.certificate);
    let paths = parts.iter().map(|part| part.path.clone());
    naming.sources.extend(paths);
    let sink = open(naming).map_err(Into::into)?;
    let parts = PartFiles::new(parts);
    let image = running.pipeline(expected.bundled_size, |settings| {
        unbundle(parts, &expected, &bundle_key, sink, settings)
    })?;
    Ok(UnbundledImage { image, contents })
}
