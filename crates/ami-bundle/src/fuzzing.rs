//! The internals that the targets in fuzz/ call. Not part of the crate's interface.

use crate::error::Error;
use crate::gunzip;
use crate::tar::read::{Member, Receiver, TarReader};

/// The member of a tar stream, as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Untarred {
    /// The member's name.
    pub name: String,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// Its data without the holes.
    pub data: Vec<u8>,
    /// Where each run of data begins and ends.
    pub runs: Vec<(u64, u64)>,
}

impl Receiver for Untarred {
    fn begin(&mut self, member: &Member) -> Result<(), Error> {
        self.name.clone_from(&member.name);
        self.size = member.size;
        Ok(())
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        // Adjacent runs are merged, because their boundaries depend on how the stream was fed.
        match self.runs.last_mut() {
            Some((_, end)) if *end == offset => *end += bytes.len() as u64,
            _ => self.runs.push((offset, offset + bytes.len() as u64)),
        }
        self.data.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads a tar stream in pieces of `step` bytes.
///
/// # Errors
/// As unbundling.
pub fn read_tar(stream: &[u8], step: usize) -> Result<Untarred, Error> {
    let mut reader = TarReader::new(Untarred {
        name: String::new(),
        size: 0,
        data: Vec::new(),
        runs: Vec::new(),
    });
    for piece in stream.chunks(step) {
        reader.push(piece)?;
    }
    Ok(reader.finish()?.1)
}

/// Inflates gzip data as unbundling does: each piece on its own, then all of them in order.
///
/// # Errors
/// As unbundling.
pub fn gunzip(compressed: &[u8]) -> Result<Vec<u8>, Error> {
    gunzip::gunzip(compressed)
}
