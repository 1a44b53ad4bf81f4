//! The life of an AMI, each story a function: [`create`], [`fetch`], [`register`], [`delete`], [`clean`].
//!
//! A story takes plain settings, tells an [`Observer`] what happens, and fails with an [`Error`] that states facts. It ends soon after the
//! flag of its caller is raised. For each there is a `plan_…` that looks everything up first, does nothing, and says all that is in the
//! way.
//!
//! ```no_run
//! # async fn story(request: ami_lifecycle::Delete, observer: impl ami_lifecycle::Observer) -> Result<(), ami_lifecycle::Error> {
//! let interrupted = std::sync::atomic::AtomicBool::new(false);
//! let deleted = ami_lifecycle::delete(&request, &observer, &interrupted).await?;
//! assert_eq!(deleted.image, request.image);
//! # Ok(()) }
//! ```
//!
//! What is made more than once over, because an answer was lost or a run was killed, is found again: an AMI by its name and snapshot, a
//! copy by its name and its tag ([`COPY_TAG`]).
//!
//! Not here: how EC2, KMS and S3 are asked (`ami-ec2`, `ami-account`, `ami-s3`), options, what is printed, exit codes and advice (`bin/ec2-ami`).

mod access;
mod bundle;
mod clean;
mod create;
pub mod date;
mod delete;
mod devices;
mod distribution;
mod error;
mod fetch;
mod folders;
mod format;
mod identity;
mod journal;
mod keys;
mod known;
mod observer;
mod old_image;
mod quotas;
mod register;
mod registering;
mod source;
mod upload;
mod waiting;

pub use access::Access;
pub use ami_ebs::Progress;
pub use bundle::{Bundle, Place};
pub use clean::{Clean, Cleaned, Stray, clean, plan_clean};
pub use create::{
    Create, CreatePlan, Created, Purpose, RootVolume, Sent, bytes_of, create, plan_create,
};
pub use delete::{Delete, DeletePlan, Deleted, Kept, delete, plan_delete};
pub use devices::add_devices;
pub use distribution::{
    COPY_TAG, Copied, Copy, Distributed, Distribution, Offer, SOURCE_TAG, Step, Unfinished,
};
pub use error::Error;
pub use fetch::{Fetch, FetchPlan, Fetched, fetch, plan_fetch};
pub use format::Format;
pub use journal::Journal;
pub use observer::{Event, Observer, Question, Stopped};
pub use old_image::{OldImage, old_image};
pub use quotas::QuotaUse;
pub use register::{Register, RegisterPlan, Registered, plan_register, register};
pub use source::{DiskFound, Origin, Still, Warning, look_at_disk};
pub use upload::Fate;
