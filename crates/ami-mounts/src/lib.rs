//! What is mounted where, and which devices and files a mounted file system stands on.
//!
//! Not here: mounting (`ami-volume`), and what is on a disk that is not mounted (`ami-disk`).
//!
//! - [`Mounts`], [`Mount`]: the kernel's list.
//! - [`Stack`]: what one of them stands on, by way of partitions, the device mapper, RAID, loop devices and overlays.
//! - [`mounted_from`], [`mounted_for_writing`]: the same asked the other way round, of a device or a disk image.
//!
//! ```
//! # fn main() -> Result<(), ami_files::FileError> {
//! let mounts = ami_mounts::Mounts::load()?;
//! assert!(mounts.of("/etc".as_ref()).is_some());
//! # Ok(()) }
//! ```

mod mounted;
mod mounts;
mod stack;

pub use mounted::{mounted_for_writing, mounted_from};
pub use mounts::{Mount, Mounts};
pub use stack::Stack;
