//! The errors of stories.

use std::path::PathBuf;

use ami_s3::{Archive, Bucket};

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
    /// What was asked for cannot be bundled, the image cannot be read, or cannot be restored from its parts.
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
    /// A file of a bundle in S3 is in an archive.
    #[error("{key:?} cannot be read: it is {}{}", in_archive(archive.as_ref()), others(*count, *of))]
    Archived {
        /// The bucket's name.
        bucket: String,
        /// The file's key.
        key: String,
        /// Which archive; `None` if S3 has not said it.
        archive: Option<Archive>,
        /// How many parts are in archives; 1 for a manifest, whose parts are not known.
        count: usize,
        /// The number of parts; 1 for a manifest.
        of: usize,
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
    /// [`Archived`](Self::Archived) if S3 refuses to give a file because it is in an archive that it has not said before.
    pub(crate) fn if_archived(error: Self, bucket: &Bucket, file: &str) -> Self {
        match &error {
            Self::S3(refused) if refused.is_archived() => Self::Archived {
                bucket: bucket.path().bucket.clone(),
                key: bucket.path().key(file),
                archive: None,
                count: 1,
                of: 1,
            },
            _ => error,
        }
    }

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

fn in_archive(archive: Option<&Archive>) -> String {
    match archive {
        None => "in an archive".to_owned(),
        Some(Archive {
            name,
            is_being_restored: false,
        }) => format!("in the archive {name}"),
        Some(Archive { name, .. }) => format!("still being restored from the archive {name}"),
    }
}

fn others(count: usize, of: usize) -> String {
    match count {
        1 => String::new(),
        count => format!(", as are {count} of the {of} parts in all"),
    }
}

impl From<ami_bundle::Error> for Error {
    fn from(error: ami_bundle::Error) -> Self {
        match error {
            ami_bundle::Error::Interrupted => Self::Interrupted,
            ami_bundle::Error::Manifest(error) => Self::Manifest(error),
            ami_bundle::Error::Other(error) => match error.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Bundle(ami_bundle::Error::Other(other)),
            },
            error => Self::Bundle(error),
        }
    }
}

/// For pipelines whose source is of this crate. The way back gives the same error.
impl From<Error> for ami_bundle::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Interrupted => Self::Interrupted,
            Error::Bundle(error) => error,
            error => Self::Other(Box::new(error)),
        }
    }
}

/// An error of the caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
