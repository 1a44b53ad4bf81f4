//! Bundling an image on the command line: all of `ec2-bundle-image`, and what `ec2-bundle-vol` does after it has made the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ami_bundle::{
    BundlePlan, BundleRequest, BundledImage, Problem, Problems, Running, bundle_image,
};
use ami_manifest::MachineConfiguration;
use ami_parts::{NewFile, PublishedBundle, StagedBundle, Staging, WrittenPart};
use serde::Serialize;
use tracing::debug;

use crate::context::Context;
use crate::ec2_certificate::ec2_certificate;
use crate::failure::{Failure, exit};
use crate::options::{
    BundleOptions, CompressionOptions, IdentityOptions, KeyOptions, ManifestOptions, RunningOptions,
};
use crate::story::Story;
use crate::values::Mapping;

/// What the manifest inherits from the instance that an image is made on. Options take precedence.
#[derive(Debug, Clone, Default)]
pub struct InstanceMetadata {
    /// The kernel's ID.
    pub kernel_id: Option<String>,
    /// The RAM disk's ID.
    pub ramdisk_id: Option<String>,
    /// Product codes.
    pub product_codes: Option<Vec<String>>,
    /// The region that it runs in.
    pub region: Option<String>,
    /// Virtual names and devices.
    pub block_device_mapping: Option<BTreeMap<String, String>>,
    /// The images that this one was made from, oldest first.
    pub ancestry: Vec<String>,
    /// The items that the instance's metadata did not have, by their names there.
    pub missing: Vec<&'static str>,
}

impl InstanceMetadata {
    /// The block devices in the manifest.
    fn mapping(&self, options: &ManifestOptions) -> Option<Mapping> {
        let inherited = || self.block_device_mapping.clone().map(Mapping);
        options.mapping().or_else(inherited)
    }
}

/// The image that is bundled.
#[derive(Debug)]
pub enum Source<'a> {
    /// A file, or block device.
    File(&'a Path),
    /// A file of a private folder in the bundle's destination.
    Made {
        /// The private folder.
        staging: Staging,
        /// The file's name there.
        file: &'a str,
        /// The name that the image gets together with the bundle, which must be free. `None`: it is removed with the private folder.
        name: Option<&'a str>,
    },
}

/// A bundle that is to be made as the options say.
#[derive(Debug)]
pub struct Bundling<'a> {
    options: &'a BundleOptions,
    mapping: Option<Mapping>,
    /// The items that the instance's metadata did not have.
    missing: Vec<&'static str>,
    plan: BundlePlan,
}

/// What was bundled, for `--json`.
#[derive(Debug, Serialize)]
pub struct BundleReport {
    manifest: PathBuf,
    parts: Vec<PartReport>,
    image_size: u64,
    bundled_size: u64,
    /// SHA-1 of the tar stream.
    digest: String,
}

impl BundleReport {
    /// The manifest's path.
    pub fn manifest(&self) -> &Path {
        &self.manifest
    }
}

/// A part, for `--json`.
#[derive(Debug, Serialize)]
pub struct PartReport {
    filename: String,
    size: u64,
    sha1: String,
}

impl From<WrittenPart> for PartReport {
    fn from(part: WrittenPart) -> Self {
        Self {
            filename: part.name,
            size: part.digest.size,
            sha1: hex::encode(part.digest.sha1),
        }
    }
}

/// Finds EC2's certificate for the `region`, and checks the name, the keys and certificates, and that the manifest can be written and
/// signed.
///
/// # Errors
/// Everything that is wrong.
pub fn plan_bundle(
    image: &Path,
    architecture: String,
    keys: &KeyOptions,
    region: Option<&str>,
    options: &ManifestOptions,
    compression: &CompressionOptions,
    metadata: InstanceMetadata,
) -> Result<BundlePlan, Problems> {
    let ec2_certificate = ec2_certificate(keys.ec2cert.as_deref(), region, |name| {
        std::env::var_os(name)
    });
    if let Ok(path) = &ec2_certificate {
        debug!(path = %path.display(), "EC2's certificate");
    }
    let mapping = metadata.mapping(options);
    BundlePlan::new(BundleRequest {
        image: image.to_owned(),
        name: options.prefix.clone(),
        certificate: keys.cert.clone(),
        key: keys.privatekey.clone(),
        ec2_certificate: ec2_certificate.map_err(Into::into),
        user: keys.user.clone(),
        machine: MachineConfiguration {
            architecture,
            block_device_mapping: mapping.unwrap_or_default().0,
            kernel_id: options.kernel.clone().or(metadata.kernel_id),
            ramdisk_id: options.ramdisk.clone().or(metadata.ramdisk_id),
            product_codes: match &options.productcodes {
                Some(code) => vec![code.clone()],
                None => metadata.product_codes.unwrap_or_default(),
            },
        },
        ancestry: metadata.ancestry,
        level: compression.compression_level.unwrap_or_default(),
        checks_sizes: !options.no_size_checks,
    })
}

