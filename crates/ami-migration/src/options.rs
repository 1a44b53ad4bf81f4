//! The options that both commands have.

use std::path::PathBuf;

use ami_cli::markers::Order;
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
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, add = Order(2), help_heading = KEYS)]
    cert: PathBuf,
    /// Your RSA private key, that of the certificate
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, add = Order(3), help_heading = KEYS)]
    privatekey: PathBuf,
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
    /// The person's certificate.
    ///
    /// # Errors
    /// The file is no certificate with an RSA key.
    pub fn certificate(&self) -> Result<Certificate, Failure> {
        Certificate::load(&self.cert).or_exit(exit::OTHER)
    }

    /// The private key of that certificate.
    ///
    /// # Errors
    /// The file is no RSA private key, or that of another certificate.
    pub(crate) fn private_key(&self, certificate: &Certificate) -> Result<PrivateKey, Failure> {
        private_key_of(certificate, &self.cert, &self.privatekey)
    }
}
