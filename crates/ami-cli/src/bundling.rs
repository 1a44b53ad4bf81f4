//! Bundling an image file: what `ec2-bundle-image` does, and `ec2-bundle-vol` after it has made the image.
//!
//! Everything that can be wrong is found before the first byte is compressed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ami_bundle::{Image, Level, Settings, check_name};
use ami_manifest::{
    BundleKey, Bundler, Certificate, MachineConfiguration, Manifest, Part, PrivateKey, Sha1Digest,
    Version,
};
use ami_parts::{NewFile, StagedParts, Staging};
use serde::Serialize;
use tracing::debug;

use crate::context::Context;
use crate::ec2_certificate::ec2_certificate;
use crate::failure::{Failure, OrExit, exit};
use crate::options::{BundleOptions, CompressionOptions, IdentityOptions, RunningOptions};
use crate::progress::Progress;
use crate::values::Mapping;

/// The manifest's name in the private folder.
const MANIFEST: &str = "manifest";

/// The largest image that is bundled without `--no-size-checks`, in bytes: EC2's limit for instance store-backed AMIs
/// (EC2 user guide, "Create an instance store-backed AMI").
const LARGEST_IMAGE: u64 = 10 << 30;

/// What the instance that an image is made on gives to its manifest. Options win over it.
#[derive(Debug, Clone, Default)]
pub struct Inheritance {
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
    /// The images that this one is made from, the oldest first.
    pub ancestry: Vec<String>,
    /// What the instance's metadata did not have, by its names there.
    pub missing: Vec<&'static str>,
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
        /// The name that the image gets together with the bundle; nothing may have it. `None`: it goes with the private folder.
        name: Option<&'a str>,
    },
}

/// All that is needed to bundle an image, checked.
pub struct BundlePlan<'a> {
    options: &'a BundleOptions,
    mapping: Option<Mapping>,
    /// Lines about what the instance's metadata did not have.
    missing: Vec<&'static str>,
    name: String,
    key: PrivateKey,
    bundle_key: BundleKey,
    /// The files with the keys and certificates.
    inputs: Vec<PathBuf>,
    /// What the manifest will say; the image's digest and size and the parts are still to come.
    manifest: Manifest,
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
    /// The manifest's path, by which the bundle is found.
    pub fn manifest(&self) -> &Path {
        &self.manifest
    }
}

#[derive(Debug, Serialize)]
struct PartReport {
    filename: String,
    size: u64,
    sha1: String,
}

#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error("the specified image {image} is zero sized", image = .0.display())]
    Empty(PathBuf),
    #[error("the specified image {image} is too large", image = .0.display())]
    TooLarge(PathBuf),
    #[error(
        "there may be too little space in {folder}: {free} bytes are free, the bundle can take up to {needed}; \
         free some, choose another --destination, or try all the same with --no-size-checks",
        folder = .folder.display()
    )]
    Space {
        folder: PathBuf,
        free: u64,
        needed: u64,
    },
    #[error(
        "{path} has the name of one of the bundle's own files, which would replace it: choose another --prefix or --destination",
        path = .0.display()
    )]
    WouldReplace(PathBuf),
    #[error("the name of the image {image} is not UTF-8, which a manifest cannot hold: give one with --prefix", image = .0.display())]
    NameNotUtf8(PathBuf),
}

