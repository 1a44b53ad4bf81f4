//! The options of the commands that migrate bundles.

use std::path::PathBuf;

use ami_cli::markers::Order;
use ami_cli::{Context, ec2_certificate, values};
use ami_transfer::{BootImages, BoxError, FindCertificate, Migration};
use clap::ArgAction::SetTrue;
use clap::Args;

const KEYS: &str = "Keys";
const MAPPING: &str = "Kernel and RAM disk";

/// Keys, and the kernel and RAM disk of the migrated image.
#[derive(Debug, Clone, Args)]
pub struct MigrationOptions {
    /// Your X.509 certificate, with whose key the manifest was signed
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, add = Order(2), help_heading = KEYS)]
    cert: PathBuf,
    /// The certificate's RSA private key
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, add = Order(3), help_heading = KEYS)]
    privatekey: PathBuf,
    /// EC2's certificate, to encrypt the bundle's key for [default: searched for, see the manual]
    #[arg(long, value_name = "CERT", value_parser = values::existing_file, help_heading = KEYS)]
    ec2cert: Option<PathBuf>,
    /// The kernel to boot the image with
    #[arg(long, value_name = "AKI", help_heading = MAPPING)]
    kernel: Option<String>,
    /// The RAM disk to boot the image with
    #[arg(long, value_name = "ARI", help_heading = MAPPING)]
    ramdisk: Option<String>,
    /// Do not look up kernel and RAM disk; without --kernel and --ramdisk they are removed
    #[arg(long, action = SetTrue, help_heading = MAPPING)]
    pub no_mapping: bool,
}

/// A variable with an additional EC2 region, `REGION@URL`, as in the older suite.
pub(crate) const REGION_ENDPOINT: &str = "AMITOOLS_EC2_REGION_ENDPOINT";

impl MigrationOptions {
    /// The settings of a migration. Warns if the certificate is not valid. `find_ec2_certificate` is [`Self::ec2_certificate`].
    pub fn settings<'a>(
        &self,
        find_ec2_certificate: FindCertificate<'a>,
        context: &Context,
    ) -> Migration<'a> {
        context.warn_of_certificate(&self.cert);
        let additional_region = std::env::var(REGION_ENDPOINT).ok();
        Migration {
            certificate: self.cert.clone(),
            private_key: self.privatekey.clone(),
            find_ec2_certificate,
            boot_images: BootImages {
                kernel: self.kernel.clone(),
                ramdisk: self.ramdisk.clone(),
            },
            maps_boot_images: !self.no_mapping,
            additional_region: additional_region.filter(|text| !text.is_empty()),
        }
    }

    /// EC2's certificate with which the bundle's key is encrypted again: the given one, or else the region's. If that is the one that most
    /// regions share, and it is not on this machine, the key stays as it is, because nearly all bundles are encrypted for it already.
    ///
    /// # Errors
    /// A region's own certificate is not on this machine.
    pub fn ec2_certificate(&self, region: Option<&str>) -> Result<Option<PathBuf>, BoxError> {
        let given = self.ec2cert.as_deref();
        match ec2_certificate(given, region, |name| std::env::var_os(name)) {
            Ok(path) if given.is_some() || region.is_some() => Ok(Some(path)),
            Err(error) if error.only_for.is_some() => Err(error.into()),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}
