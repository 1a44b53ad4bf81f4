//! A bundle as what an AMI is made of: in S3 or on disk, read as one stream, of which nothing is stored.

use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;

use ami_bundle::{BundleFiles, Expected, describe, unbundle};
use ami_ebs::{Intake, NotPassed, Passing};
use ami_ec2::BlockDeviceMapping;
use ami_files::folder_of;
use ami_image::{Description, Extent, ImageSink};
use ami_manifest::{
    BundleContents, BundleKey, Certificate, MachineConfiguration, ParsedManifest, PrivateKey,
};
use ami_parts::{PartFile, PartFiles};
use ami_s3::{BucketPath, Endpoint, Settings};
use ami_transfer::{OpenBundle, RemoteBundle};

use crate::error::Error;
use crate::identity::of_bundle;
use crate::register::devices;

/// The architectures that EC2 has of those that a manifest may name.
const ARCHITECTURES: [&str; 3] = ["i386", "x86_64", "arm64"];

/// Which bundle an AMI is made of, and with which keys.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Where it is.
    pub place: Place,
    /// The file of the private key that it was made for.
    pub private_key: PathBuf,
    /// The file of the certificate of the key that must have signed the manifest.
    pub certificate: Option<PathBuf>,
}

/// Where a bundle is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In S3.
    Bucket {
        /// How S3 is reached.
        s3: Settings,
        /// The bucket, and the folder in it.
        bucket: BucketPath,
        /// The manifest's file name.
        manifest: String,
    },
    /// In the folder of this manifest.
    Folder {
        /// The manifest.
        manifest: PathBuf,
    },
}

/// A bundle that was opened: everything about it that can be known before all of it is read.
pub(crate) struct OpenedBundle {
    parts: Parts,
    expected: Expected,
    /// The image's size in bytes, from the stream itself.
    pub(crate) size: u64,
    /// What identifies it on this machine, with what it holds.
    pub(crate) identity: [u8; 32],
    pub(crate) architecture: Option<String>,
    machine: MachineConfiguration,
    location: String,
}

enum Parts {
    InBucket(Box<RemoteBundle>),
    InFolder(Vec<PartFile>, BundleKey),
}

impl Bundle {
    /// Looks up everything that can be known before all parts are read: one or two of them are.
    ///
    /// # Errors
    /// [`Error::Transfer`] and [`Error::Bundle`]: a part is missing or archived, the key is another one, the manifest or its signature
    /// cannot be used. [`Error::Empty`].
    pub(crate) async fn open(&self) -> Result<OpenedBundle, Error> {
        match &self.place {
            Place::Bucket {
                s3,
                bucket,
                manifest,
            } => self.open_in_bucket(s3, bucket, manifest).await,
            Place::Folder { manifest } => {
                let (own, manifest) = (self.clone(), manifest.clone());
                let opening = tokio::task::spawn_blocking(move || own.open_in_folder(&manifest));
                match opening.await {
                    Ok(opened) => opened,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is about to end.
                        Err(_) => Err(Error::Interrupted),
                    },
                }
            }
        }
    }

    async fn open_in_bucket(
        &self,
        s3: &Settings,
        bucket: &BucketPath,
        manifest: &str,
    ) -> Result<OpenedBundle, Error> {
        let request = OpenBundle {
            s3: s3.clone(),
            bucket: bucket.clone(),
            manifest: manifest.to_owned(),
            private_key: self.private_key.clone(),
            certificate: self.certificate.clone(),
        };
        let remote = RemoteBundle::open(&request).await?;
        let description = remote.description().await?;
        let location = bucket.location(manifest);
        let server = match &s3.endpoint {
            Some(Endpoint::Server(server)) => server.as_str(),
            _ => "",
        };
        let identity = of_bundle(
            &[server.as_bytes(), location.as_bytes()],
            remote.manifest_bytes(),
        );
        let machine = remote.machine().clone();
        let expected = remote.expected();
        let parts = Parts::InBucket(Box::new(remote));
        OpenedBundle::new(parts, expected, &description, identity, machine, location)
    }

    fn open_in_folder(&self, manifest: &Path) -> Result<OpenedBundle, Error> {
        let bytes = ParsedManifest::read_file(manifest).map_err(ami_bundle::Error::from)?;
        let (contents, key) = self
            .read(&bytes, manifest)
            .map_err(ami_bundle::Error::from)?;
        let files = BundleFiles::find(&contents, folder_of(manifest));
        let BundleFiles { parts, expected } = files.map_err(ami_bundle::Error::from)?;
        let source = PartFiles::new(parts.clone());
        let description = describe(source, &expected, &key, &AtomicBool::new(false))?;
        // An old one may lack what is not needed to read the image.
        let machine = ParsedManifest::parse(&bytes).map(|parsed| parsed.manifest.machine);
        let machine = machine.unwrap_or_default();
        let path = std::fs::canonicalize(manifest).unwrap_or_else(|_| manifest.to_owned());
        let identity = of_bundle(&[path.as_os_str().as_bytes()], &bytes);
        let parts = Parts::InFolder(parts, key);
        let location = manifest.display().to_string();
        OpenedBundle::new(parts, expected, &description, identity, machine, location)
    }

    fn read(
        &self,
        bytes: &[u8],
        manifest: &Path,
    ) -> Result<(BundleContents, BundleKey), ami_manifest::Error> {
        let contents = BundleContents::parse_named(bytes, manifest)?;
        if let Some(path) = &self.certificate {
            contents.verify(&Certificate::load(path)?)?;
        }
        let key = PrivateKey::load(&self.private_key)?;
        let key = contents.user_key.unwrap_with(&key)?;
        Ok((contents, key))
    }
}