impl<'a> BundlePlan<'a> {
    /// Checks the name, the keys and certificates, and that the manifest can be written and signed.
    ///
    /// # Errors
    /// Says what is wrong, with the exit code for it.
    pub fn new(
        image: &Path,
        architecture: String,
        identity: &IdentityOptions,
        options: &'a BundleOptions,
        inheritance: Inheritance,
    ) -> Result<Self, Failure> {
        let name = match &options.prefix {
            Some(prefix) => prefix.clone(),
            None => image
                .file_name()
                .and_then(|name| name.to_str())
                .ok_or_else(|| PlanError::NameNotUtf8(image.to_owned()))
                .or_exit(exit::OTHER)?
                .to_owned(),
        };
        check_name(&name).map_err(Failure::usage)?;

        let (certificate_path, key_path) = (&identity.cert, &identity.privatekey);
        let certificate = Certificate::load(certificate_path).or_exit(exit::OTHER)?;
        let given = identity
            .region
            .as_deref()
            .filter(|region| !region.is_empty());
        let region = given.or(inheritance.region.as_deref());
        let ec2_path = ec2_certificate(identity.ec2cert.as_deref(), region, |name| {
            std::env::var_os(name)
        })
        .or_exit(exit::MISSING_FILE)?;
        debug!(path = %ec2_path.display(), "EC2's certificate");
        let ec2_certificate = Certificate::load(&ec2_path).or_exit(exit::OTHER)?;
        let key =
            PrivateKey::load_of(&certificate, certificate_path, key_path).or_exit(exit::OTHER)?;
        let bundle_key = BundleKey::generate().or_exit(exit::OTHER)?;
        let mapping = options.mapping();
        let mapping = mapping.or(inheritance.block_device_mapping.map(Mapping));
        let manifest = Manifest {
            version: Version::V20071010,
            bundler: Bundler::default(),
            machine: MachineConfiguration {
                architecture,
                block_device_mapping: mapping.clone().unwrap_or_default().0,
                kernel_id: options.kernel.clone().or(inheritance.kernel_id),
                ramdisk_id: options.ramdisk.clone().or(inheritance.ramdisk_id),
                product_codes: match &options.productcodes {
                    Some(code) => vec![code.clone()],
                    None => inheritance.product_codes.unwrap_or_default(),
                },
            },
            image: ami_manifest::Image {
                name: name.clone(),
                user: identity.user.clone(),
                image_type: "machine".to_owned(),
                kernel_name: None,
                ancestry: inheritance.ancestry,
                digest: Sha1Digest([0; 20]),
                size: 0,
                bundled_size: 0,
                ec2_key: bundle_key.wrap(&ec2_certificate).or_exit(exit::OTHER)?,
                user_key: bundle_key.wrap(&certificate).or_exit(exit::OTHER)?,
                parts: Vec::new(),
            },
        };
        // Written once to see that it can be: an ID with a control character would otherwise be noticed only at the end.
        let _ = manifest.to_signed_xml(&key).or_exit(exit::OTHER)?;
        Ok(Self {
            options,
            mapping,
            missing: inheritance.missing,
            name,
            key,
            bundle_key,
            inputs: vec![certificate_path.clone(), key_path.clone(), ec2_path],
            manifest,
        })
    }

    /// Refuses images that are empty or larger than EC2 takes.
    ///
    /// # Errors
    /// Exit code 254.
    pub fn check_size(path: &Path, size: u64, options: &BundleOptions) -> Result<(), Failure> {
        if size == 0 {
            return Err(Failure::new(exit::OTHER, PlanError::Empty(path.to_owned())));
        }
        if size > LARGEST_IMAGE && !options.no_size_checks {
            return Err(Failure::new(
                exit::OTHER,
                PlanError::TooLarge(path.to_owned()),
            ));
        }
        Ok(())
    }

    /// Bundles the image, prints the status lines, and gives a report.
    ///
    /// # Errors
    /// Says what went wrong, with the exit code for it; nothing is left behind, unless it says that the bundle is complete.
    pub fn run(
        mut self,
        source: Source<'_>,
        running: &RunningOptions,
        compression: &CompressionOptions,
        context: &Context,
    ) -> Result<BundleReport, Failure> {
        let destination = &self.options.destination;
        let path = match &source {
            Source::File(path) => (*path).to_owned(),
            Source::Made { staging, file, .. } => staging.own_path(file),
        };
        let image = Image::open(&path).or_exit(exit::BUNDLING)?;
        Self::check_size(&path, image.size(), self.options)?;
        self.spare_inputs(&path)?;
        self.check_space(&image)?;
        debug!(
            size = image.size(),
            data = image.data_size(),
            "image opened"
        );

        let (staging, kept_image) = match source {
            Source::File(_) => (context.staging(destination).or_exit(exit::BUNDLING)?, None),
            Source::Made {
                staging,
                file,
                name,
            } => (staging, name.map(|name| NewFile::fresh(file, name))),
        };
        debug!(path = %staging.path().display(), "private folder made");
        let progress = Progress::bytes(context, image.data_size());
        let settings = Settings {
            threads: running.threads(),
            progress: &|count| progress.add(count),
            interrupted: context.interrupted(),
        };
        let level = Level::new(compression.compression_level).unwrap_or_default();
        let bundled = ami_bundle::bundle(
            &image,
            &self.name,
            level,
            &self.bundle_key,
            &staging,
            &settings,
        )
        .map_err(Failure::of_bundling)?;
        drop(progress);

        self.complete_manifest(&bundled.parts, bundled.digest, bundled.size);
        let xml = self
            .manifest
            .to_signed_xml(&self.key)
            .or_exit(exit::OTHER)?;
        if kept_image.is_some() {
            let file = std::fs::File::open(&path).or_exit(exit::BUNDLING)?;
            file.sync_all().or_exit(exit::BUNDLING)?;
        }
        staging
            .write(MANIFEST, &xml, 0o666)
            .or_exit(exit::BUNDLING)?;
        let manifest_name = ami_parts::manifest_file_name(&self.name);
        let manifest = destination.join(&manifest_name);
        let files: Vec<NewFile> = kept_image
            .into_iter()
            .chain(bundled.parts.of_bundle(&self.name))
            .chain([NewFile::replacing(MANIFEST, manifest_name)])
            .collect();
        let saved = staging.publish(&files, Some(&self.name), context.waiting());
        context.warn_of_saved(&saved.or_exit(exit::BUNDLING)?);
        // A disk that is full, perhaps with the bundle, takes the lines that follow only without it.
        drop(staging);
        self.say_what_was_done(&manifest, context)
            .map_err(|failure| failure.after(&manifest))?;
        Ok(self.report(manifest, &bundled.parts))
    }

