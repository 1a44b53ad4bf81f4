//! Bundles in S3: the connection, buckets and objects.
//!
//! The AWS SDK sends the requests. This crate adds where a bucket is, what is retried and for how long, what servers other than AWS's
//! need, and typed errors. It is a crate of its own because the SDK takes minutes to compile.
//!
//! - [`Connection::open`] with [`Settings`]: credentials, region, signature, retries. [`Event`]s report what happens meanwhile.
//! - [`BucketPath`], [`Location`], [`Endpoint`]: where a bundle is. [`Bucket`]: the operations there.
//! - [`in_order()`]: several transfers at once, reported in order.
//!
//! Not here: credentials and HTTP (`ami-aws`), the bundle and its manifest (`ami-manifest`, `ami-parts`), and what the commands print
//! (`ami-remote-cli`).

mod address;
mod bucket;
mod connection;
mod copy;
mod download;
mod error;
mod etag;
mod event;
mod held;
mod listing;
mod object;
mod operation;
mod outgoing;
mod parallel;
mod redirect;
mod sigv2;
mod watch;

pub use address::{BucketPath, Endpoint, Location, NoBucket};
pub use connection::{Bucket, Connection, Settings, Signature};
pub use download::{Arrived, Expected, HALF};
pub use error::Error;
pub use event::Event;
pub use held::{Archive, Held};
pub use object::{Acl, Fingerprint};
pub use outgoing::Content;
pub use parallel::in_order;
