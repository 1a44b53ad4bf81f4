//! S3 servers that do what they should not.

mod answers;
mod metadata;
mod places;
mod replaced;
