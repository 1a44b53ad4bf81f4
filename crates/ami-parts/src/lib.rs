//! The parts of a bundle on disk: fixed-size pieces of a stream, their names and digests, and how they appear all at once.
//!
//! Not here: what the stream is (`ami-bundle`) and what the manifest says of it (`ami-manifest`).
//!
//! - [`Staging`]: a private folder in the destination; [`PartWriter`] fills it, [`Staging::publish`] gives its files their names.
//! - [`PartReader`]: parts as one stream again, each checked before its bytes are used.
//! - [`part_file_name`], [`manifest_file_name`]: what the files are called.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?; let destination = folder.path();
//! let staging = ami_parts::Staging::new(destination)?;
//! let mut writer = ami_parts::PartWriter::new(&staging, ami_parts::PART_SIZE)?;
//! writer.write(b"an encrypted stream")?;
//! let mut files = writer.finish()?.of_bundle("image");
//! staging.write("manifest", b"<manifest/>", 0o666)?;
//! files.push(ami_parts::NewFile::replacing("manifest", "image.manifest.xml"));
//! let _ = staging.publish(&files, Some("image"), ami_parts::Waiting::silent())?;
//! assert!(destination.join("image.part.0").is_file());
//! # Ok(()) }
//! ```

mod asking;
mod dir;
mod error;
mod folder;
mod journal;
mod legacy;
mod names;
mod private;
mod publish;
mod read;
mod recovery;
mod staging;
mod turn;
mod wait;
mod write;

#[cfg(test)]
mod model;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod rivals_test;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use journal::fuzzing;

pub use error::{Error, shown};
pub use names::{
    belongs_to_bundle, is_hidden, is_part_name, is_part_of, manifest_file_name, part_file_name,
};
pub use publish::NewFile;
pub use read::{PartFile, PartReader, check_all};
pub use staging::{Prepared, Staging, replaced_files, sweep_after};
pub use wait::Waiting;
pub use write::{PART_SIZE, PartWriter, StagedPart, StagedParts};
