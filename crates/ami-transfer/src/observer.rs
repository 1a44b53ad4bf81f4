//! The caller's side of a story: who is told what happens, who answers questions, and who makes private folders.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ami_parts::{Prepared, Staging, Waiting};

use crate::error::Error;

/// The caller of a story.
///
/// All methods are called on the task that runs the story, never by two at once.
pub trait Observer {
    /// Takes note of what happens.
    ///
    /// # Errors
    /// [`Stopped`] ends the story.
    fn tell(&self, event: Event) -> Result<(), Stopped>;

    /// Answers a question, while nothing is being transferred.
    ///
    /// # Errors
    /// [`Stopped`]: there is no answer, and the story ends.
    fn agrees(&self, question: Question<'_>) -> Result<bool, Stopped>;

    /// Makes a private folder for files that are on their way. A caller that may be killed can first see to it that somebody clears the
    /// folder away then.
    ///
    /// # Errors
    /// The destination cannot be written.
    fn make(&self, prepared: Prepared) -> Result<Staging, ami_parts::Error> {
        prepared.make(self.waiting())
    }

    /// How the story waits for other runs that publish files in the same folder.
    fn waiting(&self) -> Waiting<'_> {
        Waiting::silent()
    }
}

/// The observer ends the story. The reason is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// What the caller must decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question<'a> {
    /// Whether to continue in spite of the warning that was told last.
    Continue,
    /// Whether to delete the files that were told last.
    Delete,
    /// Whether to delete also these, which the manifest names and whose names are not those of parts.
    DeleteOthers(&'a [String]),
}

/// What happens in a story.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A try failed, and another one begins.
    Retrying {
        /// What failed, and why.
        reason: String,
        /// How long the wait between them was.
        wait: Duration,
    },
    /// Files begin to be transferred.
    Begin {
        /// How many bytes all of them have.
        bytes: u64,
        /// How many files they are.
        files: usize,
        /// The number of bytes that have been transferred, which is kept up to date. It counts from the beginning of the story.
        moved: Arc<AtomicU64>,
    },
    /// So many files are done.
    FilesDone(usize),
    /// All files are transferred, or transferring them failed.
    End,

    /// S3 may not accept the name of the bucket.
    UnsafeBucketName {
        /// The name.
        bucket: String,
    },
    /// The manifest names a kernel of this instance's region, and the bucket is in another.
    OtherRegion {
        /// The instance's region.
        here: String,
        /// The bucket's.
        region: String,
        /// The kernel's ID.
        kernel: String,
    },
    /// The bucket does not exist, and is created.
    CreatingBucket,
    /// Parts are sent from now on.
    SendingParts {
        /// The bucket's name.
        bucket: String,
    },
    /// A part has been sent.
    Sent {
        /// Its file's name.
        part: String,
    },
    /// A part is not transferred, because it was left out or is there.
    Skipped {
        /// Its file's name.
        part: String,
    },
    /// The manifest is not sent, as was asked for.
    ManifestLeftOut,
    /// The manifest is sent.
    SendingManifest,
    /// The bundle and its manifest are in S3, whatever fails from now on.
    Complete {
        /// The manifest's bucket and key.
        location: String,
    },

    /// The manifest of an older bundle is about to be deleted, because a part that it names is replaced.
    OlderGoes {
        /// Its bucket and key.
        location: String,
    },
    /// The manifest of an older bundle cannot be deleted with these credentials, if there is one.
    OlderStays {
        /// Its bucket and key.
        location: String,
        /// S3's reason.
        error: ami_s3::Error,
    },
    /// The manifest of an older bundle was deleted, and no new one takes its place.
    OlderDeleted {
        /// Its bucket and key.
        location: String,
    },

    /// The manifest is downloaded.
    GettingManifest {
        /// The bucket's name.
        bucket: String,
        /// The manifest's key.
        key: String,
        /// Where it will be.
        path: PathBuf,
    },
    /// The manifest is encrypted, and is decrypted.
    DecryptingManifest,
    /// A part is downloaded. It is told when all parts before it are done.
    Getting {
        /// Its key.
        key: String,
        /// Where it will be.
        path: PathBuf,
    },
    /// A part has been downloaded.
    Got {
        /// Its file's name.
        part: String,
        /// The bucket's name.
        bucket: String,
    },
    /// A part has another digest than the manifest says, and is kept, as was asked for.
    KeptDamaged {
        /// Its file's name.
        part: String,
    },
    /// A folder holds files of an interrupted run that could not be put back.
    Saved {
        /// The folder.
        folder: PathBuf,
    },

    /// The manifest lacks something that deleting does not need.
    Incomplete {
        /// The manifest.
        manifest: PathBuf,
        /// What it lacks.
        lack: ami_manifest::Error,
    },
    /// No file is there to delete.
    NothingToDelete,
    /// These files are to be deleted.
    ToDelete {
        /// Their names.
        files: Vec<String>,
    },
    /// A file is deleted.
    Deleted {
        /// Its name.
        file: String,
    },
    /// A file that the manifest names stays, because its name is not that of a part.
    NotDeleted {
        /// Its name.
        file: String,
    },
    /// The bucket is deleted, if it is empty.
    DeletingBucket {
        /// Its name.
        bucket: String,
    },

    /// No target region was given, so the bucket's is taken.
    GuessedRegion {
        /// The region; `None`: the bucket is there and has no location constraint, so it is in us-east-1.
        region: Option<String>,
    },
    /// S3 begins to copy a part.
    Copying {
        /// Its file's name.
        part: String,
    },
    /// The old manifest is kept as a backup.
    BackingUp,
    /// The new manifest does not name these, which the old one does.
    BootImagesRemoved {
        /// IDs of a kernel, of a RAM disk, or both.
        ids: Vec<String>,
    },
    /// The target region does not have these, which the caller gave.
    UnknownBootImages {
        /// Their IDs.
        ids: Vec<String>,
    },
}

/// Makes a private folder, and tells of folders in the same destination that could not be cleared away. `wrap` makes the story's error.
pub(crate) fn make_private(
    prepared: Prepared,
    observer: &impl Observer,
    wrap: fn(ami_parts::Error) -> Error,
) -> Result<Staging, Error> {
    let staging = observer.make(prepared).map_err(wrap)?;
    for folder in staging.saved().map_err(wrap)? {
        observer.tell(Event::Saved { folder })?;
    }
    Ok(staging)
}

/// Asks whether to continue in spite of the warning that was just told.
pub(crate) fn ask_to_continue(observer: &impl Observer) -> Result<(), Error> {
    if observer.agrees(Question::Continue)? {
        Ok(())
    } else {
        Err(Error::Declined)
    }
}
