//! What the commands that migrate bundles to another region share: options, mapping of kernels, the new manifest.
//!
//! A migrated manifest names the kernel and RAM disk of another region, is signed anew, and, where that region is in another partition
//! of AWS, has its key encrypted for that partition's certificate.
//!
//! - [`MigrationOptions`]: keys, kernel, RAM disk. [`signed_manifest`]: reads one whose signature holds.
//! - [`Target`]: where it is to go. [`Target::devices`] asks EC2; [`Signer`] writes the new manifest.
//!
//! Not here: how EC2 is asked (`ami-ec2`), and where manifests are (`bin/`).

mod devices;
mod options;
mod signer;
mod source;

pub use devices::{Devices, REGION_ENDPOINT, Target};
pub use options::MigrationOptions;
pub use signer::Signer;
pub use source::signed_manifest;
