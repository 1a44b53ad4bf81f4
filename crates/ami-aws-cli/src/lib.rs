//! What the commands that ask AWS share: whose credentials, waiting, interruption.
//!
//! - [`CredentialOptions`], [`Secret`]: who asks.
//! - [`block_on`], [`unless_interrupted`]: waiting for answers, until the person has had enough.
//! - [`failure`]: which exit code it has when no service can be asked.
//!
//! Not here: how services are reached (`ami-aws`), S3 (`ami-s3-cli`), EC2 (`ami-migration`).

mod credentials;
mod wait;

pub use credentials::{CredentialOptions, Secret, failure};
pub use wait::{TICK, block_on, unless_interrupted};