    /// What the bundle is made of must not be taken for a part of an older bundle of its name.
    fn spare_inputs(&self, image: &Path) -> Result<(), Failure> {
        let replaced = ami_parts::replaced_files(&self.options.destination, &self.name)
            .or_exit(exit::BUNDLING)?;
        let inputs = self.inputs.iter().map(PathBuf::as_path).chain([image]);
        match ami_files::first_same_file(&replaced, inputs) {
            None => Ok(()),
            Some(path) => Err(Failure::new(
                exit::OTHER,
                PlanError::WouldReplace(path.to_owned()),
            )),
        }
    }

    fn check_space(&self, image: &Image) -> Result<(), Failure> {
        let folder = &self.options.destination;
        let needed = ami_bundle::largest_bundle(image, &self.name);
        let space = rustix::fs::statvfs(folder).or_exit(exit::OTHER)?;
        let free = space.f_bavail * space.f_frsize;
        debug!(free, needed, "space at the destination");
        if free < needed && !self.options.no_size_checks {
            let error = PlanError::Space {
                folder: folder.clone(),
                free,
                needed,
            };
            return Err(Failure::new(exit::OTHER, error));
        }
        Ok(())
    }

    fn complete_manifest(&mut self, parts: &StagedParts, digest: [u8; 20], size: u64) {
        let image = &mut self.manifest.image;
        image.digest = Sha1Digest(digest);
        image.size = size;
        image.bundled_size = parts.bundled_size();
        image.parts = parts
            .iter()
            .enumerate()
            .map(|(index, part)| Part {
                filename: ami_parts::part_file_name(&self.name, index, parts.len()),
                digest: Sha1Digest(part.digest),
            })
            .collect();
    }

    /// The older suite's lines, which scripts read. It prints them as it goes from file to file; here there is only one pass.
    fn say_what_was_done(&self, manifest: &Path, context: &Context) -> Result<(), Failure> {
        let destination = self.options.destination.join(&self.name);
        context.say(&format!(
            "Splitting {}.tar.gz.enc...",
            destination.display()
        ))?;
        for part in &self.manifest.image.parts {
            context.say(&format!("Created {}", part.filename))?;
        }
        context.say("Generating digests for each part...")?;
        context.say("Digests generated.")?;
        for item in &self.missing {
            context.say(&format!("Unable to read instance meta-data for {item}"))?;
        }
        if let Some(Mapping(mapping)) = &self.mapping {
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

    fn report(&self, manifest: PathBuf, parts: &StagedParts) -> BundleReport {
        let image = &self.manifest.image;
        BundleReport {
            manifest,
            parts: image
                .parts
                .iter()
                .zip(parts.iter())
                .map(|(part, staged)| PartReport {
                    filename: part.filename.clone(),
                    size: staged.size,
                    sha1: part.digest.to_string(),
                })
                .collect(),
            image_size: image.size,
            bundled_size: image.bundled_size,
            digest: image.digest.to_string(),
        }
    }
}

impl Failure {
    /// A failed step of the bundle pipeline. As in the older suite, reading and writing that fails while bundling exits with 1.
    fn of_bundling(error: ami_bundle::Error) -> Self {
        match error {
            ami_bundle::Error::Interrupted => Self::interrupted(),
            error => Self::new(exit::BUNDLING, error),
        }
    }

    /// A failed step of the pipeline backwards.
    pub fn of_unbundling(error: ami_bundle::Error) -> Self {
        match error {
            ami_bundle::Error::Interrupted => Self::interrupted(),
            error => Self::new(exit::OTHER, error),
        }
    }
}
