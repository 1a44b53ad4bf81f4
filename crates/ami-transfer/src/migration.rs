//! What both migrations share: reading the old manifest, and writing and signing the new one.

use std::path::PathBuf;

use ami_manifest::{Certificate, Manifest, ParsedManifest, PrivateKey};
use tracing::debug;

use crate::error::{BoxError, Error};
use crate::kernels::BootImages;

/// Keys, and the kernel and RAM disk for the other region.
pub struct Migration<'a> {
    /// The file of the certificate that the manifest's signature must match.
    pub certificate: PathBuf,
    /// The file of that certificate's private key, which signs the new manifest.
    pub private_key: PathBuf,
    /// Finds EC2's certificate for the target region.
    pub find_ec2_certificate: FindCertificate<'a>,
    /// The kernel and RAM disk for the image.
    pub boot_images: BootImages,
    /// Whether EC2 is asked for the counterparts of the old ones. If not, those that are not given are removed.
    pub maps_boot_images: bool,
    /// An additional EC2 region and its endpoint: `REGION@URL`.
    pub additional_region: Option<String>,
}

/// Finds the file of EC2's certificate for a region, with which the bundle's key is encrypted again. `None`: the key stays as it is.
pub type FindCertificate<'a> = &'a dyn Fn(Option<&str>) -> Result<Option<PathBuf>, BoxError>;

impl Migration<'_> {
    pub(crate) fn certificate(&self) -> Result<Certificate, Error> {
        Ok(Certificate::load(&self.certificate)?)
    }
}

/// Reads a manifest of any version, which must be signed by the owner of `certificate`. `name` is its name in errors.
///
/// # Errors
/// [`Error::BadManifest`].
pub(crate) fn signed_manifest(
    bytes: &[u8],
    name: &str,
    certificate: &Certificate,
) -> Result<Manifest, Error> {
    let bad = |source| Error::BadManifest {
        name: name.to_owned(),
        source,
    };
    let parsed = ParsedManifest::parse(bytes).map_err(bad)?;
    parsed.verify(certificate).map_err(bad)?;
    Ok(parsed.manifest)
}

/// Signs the new manifest.
pub(crate) struct Signer {
    key: PrivateKey,
    /// EC2's, if the bundle's key is to be encrypted again.
    ec2: Option<Certificate>,
}

impl Signer {
    /// Finds the keys.
    ///
    /// # Errors
    /// A key or certificate cannot be used; [`Error::Ec2Certificate`].
    pub(crate) fn new(
        migration: &Migration<'_>,
        certificate: &Certificate,
        region: Option<&str>,
    ) -> Result<Self, Error> {
        let (path, key_path) = (&migration.certificate, &migration.private_key);
        let key = PrivateKey::load_of(certificate, path, key_path)?;
        let found = (migration.find_ec2_certificate)(region).map_err(Error::Ec2Certificate)?;
        let ec2 = match found {
            Some(path) => {
                debug!(path = %path.display(), "encrypting the bundle's key again");
                Some(Certificate::load(&path)?)
            }
            None => None,
        };
        Ok(Self { key, ec2 })
    }

    /// The text of the manifest in version 2007-10-10, with this kernel and RAM disk.
    ///
    /// # Errors
    /// The private key is not the bundle's; an ID has control characters.
    pub(crate) fn sign(&self, mut manifest: Manifest, boot: BootImages) -> Result<Vec<u8>, Error> {
        if let Some(certificate) = &self.ec2 {
            let image = &mut manifest.image;
            let key = image.user_key.unwrap_with(&self.key)?;
            image.ec2_key = key.wrap(certificate)?;
        }
        manifest.machine.kernel_id = boot.kernel;
        manifest.machine.ramdisk_id = boot.ramdisk;
        Ok(manifest.to_signed_xml(&self.key)?)
    }
}
