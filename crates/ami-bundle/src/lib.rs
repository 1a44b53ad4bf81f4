//! Bundles: turns an image into an encrypted, compressed tar stream in parts, in one pass on all cores, and back.
//!
//! Not here: the manifest's text and keys (`ami-manifest`), images (`ami-image`), the parts' files (`ami-parts`), what the user sees
//! (`ami-cli`).
//!
//! The stories, for commands and other programs:
//!
//! - [`BundlePlan::new`] checks a [`BundleRequest`], [`bundle_image`] makes the bundle; its two halves are [`BundlePlan::write_parts`] and
//!   [`BundlePlan::publish`].
//! - [`unbundle_image`] restores the image from a bundle, [`verify_bundle`] checks a bundle.
//! - [`Running`]: the threads, the interruption flag, and the receiver of each [`Event`].
//!
//! Their building blocks: [`bundle()`] writes an image's parts to a sink; [`unbundle()`] writes the image of a source's parts to a sink,
//! such as a [`StagedImage`]; [`verify_stream`] checks that it could; [`describe`] reads only the start, for the image's size and name.
//! [`BundleFiles`] are parts in a folder.
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

mod bundle;
mod bundling;
mod cipher;
mod cutter;
mod deflate;
mod describing;
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
pub use describing::describe;
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