impl OpenedBundle {
    fn new(
        parts: Parts,
        expected: Expected,
        description: &Description,
        identity: [u8; 32],
        machine: MachineConfiguration,
        location: String,
    ) -> Result<Self, Error> {
        if description.size == 0 {
            return Err(Error::Empty {
                path: location.into(),
            });
        }
        let architecture = Some(&machine.architecture);
        let architecture = architecture.filter(|name| ARCHITECTURES.contains(&name.as_str()));
        Ok(Self {
            parts,
            expected,
            size: description.size,
            identity,
            architecture: architecture.cloned(),
            machine,
            location,
        })
    }

    /// The name of the root device and the instance store volumes, which an AMI takes over.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(crate) fn devices(&self) -> Result<(Option<String>, Vec<BlockDeviceMapping>), Error> {
        devices(&self.machine, &self.location)
    }
}

impl Passing for OpenedBundle {
    fn size(&self) -> u64 {
        self.size
    }

    fn pass(
        &mut self,
        intake: &mut Intake<'_>,
        stopped: &AtomicBool,
    ) -> Result<Vec<Extent>, NotPassed> {
        let sink = Feed {
            size: self.size,
            survey: ami_disk::Passing::new(self.size),
            intake,
        };
        let settings = ami_bundle::Settings {
            threads: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            progress: &|_| {},
            interrupted: stopped,
        };
        let expected = &self.expected;
        let passed = match &self.parts {
            Parts::InBucket(remote) => {
                unbundle(remote.parts(), expected, remote.key(), sink, &settings)
            }
            Parts::InFolder(parts, key) => unbundle(
                PartFiles::new(parts.clone()),
                expected,
                key,
                sink,
                &settings,
            ),
        };
        let survey = passed.map_err(|error| match is_wrong(&error) {
            true => NotPassed::Wrong(error.into()),
            false => NotPassed::Unread(error.into()),
        })?;
        Ok(survey.finish())
    }
}

/// Whether an error shows that the bundle is not what its manifest says, which no other try will change.
fn is_wrong(error: &ami_bundle::Error) -> bool {
    use ami_bundle::Error as E;
    match error {
        E::Stream(_) | E::Digest { .. } | E::Cipher { .. } => true,
        E::File(error) => matches!(error, ami_parts::Error::Digest { .. }),
        E::Other(other) => match other.downcast_ref::<ami_transfer::Error>() {
            Some(ami_transfer::Error::S3(error)) => matches!(
                error,
                ami_s3::Error::Digest { .. } | ami_s3::Error::Changed { .. }
            ),
            _ => false,
        },
        _ => false,
    }
}

/// Hands an image over as it is unbundled. Finished, it knows what of it is free.
struct Feed<'a, 'b> {
    size: u64,
    survey: ami_disk::Passing,
    intake: &'a mut Intake<'b>,
}

impl ImageSink for Feed<'_, '_> {
    type Error = ami_bundle::Error;
    type Finished = ami_disk::Passing;

    fn begin(&mut self, image: &Description) -> Result<(), ami_bundle::Error> {
        match image.size == self.size {
            true => Ok(()),
            false => Err(ami_bundle::StreamError::Size {
                found: image.size,
                expected: self.size,
            }
            .into()),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ami_bundle::Error> {
        let taken = self.intake.write(offset, data);
        taken.map_err(|error| ami_bundle::Error::Other(error.into()))?;
        self.survey.write(offset, data);
        Ok(())
    }

    fn finish(self) -> Result<ami_disk::Passing, ami_bundle::Error> {
        Ok(self.survey)
    }
}
