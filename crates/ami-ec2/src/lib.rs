//! EC2's API, as far as migrating bundles needs it: regions, kernels, RAM disks.
//!
//! Kernels and RAM disks are images of one region, with an ID of its own in each. [`Ec2::counterparts`] finds those of another region
//! that have the same owner, type and location. EC2's Query protocol is spoken here
//! (`query.rs`), since AWS's own client takes gigabytes of memory to compile.
//!
//! Not here: manifests (`ami-manifest`), and what to do if no counterpart is found (`ami-transfer`).

mod actions;
mod connection;
mod counterparts;
mod endpoint;
mod error;
mod query;

pub use connection::{Ec2, RegionEndpoint};
pub use error::Error;
