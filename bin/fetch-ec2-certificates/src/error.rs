//! The errors of this program.

use std::io;
use std::path::PathBuf;

use crate::fingerprint::Fingerprint;

/// Why nothing, or not everything, was installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{url} could not be downloaded")]
    Download {
        url: &'static str,
        #[source]
        source: ami_aws::DocumentError,
    },
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} is larger than {most} bytes: it is not AWS's", most = crate::archive::MOST_BYTES)]
    TooLarge(String),
    #[error("{0} could not be unpacked: is it a zip?")]
    NotAZip(String),
    #[error("{0} has more than 10000 files: it is not AWS's")]
    TooManyFiles(String),
    #[error("{0} has more than 100 certificates: it is not AWS's")]
    TooManyCertificates(String),
    #[error("{zip} has two different files {file}: nothing was installed")]
    TwoOfAName { zip: String, file: String },
    #[error("{0} has no cert-ec2.pem")]
    NoCommon(String),
    #[error(
        "{zip} has no certificate with the SHA-256 fingerprint {fingerprint}; nothing was installed"
    )]
    NotThere {
        zip: String,
        fingerprint: Fingerprint,
    },
    #[error(
        "{file} in {zip} is not EC2's: its fingerprint is {found}, EC2's is {known}; nothing was installed"
    )]
    NotEc2s {
        zip: String,
        file: String,
        found: Fingerprint,
        known: Fingerprint,
    },
    #[error("{path} could not be written", path = .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait for the network")]
    Runtime(#[source] io::Error),
    #[error("cannot use standard input and output")]
    Terminal(#[source] io::Error),
}
