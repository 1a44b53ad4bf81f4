//! EC2's API, as far as this suite needs it: regions, kernels and RAM disks; images and snapshots.
//!
//! [`Ec2::of_region`] gives a region's [`Regional`], which looks things up and performs actions. An action is a type with EC2's name for
//! it ([`RegisterImage`], [`CopyImage`] …), whose fields are its parameters.
//!
//! ```no_run
//! # async fn story(ec2: &ami_ec2::Ec2) -> Result<(), ami_ec2::Error> {
//! let region = ec2.of_region("eu-west-1")?;
//! if region.image("ami-0123456789abcdef0").await?.is_some_and(|image| !image.is_protected()) {
//!     let image = "ami-0123456789abcdef0".to_owned();
//!     let _ = region.perform(&ami_ec2::DeregisterImage { image }).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! Kernels and RAM disks are images of one region, with an ID of its own in each. [`Ec2::counterparts`] finds those of another region
//! that have the same owner, type and location. EC2's Query protocol is spoken here (`query.rs`), since AWS's own client takes gigabytes of
//! memory and minutes to compile.
//!
//! Not here: manifests (`ami-manifest`), and the order in which things are done (`ami-transfer`, `ami-lifecycle`).

mod actions;
mod connection;
mod counterparts;
mod error;
mod query;
mod regional;

pub use actions::account::{GetEbsDefaultKmsKeyId, GetEbsEncryptionByDefault};
pub use actions::copying::CopyImage;
pub use actions::images::{Device, Image, ProductCode};
pub use actions::offering::{
    DescribeLaunchPermissions, EnableImageDeprecation, EnableImageDeregistrationProtection,
    Grantee, ModifyImageAttribute,
};
pub use actions::registration::{
    BlockDevice, BlockDeviceMapping, DeregisterImage, EbsBlockDevice, RegisterImage,
};
pub use actions::snapshots::{DeleteSnapshot, Snapshot};
pub use actions::tags::{CreateTags, Tag};
pub use connection::{Ec2, RegionEndpoint};
pub use error::Error;
pub use query::Permission;
pub use regional::{Count, Regional};
