//! The volume imager: copies a mounted root volume into an image file that boots.
//!
//! Not here: what becomes of the image (`ami-bundle`), what is printed and asked (`ami-cli`).
//!
//! - [`Request`], [`Plan::new`]: a request becomes a plan: plain data, after everything that can go wrong has been checked.
//!   [`Survey`]: the same, but it lists every problem instead of stopping at the first.
//! - [`make`]: carries the plan out, in mounts that no other process sees.
//! - [`InUse`]: what is done about a volume that others write to: a second pass, snapshots, [`Freeze`], commands.
//!
//! Inside, a file a stage: `plan`, `partition`, `format`, `copy`, `customise`, `boot`. `workshop` holds the mounts, `loop_device` the
//! devices, `in_use` what keeps a volume still, `tools` runs other projects' programs, `kernel` has all that is `unsafe`.

mod again;
mod attributes;
mod boot;
mod commands;
mod contents;
mod copied;
mod copy;
mod customise;
mod entry_error;
mod error;
mod filter;
mod format;
mod freeze;
mod gpt;
mod imager;
mod in_use;
mod inside;
mod keeper;
mod kernel;
mod links;
mod loop_device;
mod mbr;
mod metadata;
mod packages;
mod partition;
mod plan;
mod removal;
mod request;
mod scan;
mod selection;
mod snapshots;
mod source;
mod superblock;
mod tools;
mod walk;
mod workshop;

pub use again::Again;
pub use boot::Loader;
pub use copied::{Copied, CopyProgress};
pub use customise::Fstab;
pub use error::{Error, Need, Package};
pub use filter::{Origin, Rule, SECRETS_AND_LEFTOVERS};
pub use format::Twin;
pub use freeze::{FREEZE_LIMIT, Freeze};
pub use imager::{Event, Made, Making, make};
pub use in_use::{Freezing, InUse};
pub use keeper::{KEEPER, keep};
pub use partition::{Layout, PartitionId, PartitionType, SourcePartition};
pub use plan::{Plan, Survey};
pub use request::Request;
pub use scan::Contents;
pub use selection::ALWAYS_EMPTY;
pub use source::LeftOutMount;
pub use superblock::Kind;
