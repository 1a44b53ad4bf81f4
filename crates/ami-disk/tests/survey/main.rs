//! What the crate promises, with file systems that the real programs made: what is called free can be overwritten, and nothing
//! that is damaged, in use, or hostile makes it fail. Needs root: file systems are mounted.

mod boot;
mod btrfs;
mod ext;
mod hostile;
mod image;
mod passing;
mod tables;
mod xfs;
