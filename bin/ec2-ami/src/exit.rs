//! The command's exit codes. It is younger than the older suite and has its own.

/// A wrong command line.
pub const USAGE: u8 = 1;
/// What an AMI is to be made of, or what is asked for, cannot be used as it is.
pub const SOURCE: u8 = 2;
/// AWS refuses, or cannot be reached.
pub const SERVICE: u8 = 3;
/// The AMI is made, but not all that was to follow.
pub const UNFINISHED: u8 = 4;
/// The answer to a question was no, or there was none.
pub const DECLINED: u8 = 5;
/// Anything else.
pub const OTHER: u8 = 254;
