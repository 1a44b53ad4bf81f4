//! Writing the new manifest.

use ami_cli::{Failure, OrExit, ec2_certificate, exit};
use ami_manifest::{Certificate, Manifest, PrivateKey};
use tracing::debug;

use crate::devices::Devices;
use crate::options::MigrationOptions;

/// Whoever signs the new manifest, and for whom its key is encrypted.
pub struct Signer {
    key: PrivateKey,
    /// EC2's, where the bundle's key is to be encrypted anew.
    ec2: Option<Certificate>,
}

impl Signer {
    /// Finds the keys.
    ///
    /// The bundle's key is encrypted anew for the certificate that was given, or else for that of the region. Where that is the one that
    /// most regions share, as nearly all bundles are for it, and it is not on this machine, the key stays.
    ///
    /// # Errors
    /// A key or certificate that cannot be used; a region's own certificate that is not on this machine.
    pub fn new(
        options: &MigrationOptions,
        certificate: &Certificate,
        region: Option<&str>,
    ) -> Result<Self, Failure> {
        let key = options.private_key(certificate)?;
        let given = options.ec2cert.as_deref();
        let found = ec2_certificate(given, region, |name| std::env::var_os(name));
        let path = match found {
            Ok(path) if given.is_some() || region.is_some() => Some(path),
            Err(error) if error.only_for.is_some() => {
                return Err(Failure::new(exit::MISSING_FILE, error));
            }
            Ok(_) | Err(_) => None,
        };
        let ec2 = match path {
            Some(path) => {
                debug!(path = %path.display(), "the bundle's key is encrypted anew");
                Some(Certificate::load(&path).or_exit(exit::OTHER)?)
            }
            None => None,
        };
        Ok(Self { key, ec2 })
    }

    /// The manifest's text, of version 2007-10-10, with these devices.
    ///
    /// # Errors
    /// The private key is not the bundle's; a device's ID has control characters.
    pub fn sign(&self, mut manifest: Manifest, devices: Devices) -> Result<Vec<u8>, Failure> {
        if let Some(certificate) = &self.ec2 {
            let image = &mut manifest.image;
            let key = image.user_key.unwrap_with(&self.key).or_exit(exit::OTHER)?;
            image.ec2_key = key.wrap(certificate).or_exit(exit::OTHER)?;
        }
        manifest.machine.kernel_id = devices.kernel;
        manifest.machine.ramdisk_id = devices.ramdisk;
        manifest.to_signed_xml(&self.key).or_exit(exit::OTHER)
    }
}
