//! The errors of stories.

use std::path::PathBuf;

use crate::names::NameError;
use crate::observer::Stopped;

/// Why a story failed. It says what was found, not what to do about it.
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
    /// A request to S3 failed.
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
    /// What was asked for cannot be bundled, or the image cannot be read.
    #[error(transparent)]
    Bundle(ami_bundle::Error),
    /// The image may have changed while it was read.
    #[error(transparent)]
    Source(BoxError),
    /// The sum of the parts' sizes is not the manifest's, although each part has its digest.
    #[error("the parts have {found} bytes in all, the manifest says {expected}")]
    Size {
        /// The sum of the parts' sizes in bytes.
        found: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// A file of the bundle has a name that is not downloaded.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another run is downloading the same bundle to the same folder.
    #[error("another command is downloading this bundle to {}", folder.display())]
    Rival {
        /// The folder.
        folder: PathBuf,
    },
    /// A request to EC2 failed, or EC2 has no corresponding kernel or RAM disk.
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
    /// The manifest cannot be read, or was not signed with the certificate's key.
    #[error("Bad manifest '{name}'")]
    BadManifest {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ami_manifest::Error,
    },
    /// EC2's certificate was not found.
    #[error(transparent)]
    Ec2Certificate(BoxError),
    /// The older suite's work folder for this manifest exists: that suite is running, or was interrupted.
    #[error("Temporary directory '{}' already exists. Please delete or rename it and try again.", .0.display())]
    WorkFolder(PathBuf),
    /// The destination bucket cannot be examined or created.
    #[error(transparent)]
    DestinationBucket(ami_s3::Error),
    /// The sum of the sizes of the parts in S3 is not the manifest's.
    #[error("the parts in S3 have {found} bytes in all, the manifest says {expected}")]
    SizeInS3 {
        /// The sum of the parts' sizes in bytes.
        found: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// A file with the backup's name exists.
    #[error("Backup file '{}' already exists. Please delete or rename it and try again.", .0.display())]
    BackupExists(PathBuf),
    /// The manifest or its backup cannot be written.
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
    /// The error of another crate that this one wraps, or else this one itself.
    pub fn original(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::S3(error) | Self::DestinationBucket(error) => error,
            Self::Ec2(error) => error,
            Self::Manifest(error) => error,
            Self::Files(error) | Self::Destination(error) => error,
            Self::Name(error) => error,
            Self::Ec2Certificate(error) | Self::Source(error) => error.as_ref(),
            Self::Bundle(error) => error,
            error => error,
        }
    }
}

impl From<ami_bundle::Error> for Error {
    fn from(error: ami_bundle::Error) -> Self {
        match error {
            ami_bundle::Error::Interrupted => Self::Interrupted,
            error => Self::Bundle(error),
        }
    }
}

/// An error of the caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
