//! The parts of a bundle on disk: fixed-size pieces of a stream, their names and digests, and how they appear all at once.
//!
//! Not here: what the stream is (`ami-bundle`) and what the manifest says of it (`ami-manifest`).
//!
//! - [`Staging`]: a private folder in the destination; [`PartWriter`] fills it, [`publish()`] gives its files their names.
//! - [`PartReader`]: parts as one stream again, each checked before its bytes are used.
//! - [`part_file_name`], [`manifest_file_name`]: what the files are called.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?; let destination = folder.path();
//! let staging = ami_parts::Staging::new(destination)?;
//! let mut writer = ami_parts::PartWriter::new(staging.path(), ami_parts::PART_SIZE);
//! writer.write(b"an encrypted stream")?;
//! let parts = writer.finish()?;
//! let bundle = ami_parts::publish(staging, "image", &parts, b"<manifest/>")?;
//! assert_eq!(bundle.parts, ["image.part.0"]);
//! # Ok(()) }
//! ```

mod error;
mod names;
mod publish;
mod read;
mod staging;
mod write;

pub use error::Error;
pub use names::{
    belongs_to_bundle, is_hidden, is_part_name, is_part_of, manifest_file_name, part_file_name,
};
pub use publish::{Published, publish, publish_as_named, replaced_files, sync_folder};
pub use read::{PartFile, PartReader, check_all};
pub use staging::{Staging, sweep_when_free};
pub use write::{PART_SIZE, PartWriter, StagedPart, StagedParts};
