//! A bundle in S3 whose parts are read without being stored.

use std::path::PathBuf;
use std::sync::Arc;

use ami_bundle::{Expected, describe};
use ami_image::Description;
use ami_manifest::{
    BundleContents, BundleKey, Certificate, MachineConfiguration, ParsedManifest, Part, PrivateKey,
};
use ami_s3::{Bucket, BucketPath, Connection, Settings};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::debug;

use crate::error::Error;
use crate::held_parts::{HeldPart, LOOK_UPS, get_manifest, held_parts, operation};
use crate::link::in_background;
use crate::names;
use crate::remote_parts::RemoteParts;

/// Which bundle to read, and with which keys.
#[derive(Debug, Clone)]
pub struct OpenBundle {
    /// The settings of the connection to S3.
    pub s3: Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// The manifest's file name.
    pub manifest: String,
    /// The file of the private key that the bundle was made for.
    pub private_key: PathBuf,
    /// The file of the certificate of the key that must have signed the manifest.
    pub certificate: Option<PathBuf>,
}

/// A bundle in S3 that can be read: its manifest, its key, and parts that are all there.
///
/// It must outlive the reading: when it is dropped, its [`RemoteParts`] end with [`Error::Interrupted`].
pub struct RemoteBundle {
    bucket: Bucket,
    parts: Arc<[HeldPart]>,
    contents: BundleContents,
    machine: MachineConfiguration,
    bytes: Vec<u8>,
    key: Arc<BundleKey>,
    bundled_size: u64,
    runtime: Handle,
    /// Ends the reading when it is dropped.
    alive: watch::Sender<()>,
}

impl std::fmt::Debug for RemoteBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteBundle({:?})", self.bucket)
    }
}

impl RemoteBundle {
    /// Looks up all that can be known before a part is read. Must be called on a tokio runtime, which then fetches the parts.
    ///
    /// # Errors
    /// [`Error::Manifest`] for the keys, the manifest and its signature, also if the bundle is another key's; [`Error::Name`];
    /// [`Error::S3`], also for a part that is missing; [`Error::Archived`].
    pub async fn open(request: &OpenBundle) -> Result<Self, Error> {
        let (connection, _) = Connection::open(&request.s3).await?;
        Self::open_on(&connection, request).await
    }

    /// The same, on an open connection.
    pub(crate) async fn open_on(
        connection: &Connection,
        request: &OpenBundle,
    ) -> Result<Self, Error> {
        let private_key = PrivateKey::load(&request.private_key)?;
        let certificate = request.certificate.as_deref().map(Certificate::load);
        let certificate = certificate.transpose()?;
        let bucket = connection.bucket(request.bucket.clone());
        let file = request.manifest.as_str();
        let mut bytes = get_manifest(&bucket, file)
            .await
            .map_err(|error| Error::if_archived(error, &bucket, file))?;
        if ami_manifest::is_encrypted(&bytes) {
            bytes = ami_manifest::decrypt(&bytes, &private_key)?;
        }
        let path = bucket.path().location(file);
        let contents = BundleContents::parse_named(&bytes, path.as_ref())?;
        if let Some(certificate) = &certificate {
            contents.verify(certificate)?;
        }
        let key = Arc::new(contents.user_key.unwrap_with(&private_key)?);
        let parts = look_up(&bucket, &contents.parts, file).await?;
        debug!(parts = parts.len(), "bundle looked up");
        // What is not needed to read the image may be wrong.
        let machine = ParsedManifest::parse(&bytes).map(|parsed| parsed.manifest.machine);
        let sizes = parts.iter().map(|part| part.held.size);
        Ok(Self {
            bundled_size: sizes.fold(0, u64::saturating_add),
            parts: parts.into(),
            contents,
            machine: machine.unwrap_or_default(),
            bucket,
            bytes,
            key,
            runtime: Handle::current(),
            alive: watch::Sender::new(()),
        })
    }

    /// How many parts there are.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// The machine that the manifest describes; nothing of it if something is wrong with what is not needed to read the image.
    pub fn machine(&self) -> &MachineConfiguration {
        &self.machine
    }

    /// The manifest's text, decrypted if it was encrypted.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key that the parts are encrypted with.
    pub fn key(&self) -> &BundleKey {
        &self.key
    }

    pub(crate) fn shared_key(&self) -> Arc<BundleKey> {
        self.key.clone()
    }

    /// What the parts must contain.
    pub fn expected(&self) -> Expected {
        Expected {
            digest: self.contents.digest.0,
            size: self.contents.size,
            bundled_size: self.bundled_size,
        }
    }

    /// All parts as one stream. Fetching begins with the first read. Each call gives a stream of its own, from the start.
    pub fn parts(&self) -> RemoteParts {
        RemoteParts::new(
            self.bucket.clone(),
            self.parts.clone(),
            self.runtime.clone(),
            self.alive.subscribe(),
        )
    }

    /// The image's name, size, mode and time, from the start of the stream. Some bundlers write another size in the manifest.
    ///
    /// # Errors
    /// Those of [`parts`](Self::parts); [`Error::Bundle`] for a stream that is not a bundle's.
    pub async fn description(&self) -> Result<Description, Error> {
        let (source, expected) = (self.parts().without_haste(), self.expected());
        let key = self.key.clone();
        let described =
            in_background(move |interrupted| describe(source, &expected, &key, interrupted));
        Ok(described.await??)
    }
}

/// Looks up the parts of a bundle, all of which must be there and readable.
async fn look_up(bucket: &Bucket, parts: &[Part], manifest: &str) -> Result<Vec<HeldPart>, Error> {
    names::check_listed(parts, manifest)?;
    let of_part = |name: &str| operation(&bucket.path().key(name));
    let parts = held_parts(bucket, parts, LOOK_UPS, of_part).await?;
    check_readable(&parts, bucket)?;
    Ok(parts)
}

/// Refuses parts that are in an archive. The error names one that nobody has asked to be restored, if there is one.
pub(crate) fn check_readable(parts: &[HeldPart], bucket: &Bucket) -> Result<(), Error> {
    let archived = parts.iter().filter_map(|part| {
        let archive = part.held.archive.as_ref();
        archive.map(|archive| (part, archive))
    });
    let count = archived.clone().count();
    match archived.min_by_key(|(_, archive)| archive.is_being_restored) {
        None => Ok(()),
        Some((part, archive)) => Err(Error::Archived {
            bucket: bucket.path().bucket.clone(),
            key: bucket.path().key(&part.name),
            archive: Some(archive.clone()),
            count,
            of: parts.len(),
        }),
    }
}
