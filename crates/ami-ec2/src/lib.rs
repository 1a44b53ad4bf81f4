//! EC2's API, as far as migrating bundles needs it: regions, kernels, RAM disks.
//!
//! Kernels and RAM disks are images of one region, with an ID of its own in each. [`Ec2::counterparts`] finds those of another region
//! that have the same owner, type and location. This crate is apart because the SDK takes minutes to compile.
//!
//! Not here: what a manifest says (`ami-manifest`), and what is done about what is not found (`ami-migration`).

mod connection;
mod counterparts;
mod error;

pub use connection::{Ec2, RegionEndpoint};
pub use error::Error;
