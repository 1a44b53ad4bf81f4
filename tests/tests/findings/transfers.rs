//! S3 servers that do what they should not.
