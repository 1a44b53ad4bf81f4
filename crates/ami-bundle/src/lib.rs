//! Bundles: an image to tar, gzip, AES-128-CBC and parts, on all cores in one pass, and back.
//!
//! Not here: the manifest's text and its keys (`ami-manifest`), images (`ami-image`), the parts' files (`ami-parts`), what a user sees
//! (`ami-cli`).
//!
//! The stories, which a command or another program calls:
//!
//! - [`BundlePlan::new`] checks a [`BundleRequest`], [`bundle_image`] makes the bundle.
//! - [`unbundle_image`] makes the image of a bundle again, [`verify_bundle`] checks it.
//! - [`Running`]: threads, interruption, and whom to tell of each [`Event`].
//!
//! What they are made of: [`bundle()`] makes parts of an image for a sink, [`unbundle()`] an image of the parts of a source, such as a
//! [`StagedImage`]; [`verify_stream`] only looks whether it could. [`BundleFiles`] are parts in a folder.
//!
//! ```no_run
//! use ami_bundle::{BundlePlan, BundleRequest, Level, Running, bundle_image};
//! use ami_parts::{StagedBundle, Staging, Waiting};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = BundlePlan::new(BundleRequest {
//!     image: "disk.img".into(),
//!     name: None,
//!     certificate: "cert.pem".into(),
//!     key: "pk.pem".into(),
//!     ec2_certificate: Ok("/etc/ec2/amitools/cert-ec2.pem".into()),
//!     user: "123456789012".to_owned(),
//!     machine: ami_manifest::MachineConfiguration {
//!         architecture: "x86_64".to_owned(),
//!         block_device_mapping: [].into(),
//!         kernel_id: None,
//!         ramdisk_id: None,
//!         product_codes: Vec::new(),
//!     },
//!     ancestry: Vec::new(),
//!     level: Level::default(),
//!     checks_sizes: true,
//! })?;
//! let folder = std::path::Path::new("/mnt/bundle");
//! let open = || StagedBundle::new(Staging::new(folder)?, "disk.img", Waiting::silent());
//! let bundled = bundle_image(plan, "disk.img".as_ref(), Some(folder), open, &Running {
//!     threads: std::thread::available_parallelism()?,
//!     events: &|_event| {},
//!     interrupted: &false.into(),
//! })?;
//! println!("{} parts, {}", bundled.parts.len(), bundled.published.manifest.display());
//! # Ok(()) }
//! ```

mod buffer;
mod bundle;
mod bundling;
mod cipher;
mod cutter;
mod deflate;
mod effort;
mod error;
mod events;
mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gunzip;
mod gzip;
mod last_block;
mod naming;
mod plan;
mod schedule;
mod settings;
mod staged_image;
mod standalone;
#[cfg(test)]
mod stories_test;
mod tar;
mod unbundle;
mod unbundling;
mod verifying;
mod zlib;

pub use bundle::{Bundled, bundle, largest_bundle};
pub use bundling::{BundledImage, bundle_image};
pub use error::{Error, StreamError};
pub use events::{Event, Running};
pub use files::BundleFiles;
pub use naming::Naming;
pub use plan::{
    BundlePlan, BundleRequest, LARGEST_IMAGE, Problem, Problems, check_name, check_size,
};
pub use settings::{Level, Settings};
pub use staged_image::StagedImage;
pub use unbundle::{Expected, unbundle, verify_stream};
pub use unbundling::{UnbundleRequest, UnbundledImage, unbundle_image};
pub use verifying::{
    Check, Fault, Finding, Outcome, Reason, Subject, VerifyRequest, verify_bundle,
};
