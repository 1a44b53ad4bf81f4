//! The bundle in S3, looked at before anything of it is copied.

use ami_aws::Identity;
use ami_cli::{Context, Failure, exit};
use ami_manifest::{Image, LARGEST_MANIFEST, Sha1Digest};
use ami_migration::{Signer, Target, signed_manifest};
use ami_s3::{Bucket, Held, in_order};
use ami_s3_cli::failure;

use crate::args::Arguments;

/// A part, as S3 has it.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its file's name.
    pub name: String,
    /// The manifest's SHA-1.
    pub digest: Sha1Digest,
    /// What S3 says of it.
    pub held: Held,
}

impl Part {
    /// How an error about it begins.
    pub fn doing(&self) -> String {
        doing(&self.name)
    }
}

/// A bundle whose parts are all there.
#[derive(Debug)]
pub struct Bundle {
    /// In the manifest's order.
    pub parts: Vec<Part>,
    /// What it is of.
    pub image: Image,
    /// The new manifest.
    pub manifest: Vec<u8>,
}

impl Bundle {
    /// Reads the manifest, writes the new one, and sees that the parts are there.
    pub async fn read(
        arguments: &Arguments,
        identity: &Identity,
        bucket: &Bucket,
        name: &str,
        region: &str,
        context: &Context,
    ) -> Result<Self, Failure> {
        let options = &arguments.migration;
        let doing = format!("Failed to download {name:?}");
        let bytes = bucket.get(&doing, name, LARGEST_MANIFEST).await;
        let bytes = bytes.map_err(failure)?;
        let certificate = options.certificate()?;
        let manifest = signed_manifest(&bytes, name, &certificate)?;
        let signer = Signer::new(options, &certificate, Some(region))?;
        let parts = parts(arguments, &manifest.image, bucket).await?;
        // Who asks S3 asks EC2.
        let identity = || Ok(identity.clone());
        let target = Target::new(options, region, &manifest.machine, identity, false).await?;
        let devices = target.devices(context).await?;
        Ok(Self {
            parts,
            image: manifest.image.clone(),
            manifest: signer.sign(manifest, devices)?,
        })
    }
}

async fn parts(
    arguments: &Arguments,
    image: &Image,
    bucket: &Bucket,
) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    in_order(
        image.parts.len(),
        arguments.s3.parallel(),
        |index| {
            let (bucket, part) = (bucket.clone(), &image.parts[index]);
            let (name, digest) = (part.filename.clone(), part.digest);
            async move {
                let held = bucket.held(&doing(&name), &name).await.map_err(failure)?;
                Ok(Part { name, digest, held })
            }
        },
        |_, part| {
            parts.push(part);
            Ok(())
        },
    )
    .await?;
    let size: u64 = parts.iter().map(|part: &Part| part.held.size).sum();
    if size == image.bundled_size {
        return Ok(parts);
    }
    let said = image.bundled_size;
    let text = format!("the parts in S3 have {size} bytes in all, the manifest says {said}");
    Err(Failure::new(exit::SERVICE, text))
}

fn doing(name: &str) -> String {
    format!("Failed to copy {name:?}")
}
