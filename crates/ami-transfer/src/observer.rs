//! The caller's side of a story: it receives events, answers questions, and makes private folders.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ami_parts::{Prepared, Staging, Waiting};

use crate::error::Error;

/// The caller of a story.
///
/// All methods are called on the task that runs the story, never concurrently.
pub trait Observer {
    /// Receives an event.
    ///
    /// # Errors
    /// [`Stopped`] ends the story.
    fn tell(&self, event: Event) -> Result<(), Stopped>;

    /// Answers a question, while nothing is being transferred.
    ///
    /// # Errors
    /// [`Stopped`]: there is no answer, and the story ends.
    fn agrees(&self, question: Question<'_>) -> Result<bool, Stopped>;

    /// Makes a private folder for files that are not complete yet. A caller that may be killed can first arrange for the folder to be
    /// removed in that case.
    ///
    /// # Errors
    /// The destination cannot be written.
    fn make(&self, prepared: Prepared) -> Result<Staging, ami_parts::Error> {
        prepared.make(self.waiting())
    }

    /// How the story waits for other processes that publish files in the same folder.
    fn waiting(&self) -> Waiting<'_> {
        Waiting::silent()
    }
}

/// The observer ends the story, for a reason of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// What the caller must decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question<'a> {
    /// Whether to continue despite the last warning.
    Continue,
    /// Whether to delete the files in the last event.
    Delete,
    /// Whether to delete these files too, which the manifest names, but which are not named like parts.
    DeleteOthers(&'a [String]),
}

/// Something that happens in a story.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A try failed, and the next one begins.
    Retrying {
        /// What failed, and why.
        reason: String,
        /// The wait between the two.
        wait: Duration,
    },
    /// A transfer begins.
    Begin {
        /// The size of all files in bytes.
        bytes: u64,
        /// The number of files.
        files: usize,
        /// The number of bytes transferred since the story began; kept up to date.
        moved: Arc<AtomicU64>,
    },
    /// Reading a stream begins.
    Reading {
        /// Its size in bytes.
        bytes: u64,
        /// The number of bytes read since the story began; kept up to date.
        moved: Arc<AtomicU64>,
    },
    /// This many more files are done.
    FilesDone(usize),
    /// The transfer ended or failed.
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
    /// The bucket does not exist and is being created.
    CreatingBucket,
    /// The first part is about to be sent.
    SendingParts {
        /// The bucket's name.
        bucket: String,
    },
    /// A part has been sent.
    Sent {
        /// Its file's name.
        part: String,
    },
    /// A part is not transferred, because it was left out or is there already.
    Skipped {
        /// Its file's name.
        part: String,
    },
    /// An image is read, and its bundle sent meanwhile.
    Bundling {
        /// The bytes that are read in all.
        bytes: u64,
        /// The bytes that have been read; kept up to date.
        read: Arc<AtomicU64>,
    },
    /// Files of a bundle that was given up may still be there: they could not be deleted.
    FilesStay {
        /// Their buckets and keys.
        files: Vec<String>,
        /// Why; `None`: it took too long.
        error: Option<Box<Error>>,
    },
    /// The manifest is not sent, as requested.
    ManifestLeftOut,
    /// The manifest is being sent.
    SendingManifest,
    /// The bundle and its manifest are in S3, even if something fails later.
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

    /// The manifest is being downloaded.
    GettingManifest {
        /// The bucket's name.
        bucket: String,
        /// The manifest's key.
        key: String,
        /// Where it will be.
        path: PathBuf,
    },
    /// The manifest is encrypted and is being decrypted.
    DecryptingManifest,
    /// A part is being downloaded. Reported when all parts before it are done.
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
    /// A part has a wrong digest and is kept, as requested.
    KeptDamaged {
        /// Its file's name.
        part: String,
    },
    /// A folder holds files of an interrupted run that could not be put back.
    Saved {
        /// The folder.
        folder: PathBuf,
    },

    /// The manifest lacks something that is not needed for what is done.
    Incomplete {
        /// The manifest.
        manifest: PathBuf,
        /// What it lacks.
        lack: ami_manifest::Error,
    },
    /// There are no files to delete.
    NothingToDelete,
    /// These files are to be deleted.
    ToDelete {
        /// Their names.
        files: Vec<String>,
    },
    /// A file was deleted.
    Deleted {
        /// Its name.
        file: String,
    },
    /// A file that the manifest names is kept, because it is not named like a part.
    NotDeleted {
        /// Its name.
        file: String,
    },
    /// The bucket is about to be deleted, if it is empty.
    DeletingBucket {
        /// Its name.
        bucket: String,
    },

    /// No target region was given, so the bucket's is used.
    GuessedRegion {
        /// The region; `None`: the bucket has no location constraint, so it is in us-east-1.
        region: Option<String>,
    },
    /// S3 begins to copy a part.
    Copying {
        /// Its file's name.
        part: String,
    },
    /// The old manifest is being backed up.
    BackingUp,
    /// The old manifest names these, and the new one does not.
    BootImagesRemoved {
        /// IDs of a kernel, of a RAM disk, or both.
        ids: Vec<String>,
    },
    /// The caller gave these, and the target region does not have them.
    UnknownBootImages {
        /// Their IDs.
        ids: Vec<String>,
    },
}

/// Makes a private folder, and reports folders in the same destination that could not be removed. `wrap` converts the error.
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

/// Asks whether to continue despite the last warning.
pub(crate) fn ask_to_continue(observer: &impl Observer) -> Result<(), Error> {
    if observer.agrees(Question::Continue)? {
        Ok(())
    } else {
        Err(Error::Declined)
    }
}
