//! What a command's story needs of its surroundings.

use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::failure::{Failure, OrExit, exit};
use crate::interrupt;
use crate::print::print;

/// A command's surroundings: how it speaks and whether it may ask.
#[derive(Debug)]
pub struct Context {
    pub(crate) batch: bool,
    pub(crate) quiet: bool,
}

impl Context {
    /// Prints a status line, unless the command prints JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn say(&self, line: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        print(&format!("{line}\n"))
    }

    /// Prints the result as one JSON object.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print_json(&self, result: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(result).or_exit(exit::OTHER)?;
        print(&format!("{text}\n"))
    }

    /// Prints a warning on standard error.
    pub fn warn(&self, line: &str) {
        // Where that cannot be written, there is nobody to warn.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// The flag that SIGINT and SIGTERM raise.
    pub fn interrupted(&self) -> &'static AtomicBool {
        interrupt::flag()
    }
}
