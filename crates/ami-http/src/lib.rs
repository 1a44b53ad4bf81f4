//! Limits on what an HTTP client of the AWS SDK reads into memory.
//!
//! The SDK reads errors and all answers except S3's objects into memory, however long they are, before it parses them. A server, or
//! somebody between it and this machine, must not be able to exhaust memory, or to keep a command waiting by sending a byte now and then.
//!
//! - [`Limited`]: wraps a client; an answer that is too large or too slow fails.
//! - [`TooMuch`]: that failure, which is among the sources of the SDK's error.
//!
//! Not here: limits on what is streamed to a file, which its writer sets.

mod body;
mod client;

pub use body::TooMuch;
pub use client::Limited;