impl<'a> Bundling<'a> {
    /// Finds EC2's certificate, and checks the name, the keys and certificates, and that the manifest can be written and signed.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn new(
        image: &Path,
        architecture: String,
        identity: &IdentityOptions,
        options: &'a BundleOptions,
        compression: &CompressionOptions,
        metadata: InstanceMetadata,
    ) -> Result<Self, Problems> {
        let given = identity
            .region
            .as_deref()
            .filter(|region| !region.is_empty());
        let region = given.map(str::to_owned).or(metadata.region.clone());
        let mapping = metadata.mapping(&options.manifest);
        let missing = metadata.missing.clone();
        let plan = plan_bundle(
            image,
            architecture,
            &identity.keys,
            region.as_deref(),
            &options.manifest,
            compression,
            metadata,
        )?;
        Ok(Self {
            options,
            mapping,
            missing,
            plan,
        })
    }

    /// Bundles the image, prints the status lines, and returns a report.
    ///
    /// # Errors
    /// What went wrong, with its exit code. Nothing is left behind, unless it says that the bundle is complete.
    pub fn run(
        self,
        source: Source<'_>,
        running: &RunningOptions,
        context: &Context,
    ) -> Result<BundleReport, Failure> {
        let Self {
            options,
            mapping,
            missing,
            plan,
        } = self;
        let destination = &options.destination;
        let name = plan.name().to_owned();
        let path = match &source {
            Source::File(path) => (*path).to_owned(),
            Source::Made { staging, file, .. } => staging.own_path(file),
        };
        let open = || {
            let (staging, kept_image) = match source {
                Source::File(_) => (context.staging(destination)?, None),
                Source::Made {
                    staging,
                    file,
                    name,
                } => (staging, name.map(|name| NewFile::fresh(file, name))),
            };
            debug!(path = %staging.path().display(), "private folder made");
            let bundle = StagedBundle::new(staging, &name, context.waiting())?;
            Ok(match kept_image {
                Some(image) => bundle.with(image),
                None => bundle,
            })
        };
        let story = Story::new(context);
        let running = Running {
            threads: running.threads(),
            events: &|event| story.tell(&event),
            interrupted: context.interrupted(),
        };
        let bundled = bundle_image(plan, &path, Some(destination), open, &running)
            .map_err(Failure::of_bundling)?;
        context.warn_of_saved(&bundled.published.saved);
        let lines = Lines {
            parts: &bundled.parts,
            mapping: mapping.as_ref(),
            missing: &missing,
        };
        let manifest = &bundled.published.manifest;
        lines
            .say(&destination.join(&name), manifest, context)
            .map_err(|failure| failure.after(manifest))?;
        Ok(BundleReport::of(bundled))
    }
}

/// What the status lines say about a bundle.
struct Lines<'a> {
    parts: &'a [WrittenPart],
    mapping: Option<&'a Mapping>,
    missing: &'a [&'static str],
}

impl Lines<'_> {
    /// The older suite's lines, which scripts read. It prints them between its passes; here there is only one pass.
    fn say(&self, bundle: &Path, manifest: &Path, context: &Context) -> Result<(), Failure> {
        context.say(&format!("Splitting {}.tar.gz.enc...", bundle.display()))?;
        for part in self.parts {
            context.say(&format!("Created {}", part.name))?;
        }
        context.say("Generating digests for each part...")?;
        context.say("Digests generated.")?;
        for item in self.missing {
            context.say(&format!("Unable to read instance meta-data for {item}"))?;
        }
        if let Some(Mapping(mapping)) = self.mapping {
            for name in ["root", "ami"] {
                if !mapping.contains_key(name) {
                    context.say(&format!(
                        "Block-device-mapping has no '{name}' entry. A launch-time default will be used."
                    ))?;
                }
            }
        }
        context.say("Creating bundle manifest...")?;
        context.say(&format!("Bundle manifest is {}", manifest.display()))
    }
}

impl BundleReport {
    fn of(bundled: BundledImage<PublishedBundle>) -> Self {
        Self {
            manifest: bundled.published.manifest,
            parts: bundled.parts.into_iter().map(PartReport::from).collect(),
            image_size: bundled.size,
            bundled_size: bundled.bundled_size,
            digest: hex::encode(bundled.digest),
        }
    }
}

impl Failure {
    /// A failure to bundle an image. As in the older suite, errors in reading and writing while bundling exit with 1.
    pub fn of_bundling(error: impl Into<ami_bundle::Error>) -> Self {
        use ami_bundle::Error;
        let error = error.into();
        let code = match &error {
            Error::Interrupted => return Self::interrupted(),
            Error::Problems(problems) => match problems.first() {
                Some(Problem::Name { .. }) => return Self::usage(error),
                Some(Problem::NoEc2Certificate(_)) => exit::MISSING_FILE,
                Some(Problem::Folder(_)) => exit::BUNDLING,
                _ => exit::OTHER,
            },
            Error::Manifest(_) => exit::OTHER,
            _ => exit::BUNDLING,
        };
        Self::new(code, error)
    }

    /// A failure to unbundle.
    pub fn of_unbundling(error: ami_bundle::Error) -> Self {
        match error {
            ami_bundle::Error::Interrupted => Self::interrupted(),
            error => Self::new(exit::OTHER, error),
        }
    }
}
