//! S3 servers that misbehave.

mod answers;
mod metadata;
mod places;
mod replaced;
