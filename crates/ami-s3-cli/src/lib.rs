//! What the commands that talk to S3 share: options, connection, reporting.
//!
//! - [`S3Options`]: who asks, where, and how many things at once. [`PlaceOptions`]: where a bundle is put.
//! - [`talk`]: opens the [`Session`] in which a command's story runs, and tells of retries, progress and interruption meanwhile.
//! - [`OlderManifests`]: which go before their parts are replaced.
//! - [`failure`]: which exit code an error of S3 has.
//!
//! Not here: credentials and waiting (`ami-aws-cli`), how S3 is talked to (`ami-s3`), and each command's story (`bin/`).

mod older;
mod options;
mod place;
mod session;

pub use older::OlderManifests;
pub use options::S3Options;
pub use place::{PlaceOptions, warn_of_name};
pub use session::{Session, failure, talk};
