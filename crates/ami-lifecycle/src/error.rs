//! Why a story did not end well.

use std::path::PathBuf;
use std::time::Duration;

use ami_account::{Flaw, Quota};

use crate::format::Format;
use crate::observer::Stopped;
use crate::upload::Fate;

/// Why a story did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no credentials, or TLS cannot be used.
    #[error(transparent)]
    Aws(#[from] ami_aws::Error),
    /// EC2 refuses, or cannot be asked.
    #[error(transparent)]
    Ec2(#[from] ami_ec2::Error),
    /// KMS refuses, or cannot be asked.
    #[error(transparent)]
    Account(#[from] ami_account::Error),
    /// S3 refuses, or cannot be asked.
    #[error(transparent)]
    S3(#[from] ami_s3::Error),
    /// A bundle in S3 cannot be read.
    #[error(transparent)]
    Transfer(#[from] ami_transfer::Error),
    /// A bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] ami_bundle::Error),
    /// The image is no file or device, or cannot be read.
    #[error(transparent)]
    Image(#[from] ami_image::Error),
    /// A disk cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Survey {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: ami_disk::Error,
    },
    /// It is not the bytes of a disk.
    #[error("{path} is not the bytes of a disk, but {format}", path = .path.display())]
    Format {
        /// The image.
        path: PathBuf,
        /// What it is.
        format: Format,
    },
    /// The device is mounted, and may be written to while it is read.
    #[error("{path} is mounted on {folder} and may be written to while it is read", path = .path.display(), folder = .folder.display())]
    Mounted {
        /// The device.
        path: PathBuf,
        /// Where it, or something on it, is mounted.
        folder: PathBuf,
    },
    /// There is nothing in it.
    #[error("{path} is empty", path = .path.display())]
    Empty {
        /// The image.
        path: PathBuf,
    },
    /// The volume would be smaller than the source.
    #[error("a volume of {given} GiB is too small for {least} GiB")]
    TooLarge {
        /// What is needed, in GiB.
        least: u64,
        /// What there can be.
        given: u64,
    },
    /// Nothing in the source tells the architecture.
    #[error("the architecture was not found in the source")]
    NoArchitecture,
    /// A TPM needs UEFI (EC2 user guide, "NitroTPM").
    #[error(
        "a TPM needs the boot mode uefi, and not {}",
        .boot_mode.as_deref().unwrap_or("an unknown one")
    )]
    TpmWithoutUefi {
        /// What the boot mode is.
        boot_mode: Option<String>,
    },
    /// The folder of the journals cannot be used.
    #[error("cannot write to the folder {path}", path = .path.display())]
    JournalFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The snapshot is not complete.
    #[error(
        "{}{}",
        .snapshot.as_ref().map_or_else(|| "no snapshot was made".to_owned(), |id| format!("{id} is not complete")),
        match (.snapshot, .fate) {
            (Some(_), Fate::Deleted) => ", and was deleted",
            (Some(_), Fate::Left) => ", and could not be deleted",
            _ => "",
        }
    )]
    Upload {
        /// The snapshot, if one was begun.
        snapshot: Option<String>,
        /// What has become of it.
        fate: Fate,
        /// Why.
        #[source]
        source: Box<ami_ebs::Error>,
    },
    /// The snapshot, read back, is not what was sent.
    #[error(
        "{snapshot} is not what was sent, and {}",
        if *.is_deleted { "was deleted" } else { "could not be deleted" }
    )]
    Wrong {
        /// The snapshot.
        snapshot: String,
        /// Its region.
        region: String,
        /// Whether it is deleted.
        is_deleted: bool,
        /// The first block that differs.
        #[source]
        source: Box<ami_ebs::Error>,
    },
    /// An AMI is deregistered, and not all of its snapshots are deleted.
    #[error("{image} is deregistered, but not all of its snapshots are deleted: {}", .snapshots.join(", "))]
    SnapshotsLeft {
        /// The AMI.
        image: String,
        /// The snapshots that are still there, as far as is known.
        snapshots: Vec<String>,
        /// Their region.
        region: String,
        /// Why the first of them is.
        #[source]
        source: Box<Error>,
    },
    /// EBS refuses, or cannot be asked; a file beside it cannot be used.
    #[error(transparent)]
    Ebs(ami_ebs::Error),
    /// A manifest in S3 is none that EC2 takes.
    #[error("the manifest {location} cannot be used")]
    Manifest {
        /// The bucket, a slash and the key.
        location: String,
        /// Why.
        #[source]
        source: ami_manifest::Error,
    },
    /// Something in a manifest stands for no device of EC2's.
    #[error("the manifest {location} maps {name:?} to {device:?}, which is no device")]
    Device {
        /// The manifest.
        location: String,
        /// The virtual name.
        name: String,
        /// What it is mapped to.
        device: String,
    },
    /// There is no such AMI, or none that these credentials can see.
    #[error("there is no AMI {image} in {region}")]
    NoImage {
        /// Its ID.
        image: String,
        /// Where it was looked for.
        region: String,
    },
    /// The AMI belongs to another account.
    #[error("{image} belongs to the account {owner}")]
    NotOwn {
        /// Its ID.
        image: String,
        /// The account.
        owner: String,
    },
    /// The AMI has no bundle: it is EBS-backed.
    #[error("{image} is EBS-backed, and starts as it is")]
    NotInstanceStore {
        /// Its ID.
        image: String,
    },
    /// The AMI is of Windows.
    #[error("{image} is of Windows, whose bundles have no disk image that starts from EBS")]
    Windows {
        /// Its ID.
        image: String,
    },
    /// The AMI's location is no manifest in S3.
    #[error("{image} has the location {location:?}, which is no manifest in S3")]
    NoLocation {
        /// Its ID.
        image: String,
        /// Its location.
        location: String,
    },
    /// The AMI has codes by which its instances are billed.
    #[error("{image} has codes that a new AMI would lose: {}", .codes.join(", "))]
    CodesLost {
        /// Its ID.
        image: String,
        /// Its product codes and its billing code.
        codes: Vec<String>,
    },
    /// The AMI has no snapshot: it is instance store-backed.
    #[error("{image} has no snapshot of its root device")]
    NoRootSnapshot {
        /// Its ID.
        image: String,
    },
    /// A file has the name already.
    #[error("{path} is there already", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file's folder is not there, or cannot be written to.
    #[error("cannot write to the folder {path}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A device, a link or a folder has the file's name, and is never replaced.
    #[error("{path} is no plain file, and is not replaced", path = .path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// There is no such snapshot, or none that these credentials can see.
    #[error("there is no snapshot {snapshot} in {region}")]
    NoSnapshot {
        /// Its ID.
        snapshot: String,
        /// Where it was looked for.
        region: String,
    },
    /// The AMI cannot be deregistered until its protection is disabled, and a day more if that has a cooldown.
    #[error("{image} in {region} is protected from deregistration ({protection})")]
    Protected {
        /// Its ID.
        image: String,
        /// Its region.
        region: String,
        /// EC2's word for it.
        protection: String,
    },
    /// There is no such KMS key.
    #[error("there is no KMS key {key} in {region}")]
    NoKey {
        /// The key, as it was named.
        key: String,
        /// Where it was looked for.
        region: String,
    },
    /// A key encrypts only what is in its own region.
    #[error("the KMS key {key} is not of {region}")]
    KeyElsewhere {
        /// The key, as it was named.
        key: String,
        /// The region of the snapshot.
        region: String,
    },
    /// EBS does not encrypt with the key.
    #[error("the KMS key {key} in {region} {flaw}")]
    KeyUnusable {
        /// The key, as it was named.
        key: String,
        /// Its ARN.
        arn: String,
        /// Its region.
        region: String,
        /// Why.
        flaw: Flaw,
    },
    /// There are as many as there may be.
    #[error("the quota {:?} in {region} is reached: {limit}", .quota.to_string())]
    QuotaReached {
        /// The quota.
        quota: Quota,
        /// Its value.
        limit: u64,
        /// The region.
        region: String,
    },
    /// Another AMI has the name.
    #[error(
        "an AMI named {name:?} is in {region} already{}",
        .image.as_ref().map(|image| format!(": {image}")).unwrap_or_default()
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The region.
        region: String,
        /// The AMI, if EC2 shows it.
        image: Option<String>,
    },
    /// An AMI has failed.
    #[error(
        "{image} in {region} is {state}{}",
        .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
    )]
    ImageFailed {
        /// Its ID.
        image: String,
        /// Its region.
        region: String,
        /// EC2's word for its state.
        state: String,
        /// What EC2 says of it.
        reason: Option<String>,
    },
    /// A snapshot has failed.
    #[error(
        "{snapshot} in {region} is in the state {status}{}",
        .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
    )]
    SnapshotFailed {
        /// Its ID.
        snapshot: String,
        /// Its region.
        region: String,
        /// EC2's word for its state.
        status: String,
        /// What EC2 says of it.
        reason: Option<String>,
    },
    /// Something took too long.
    #[error("{id} in {region} is not {state} after {} minutes", .waited.as_secs() / 60)]
    Late {
        /// What was waited for.
        id: String,
        /// Its region.
        region: String,
        /// What it was to become.
        state: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// These credentials do not allow an action.
    #[error("{action} is not allowed in {region}: {message}")]
    Denied {
        /// The action.
        action: &'static str,
        /// The region.
        region: String,
        /// What EC2 says.
        message: String,
    },
    /// The user's answer was no, or there was none.
    #[error("nothing was done, because the answer was not yes")]
    Declined,
    /// Whoever observes has ended the story.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The user has interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn late(id: &str, region: &str, state: &'static str, waited: Duration) -> Self {
        Self::Late {
            id: id.to_owned(),
            region: region.to_owned(),
            state,
            waited,
        }
    }
}
