//! Why a story ended early.

use std::path::PathBuf;

use crate::names::NameError;
use crate::observer::Stopped;

/// Why a story ended early. It says what was found, and not what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The observer ended the story, for a reason of its own.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The answer to [`Question::Continue`](crate::Question::Continue) was no.
    #[error("the user declined")]
    Declined,
    /// The story was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// S3 cannot be asked, or refuses.
    #[error(transparent)]
    S3(#[from] ami_s3::Error),
    /// A manifest or key cannot be used.
    #[error(transparent)]
    Manifest(#[from] ami_manifest::Error),
    /// A local file cannot be read or written.
    #[error(transparent)]
    Files(#[from] ami_parts::Error),
    /// The folder for a download cannot be prepared.
    #[error(transparent)]
    Destination(ami_parts::Error),
    /// The parts do not have the size that the manifest says, though each has its digest.
    #[error("the parts have {found} bytes in all, the manifest says {expected}")]
    Size {
        /// The sum of the parts' sizes in bytes.
        found: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// A file of the bundle has a name that no file is downloaded to.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another run is downloading the same bundle to the same folder.
    #[error("another command is downloading this bundle to {}", folder.display())]
    Rival {
        /// The folder.
        folder: PathBuf,
    },
    /// EC2 cannot be asked, or has no fitting kernel or RAM disk.
    #[error(transparent)]
    Ec2(#[from] ami_ec2::Error),
    /// The additional region is not of the form `REGION@URL`.
    #[error("{text:?} is not a region and its endpoint: {reason}")]
    AdditionalRegion {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The manifest cannot be read, or is not signed with the certificate's key.
    #[error("Bad manifest '{name}'")]
    BadManifest {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ami_manifest::Error,
    },
    /// EC2's certificate was not found.
    #[error(transparent)]
    Ec2Certificate(BoxError),
    /// The older suite's folder for this manifest exists, so that suite is at work, or was interrupted.
    #[error("Temporary directory '{}' already exists. Please delete or rename it and try again.", .0.display())]
    WorkFolder(PathBuf),
    /// The destination bucket cannot be asked for or created.
    #[error(transparent)]
    DestinationBucket(ami_s3::Error),
    /// The parts in S3 do not have the size that the manifest says.
    #[error("the parts in S3 have {found} bytes in all, the manifest says {expected}")]
    SizeInS3 {
        /// The sum of the parts' sizes in bytes.
        found: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// The backup has the name of a file that is there.
    #[error("Backup file '{}' already exists. Please delete or rename it and try again.", .0.display())]
    BackupExists(PathBuf),
    /// The manifest, its backup or their replacement cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The error of another crate that this one passes on, or else itself.
    pub fn original(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::S3(error) | Self::DestinationBucket(error) => error,
            Self::Ec2(error) => error,
            Self::Manifest(error) => error,
            Self::Files(error) | Self::Destination(error) => error,
            Self::Name(error) => error,
            Self::Ec2Certificate(error) => error.as_ref(),
            error => error,
        }
    }
}

/// An error of the caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
