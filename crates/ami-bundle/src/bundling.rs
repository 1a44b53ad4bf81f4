//! The story of bundling an image: carries out a plan, giving parts and their manifest.

use std::path::Path;

use ami_image::Image;
use ami_manifest::{Part, Sha1Digest};
use ami_parts::{PartSink, WrittenPart};

use crate::bundle::{Bundled, bundle};
use crate::error::Error;
use crate::events::Running;
use crate::plan::BundlePlan;

/// A bundle that has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledImage<P> {
    /// What the sink returned: where the bundle is.
    pub published: P,
    /// The parts in order.
    pub parts: Vec<WrittenPart>,
    /// The image's size in bytes.
    pub size: u64,
    /// The sum of the parts' sizes in bytes.
    pub bundled_size: u64,
    /// SHA-1 of the tar stream.
    pub digest: [u8; 20],
}

/// Bundles the image at `path` into the sink that `open` returns. `open` is called only when no problem was found.
///
/// `folder` is where the sink writes to, if that is a folder: its free space is checked, and that no input of the bundle would be
/// replaced.
///
/// # Errors
/// [`Error::Problems`] before anything is made. [`Error::Image`], the sink's errors, [`Error::Manifest`], [`Error::Interrupted`]: then
/// nothing is left behind, unless the sink's error says that the bundle is complete.
pub fn bundle_image<S: PartSink>(
    plan: BundlePlan,
    path: &Path,
    folder: Option<&Path>,
    open: impl FnOnce() -> Result<S, S::Error>,
    running: &Running<'_>,
) -> Result<BundledImage<S::Published>, Error>
where
    S::Error: Into<Error>,
{
    let image = Image::open(path)?;
    plan.check(&image, folder, running.events)?;
    let sink = open().map_err(Into::into)?;
    let bundled = plan.write_parts(&image, sink, running)?;
    plan.publish(bundled)
}

impl BundlePlan {
    /// Writes the parts of an image that was [checked](Self::check) to a sink, which is still to be [published](Self::publish).
    ///
    /// # Errors
    /// [`Error::Image`], the sink's errors, [`Error::Interrupted`]: nothing is left behind.
    pub fn write_parts<S: PartSink>(
        &self,
        image: &Image,
        sink: S,
        running: &Running<'_>,
    ) -> Result<Bundled<S>, Error>
    where
        S::Error: Into<Error>,
    {
        running.pipeline(image.data_size(), |settings| {
            bundle(
                image,
                &self.name,
                self.level,
                &self.bundle_key,
                sink,
                settings,
            )
        })
    }

    /// Makes and signs the manifest of these parts, and publishes them with it.
    ///
    /// # Errors
    /// [`Error::Manifest`], the sink's errors: then nothing is left behind, unless the sink's error says that the bundle is complete.
    pub fn publish<S: PartSink>(
        self,
        bundled: Bundled<S>,
    ) -> Result<BundledImage<S::Published>, Error>
    where
        S::Error: Into<Error>,
    {
        let mut manifest = self.manifest;
        let parts = bundled.parts;
        let bundled_size = parts.iter().map(|part| part.digest.size).sum();
        manifest.image.digest = Sha1Digest(bundled.digest);
        manifest.image.size = bundled.size;
        manifest.image.bundled_size = bundled_size;
        let of_manifest = |part: &WrittenPart| Part {
            filename: part.name.clone(),
            digest: Sha1Digest(part.digest.sha1),
        };
        manifest.image.parts = parts.iter().map(of_manifest).collect();
        let xml = manifest.to_signed_xml(&self.key)?;
        let manifest_name = ami_parts::manifest_file_name(&self.name);
        let published = bundled.sink.publish(&parts, (&manifest_name, &xml));
        Ok(BundledImage {
            published: published.map_err(Into::into)?,
            parts,
            size: bundled.size,
            bundled_size,
            digest: bundled.digest,
        })
    }
}
