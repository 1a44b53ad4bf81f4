//! What the commands that use AWS share: options, waiting, status lines, exit codes.
//!
//! - [`CredentialOptions`], [`AccountOptions`], [`S3Options`], [`PlaceOptions`], [`MigrationOptions`]: groups of options.
//! - [`run`]: runs a story of `ami-transfer` until it ends or the user interrupts it. Its [`Reporter`] prints what happens.
//! - [`block_on`], [`block_on_one_thread`], [`ticking`]: the runtime in which stories of other crates wait.
//! - `lines.rs` has the status lines and warnings, of which other commands use [`warn`] and [`warn_of_bucket`]; `outcome.rs` the exit codes of errors; [`advice()`] what to do about them.
//!
//! Not here: what the commands do (`ami-transfer`), and what only one of them has (`bin/`).

mod advice;
mod credentials;
mod lines;
mod migration;
mod outcome;
mod place;
mod reporter;
mod s3;
mod wait;

pub use advice::advice;
pub use credentials::{AccountOptions, CredentialOptions, Secret};
pub use lines::{warn, warn_of_bucket};
pub use migration::MigrationOptions;
pub use place::PlaceOptions;
pub use reporter::{Reporter, run};
pub use s3::S3Options;
pub use wait::{block_on, block_on_one_thread, ticking};
