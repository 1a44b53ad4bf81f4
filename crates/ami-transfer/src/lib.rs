//! The stories of bundles in S3 and of migration to another region, each as one function: [`upload`], [`download`], [`delete`],
//! [`migrate_bundle`], [`migrate_manifest`]; [`bundle_to_s3`], which makes a bundle in S3; and [`unbundle`], [`verify`], which store
//! nothing. [`RemoteBundle`] is what they read from.
//!
//! A story takes plain settings, reports to an [`Observer`], and fails with an [`Error`] that states facts. It prints nothing, asks only
//! its observer, and has no state outside its future, so many can run in one process. Dropping the future interrupts the story; what a
//! later run can resume stays.
//!
//! ```no_run
//! # async fn story(request: ami_transfer::Upload, observer: impl ami_transfer::Observer) -> Result<(), ami_transfer::Error> {
//! let uploaded = ami_transfer::upload(&request, &observer).await?;
//! assert!(uploaded.manifest.is_some() || request.leaves_out_manifest);
//! # Ok(()) }
//! ```
//!
//! Not here: requests to S3 and EC2 (`ami-s3`, `ami-ec2`), making and reading bundles (`ami-bundle`), and options, status lines, exit
//! codes and advice (`ami-remote-cli`).

mod bundle;
mod delete;
mod destination;
mod download;
mod error;
mod held_parts;
mod kernels;
mod landing;
mod link;
mod local;
mod migrate_bundle;
mod migrate_manifest;
mod migration;
mod names;
mod observer;
mod older;
mod remote_bundle;
mod remote_parts;
#[cfg(test)]
mod remote_parts_test;
mod replacement;
mod sending;
mod sink;
#[cfg(test)]
mod sink_test;
#[cfg(test)]
mod test_server;
mod unbundle;
mod upload;
mod verify;

pub use bundle::{
    BundleToS3, BundledToS3, Place, PlaceFound, WhenRead, bundle_to_s3, look_at_place,
};
pub use delete::{BundleFiles, Delete, Deleted, delete};
pub use download::{Download, Downloaded, download};
pub use error::{BoxError, Error};
pub use kernels::BootImages;
pub use migrate_bundle::{MigrateBundle, MigratedBundle, migrate_bundle};
pub use migrate_manifest::{MigrateManifest, MigratedManifest, migrate_manifest};
pub use migration::{FindCertificate, Migration};
pub use names::NameError;
pub use observer::{Event, Observer, Question, Stopped};
pub use remote_bundle::{OpenBundle, RemoteBundle};
pub use remote_parts::RemoteParts;
pub use unbundle::{unbundle, unbundle_files};
pub use upload::{Upload, Uploaded, upload};
pub use verify::{VerifyInS3, verify};
