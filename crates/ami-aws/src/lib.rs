//! What every request to AWS needs: credentials, HTTP, regions, endpoints, retries, and the meaning of errors. The clients of all services
//! use it.
//!
//! - [`Aws::open`]: finds the credentials of an [`Identity`]; the services' clients are built on it.
//! - [`Aws::perform`] with a [`Policy`]: the only place that retries.
//! - [`verdict()`]: which errors are permanent and which may pass; a service can add to the table.
//! - [`ServiceError`], [`RequestError`]: a service's error, and everything else that can fail a request.
//! - [`Rpc`]: a signed POST, for the services whose protocol is no more than that.
//! - [`EndpointSettings`], [`Service`]: the servers and kinds of endpoints that the environment and profiles configure, and AWS's own.
//! - [`document()`]: one document over HTTPS, without credentials.
//! - [`is_region`], [`Partition`]: names of regions, and the partitions that they belong to.
//!
//! Not here: the services themselves (`ami-s3`, `ami-ec2`, `ami-account`).

mod aws;
mod credentials;
mod document;
mod endpoint;
mod error;
mod http;
mod identity_cache;
mod retry;
mod rpc;
mod service;
mod service_error;
mod verdict;

pub use ami_region::{DEFAULT_REGION, Partition, is_region};
pub use aws::Aws;
pub use credentials::{Identity, Role};
pub use document::{DocumentError, document};
pub use endpoint::{ConfiguredEndpoint, EndpointKind, EndpointSettings};
pub use error::Error;
pub use http::{Clients, clients};
pub use retry::{Ended, Failed, Policy};
pub use rpc::{Call, Refused, Rpc};
pub use service::{Service, is_label};
pub use service_error::{RequestError, ServiceError, root_cause};
pub use verdict::{Verdict, verdict};

/// The application's name in the `User-Agent` of requests.
pub const APP_NAME: &str = "ec2-ami-tools";
