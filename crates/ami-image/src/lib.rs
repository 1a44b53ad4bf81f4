//! Disk images: reading one with its holes, and writing one as it comes.
//!
//! Not here: what an image is packed in (`ami-bundle`), and which name a file gets when it is complete (`ami-parts`).
//!
//! - [`Image`]: a file or block device that is read: its size, its [`Extent`]s of data, and whether it changed meanwhile.
//! - [`ImageSink`]: where an image goes, a piece after the other. [`ImageFile`] is one: a file with holes;
//!   [`ImageDevice`] is a block device, [`ImageStream`] a pipe. [`Nowhere`] takes an image that is only to be checked.
//!   [`write_sparse`]: a piece of one, in any order.
//! - `conformance`, with the feature of that name: the tests that every sink must pass.
//!
//! ```
//! use ami_image::{Description, Image, ImageFile, ImageSink};
//! # fn main() -> Result<(), ami_image::Error> {
//! # let folder = tempfile::tempdir().unwrap(); let folder = folder.path();
//! # std::fs::write(folder.join("one.img"), "data").unwrap();
//! let image = Image::open(&folder.join("one.img"))?;
//! let path = folder.join("other.img");
//! let mut copy = ImageFile::new(std::fs::File::create(&path).unwrap(), &path)?;
//! copy.begin(&Description { name: "other.img".into(), size: image.size(), mode: image.mode(), mtime: image.mtime() })?;
//! for extent in image.extents() {
//!     let mut data = vec![0; extent.length as usize];
//!     image.read(extent.offset, &mut data)?;
//!     copy.write(extent.offset, &data)?;
//! }
//! image.check_unchanged()?;
//! let _ = copy.finish()?;
//! # assert_eq!(std::fs::read(path).unwrap(), b"data");
//! # Ok(()) }
//! ```

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod device;
mod error;
mod file;
mod image;
mod sink;
mod stream;

pub use device::ImageDevice;
pub use error::Error;
pub use file::{ImageFile, write_sparse};
pub use image::{Extent, Image};
pub use sink::{Description, ImageSink, Nowhere};
pub use stream::ImageStream;
