//! The options that both commands have.

use std::path::{Path, PathBuf};

use ami_cli::{Failure, OrExit, exit, private_key_of, values};
use ami_manifest::{Certificate, PrivateKey};
use clap::ArgAction::SetTrue;
use clap::Args;

const KEYS: &str = "Keys";
const MAPPING: &str = "Kernel and RAM disk";

/// Whose bundle it is, and what it is to start with.
#[derive(Debug, Clone, Args)]
pub struct MigrationOptions {
    /// Your X.509 certificate, whose signature the manifest must have
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, help_heading = KEYS)]
    cert: Option<PathBuf>,
    /// Your RSA private key, that of the certificate
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, help_heading = KEYS)]
    privatekey: Option<PathBuf>,
    /// EC2's certificate, to encrypt the bundle's key for [default: looked for, see the manual]
    #[arg(long, value_name = "CERT", value_parser = values::existing_file, help_heading = KEYS)]
    pub(crate) ec2cert: Option<PathBuf>,
    /// The kernel to start it with there
    #[arg(long, value_name = "AKI", help_heading = MAPPING)]
    pub(crate) kernel: Option<String>,
    /// The RAM disk to start it with there
    #[arg(long, value_name = "ARI", help_heading = MAPPING)]
    pub(crate) ramdisk: Option<String>,
    /// Do not look up kernel and RAM disk; without --kernel and --ramdisk they are removed
    #[arg(long, action = SetTrue, help_heading = MAPPING)]
    pub no_mapping: bool,
}

impl MigrationOptions {
    // clap has no word for "mandatory, but not with --help": the definitions see to that.

    fn certificate_path(&self) -> &Path {
        self.cert.as_deref().unwrap_or(Path::new(""))
    }

    /// The person's certificate.
    ///
    /// # Errors
    /// The file is no certificate with an RSA key.
    pub fn certificate(&self) -> Result<Certificate, Failure> {
        Certificate::load(self.certificate_path()).or_exit(exit::OTHER)
    }

    /// The private key of that certificate.
    ///
    /// # Errors
    /// The file is no RSA private key, or that of another certificate.
    pub(crate) fn private_key(&self, certificate: &Certificate) -> Result<PrivateKey, Failure> {
        let path = self.privatekey.as_deref().unwrap_or(Path::new(""));
        private_key_of(certificate, self.certificate_path(), path)
    }
}
