//! The command's arguments.

use std::path::PathBuf;

use clap::Parser;

use crate::fingerprint::Fingerprint;

/// Installs EC2's public certificates, with which bundles are encrypted for EC2.
///
/// They are taken from AWS's own zip of the older suite, which is downloaded or given as ZIP. Those whose SHA-256 fingerprints are known
/// here are installed at once. Others, of newer regions, are shown with subject, dates and fingerprint, and installed only after a yes, or
/// with --accept and that fingerprint: compare it with what AWS publishes.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// The folder for the certificates
    #[arg(long, value_name = "DIR", default_value = "/etc/ec2/amitools")]
    pub directory: PathBuf,
    /// Install the certificate that has this fingerprint without a question; may be given more than once
    #[arg(long, value_name = "SHA256")]
    pub accept: Vec<Fingerprint>,
    /// A copy of AWS's zip, in place of a download
    pub zip: Option<PathBuf>,
}
