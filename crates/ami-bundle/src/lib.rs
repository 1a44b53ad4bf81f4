//! The bundle pipeline: an image to tar, gzip, AES-128-CBC and parts, on all cores in one pass, and back.
//!
//! Not here: the manifest's text and its keys (`ami-manifest`), images (`ami-image`), the parts' files (`ami-parts`), what a user sees (`ami-cli`).
//!
//! - [`bundle()`] makes parts of an image.
//! - [`unbundle()`] makes an image of parts, in a sink such as [`StagedImage`]; [`verify_stream`] only looks whether it could.
//! - [`Settings`]: threads, progress, interruption.
//!
//! ```
//! use ami_bundle::{Image, Level, Settings};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?; let destination = folder.path();
//! # let path = destination.join("an.img"); std::fs::write(&path, "data")?;
//! let key = ami_manifest::BundleKey::generate()?;
//! let settings = Settings {
//!     threads: std::thread::available_parallelism()?,
//!     progress: &|_bytes| {},
//!     interrupted: &false.into(),
//! };
//! let image = Image::open(&path)?;
//! let staging = ami_parts::Staging::new(destination)?;
//! let bundled = ami_bundle::bundle(&image, "an.img", Level::default(), &key, &staging, &settings)?;
//! assert_eq!(bundled.size, 4);
//! # Ok(()) }
//! ```

mod bundle;
mod cipher;
mod cutter;
mod deflate;
mod effort;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gunzip;
mod gzip;
mod last_block;
mod naming;
mod schedule;
mod settings;
mod staged_image;
mod standalone;
mod tar;
mod unbundle;
mod zlib;

pub use ami_image::Image;
pub use bundle::{Bundled, bundle, check_name, largest_bundle};
pub use error::{Error, StreamError};
pub use naming::Naming;
pub use settings::{Level, Settings};
pub use staged_image::StagedImage;
pub use unbundle::{Expected, unbundle, verify_stream};
