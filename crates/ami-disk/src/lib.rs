//! What is on a disk image, read from its bytes: nothing is mounted, and no program is run.
//!
//! Not here: making images (`ami-volume`), and sending them anywhere.
//!
//! - [`survey`]: reads a disk, anything that [`ReadAt`] is for, and tells it all in a [`Survey`].
//! - [`Volume`]: a partition, or the whole disk where there is no partition table; its [`FileSystem`], and its [`Allocation`].
//! - [`Survey::free`]: which bytes the file systems of the disk call free. What is unknown, damaged, in use, or contradicts something
//!   else is never free, and neither is what nothing describes.
//! - [`Passing`]: the same free space of a disk that is seen only once, from its beginning to its end.
//! - [`gpt`]: the parts of a GUID partition table, for whoever writes such tables.
//! - [`BootModes`] and [`Architecture`]: what boots from it, and on what.
//!
//! A disk may be hostile. Memory and time are limited by limits on what is read, and by the order that free extents and B-trees must
//! be in; nothing makes a reader panic.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! let disk = vec![0; 1 << 20];
//! let survey = ami_disk::survey(&disk, &AtomicBool::new(false))?;
//! assert_eq!(survey.table, None);
//! assert_eq!(survey.free, []);
//! # Ok::<(), ami_disk::Error>(())
//! ```

mod boot;
mod btrfs;
mod bytes;
mod error;
mod ext;
mod fat;
mod free;
pub mod gpt;
mod kind;
mod mbr;
mod passing;
mod program;
mod read;
mod survey;
mod table;
mod xfs;

pub use boot::BootModes;
pub use error::{Error, Unread};
pub use kind::FileSystem;
pub use passing::Passing;
pub use program::Architecture;
pub use read::{Expected, Keep, Pattern, ReadAt};
pub use survey::{Allocation, Survey, Volume, survey};
pub use table::{Damage, Table};

/// The unit of EBS's snapshots, in bytes: free space counts where it holds a whole one (EBS direct APIs, PutSnapshotBlock).
pub const BLOCK: u64 = 512 << 10;
