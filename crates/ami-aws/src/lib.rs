//! What S3 and EC2 are both reached with: credentials, HTTP, regions, errors.
//!
//! - [`resolve`]: credentials that were given, or the SDK's chain. [`clients`]: TLS with the right roots, proxies, and
//!   limits on what answers.
//! - [`is_region`], [`Partition`]: names of regions, and what they are part of.
//! - [`ServiceError`], [`RequestError`]: what a service says of an error, and what else is in the way.
//!
//! Not here: the services themselves (`ami-s3`, `ami-ec2`), whose SDKs take minutes to compile.

mod credentials;
mod error;
mod http;
mod service_error;

pub use ami_region::{DEFAULT_REGION, Partition, is_region};
pub use credentials::{Identity, Resolved, resolve};
pub use error::Error;
pub use http::{Clients, clients, environment_endpoint, environment_endpoint_kind};
pub use service_error::{RequestError, ServiceError, connection_problem, root_cause};

/// What services are told that asks.
pub const APP_NAME: &str = "ec2-ami-tools";
