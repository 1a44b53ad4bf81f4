//! Writing to standard output, each piece at once: scripts read the lines as they come.

use std::io::{self, Write};

use crate::failure::{Failure, OrExit, exit};

/// Writes text as it is.
///
/// A reader that has gone away is no reason to give up a bundle that is half done.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.or_exit(exit::OTHER),
    }
}
