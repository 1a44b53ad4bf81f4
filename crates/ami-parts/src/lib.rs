//! The parts of a bundle: their sinks and sources, names and digests, and publishing files all at once.
//!
//! Not here: what the stream contains (`ami-bundle`) and what the manifest says about it (`ami-manifest`).
//!
//! - [`PartWriter`] splits a stream into parts for a [`PartSink`]; [`StagedBundle`] is the sink that writes files.
//! - [`PartSource`] joins parts into one stream, and checks each before its bytes are used; [`PartFiles`] is the source that reads files.
//! - [`Staging`]: a private folder in the destination; [`Staging::publish`] gives its files their names.
//! - [`part_file_name`], [`manifest_file_name`]: the files' names.
//! - `conformance` (a feature of the same name): the tests that every sink and source must pass.
//!
//! ```
//! use ami_parts::{PartSink, PartWriter, StagedBundle, Staging, Waiting};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?; let destination = folder.path();
//! let sink = StagedBundle::new(Staging::new(destination)?, "image", Waiting::silent())?;
//! let mut writer = PartWriter::new(sink, "image", ami_parts::PART_SIZE, 1 << 30);
//! writer.write(b"an encrypted stream")?;
//! let (sink, parts) = writer.finish()?;
//! let _ = sink.publish(&parts, ("image.manifest.xml", b"<manifest/>"))?;
//! assert!(destination.join("image.part.0").is_file());
//! # Ok(()) }
//! ```

mod asking;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cut;
mod dir;
mod error;
mod folder;
mod journal;
mod legacy;
mod names;
mod part_files;
mod private;
mod publish;
mod recovery;
mod sink;
mod source;
mod staged_bundle;
mod staging;
mod turn;
mod wait;

#[cfg(test)]
mod model;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod rivals_test;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use journal::fuzzing;

pub use cut::{PART_SIZE, PartWriter};
pub use error::Error;
pub use names::{
    belongs_to_bundle, is_hidden, is_part_name, is_part_of, manifest_file_name, part_file_name,
};
pub use part_files::{PartFile, PartFiles, check_all};
pub use publish::NewFile;
pub use sink::{PartDigest, PartSink, WrittenPart};
pub use source::PartSource;
pub use staged_bundle::{PublishedBundle, StagedBundle};
pub use staging::{Prepared, Staging, check_place, replaced_files, sweep_after};
pub use wait::Waiting;
