//! Limits on what an HTTP client of the AWS SDK reads into memory.
//!
//! The SDK reads errors and all answers but objects of S3 as a whole, however long they are, before it looks at them. A server, or
//! whoever sits on the way to it, must not fill this machine's memory, nor keep a command waiting with a byte now and then.
//!
//! - [`Limited`]: a client like another one, whose answers end with an error where they are too much or too slow.
//! - [`TooMuch`]: that error, which the SDK hands through as a source of its own.
//!
//! Not here: what is streamed to a file, which whoever writes it limits.

mod body;
mod client;

pub use body::TooMuch;
pub use client::Limited;
