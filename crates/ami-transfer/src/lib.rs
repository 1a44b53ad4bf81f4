//! What the suite does with bundles in S3, and to move bundles to another region, each as one function: [`upload`], [`download`],
//! [`delete`], [`migrate_bundle`], [`migrate_manifest`].
//!
//! A story takes plain settings, tells an [`Observer`] what happens, and fails with an [`Error`] that states facts. It prints nothing,
//! asks nobody but its observer, and keeps nothing outside of its future: many can run in one process. Dropping the future interrupts
//! it; what was transferred for a later run stays.
//!
//! ```no_run
//! # async fn story(request: ami_transfer::Upload, observer: impl ami_transfer::Observer) -> Result<(), ami_transfer::Error> {
//! let uploaded = ami_transfer::upload(&request, &observer).await?;
//! assert!(uploaded.manifest.is_some() || request.leaves_out_manifest);
//! # Ok(()) }
//! ```
//!
//! Not here: how S3 and EC2 are asked (`ami-s3`, `ami-ec2`), how a bundle is made and read (`ami-bundle`), options, status lines, exit codes
//! and advice (`ami-remote-cli`).

mod delete;
mod download;
mod error;
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
mod replacement;
mod upload;

pub use delete::{BundleFiles, Delete, Deleted, delete};
pub use download::{Download, Downloaded, download};
pub use error::{BoxError, Error};
pub use kernels::BootImages;
pub use migrate_bundle::{MigrateBundle, MigratedBundle, migrate_bundle};
pub use migrate_manifest::{MigrateManifest, MigratedManifest, migrate_manifest};
pub use migration::{FindCertificate, Migration};
pub use names::NameError;
pub use observer::{Event, Observer, Question, Stopped};
pub use upload::{Upload, Uploaded, upload};
