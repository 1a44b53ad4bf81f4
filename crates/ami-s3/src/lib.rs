//! Bundles in S3: the connection, buckets and objects.
//!
//! The AWS SDK does the talking; here is what the suite adds to it: where a bucket is, what is worth
//! another try and how long, what is sent to servers that are not AWS's, and errors that say what to do. This crate is apart because
//! the SDK takes minutes to compile.
//!
//! - [`Connection::open`] with [`Settings`]: credentials, region, signature, retries. [`Event`]s tell of what happens on the way.
//! - [`BucketPath`], [`Location`], [`Endpoint`]: where a bundle is. [`Bucket`]: what can be done there.
//! - [`in_order()`]: several transfers at once, told in their order.
//!
//! Not here: credentials and HTTP (`ami-aws`), the bundle and its manifest (`ami-manifest`,
//! `ami-parts`), and what the commands say (`ami-remote-cli`).

mod address;
mod bucket;
mod connection;
mod copy;
mod download;
mod error;
mod etag;
mod event;
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
pub use copy::Held;
pub use download::{Arrived, Expected};
pub use error::Error;
pub use event::Event;
pub use object::{Acl, Fingerprint};
pub use outgoing::Content;
pub use parallel::in_order;
