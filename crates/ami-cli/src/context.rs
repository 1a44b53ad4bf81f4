//! What a command's story needs of its surroundings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use ami_parts::Staging;
use serde::Serialize;

use crate::failure::{Failure, OrExit, exit};
use crate::interrupt;
use crate::print::{print_line, print_text, tell_line};
use crate::prompt::{self, Answer};
use crate::sweeper::Sweeper;

/// A command's surroundings: how it speaks, whether it may ask, and who cleans up if it is killed.
#[derive(Debug)]
pub struct Context {
    pub(crate) batch: bool,
    pub(crate) quiet: bool,
    sweepers: Mutex<BTreeMap<PathBuf, Sweeper>>,
}

impl Context {
    pub(crate) fn new(batch: bool, quiet: bool) -> Self {
        Self {
            batch,
            quiet,
            sweepers: Mutex::default(),
        }
    }

    /// Makes a private folder in `destination`, which goes away with this command, however it ends.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn staging(&self, destination: &Path) -> Result<Staging, ami_parts::Error> {
        let absolute = std::fs::canonicalize(destination)
            .map_err(ami_parts::Error::io("open", destination))?;
        let mut sweepers = self.sweepers.lock().unwrap_or_else(PoisonError::into_inner);
        if !sweepers.contains_key(&absolute)
            && let Some(sweeper) = Sweeper::start(&absolute)
        {
            let _ = sweepers.insert(absolute, sweeper);
        }
        Staging::new(destination)
    }

    /// Prints a status line, unless the command prints JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn say(&self, line: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        print_line(line)
    }

    /// Prints the result as one JSON object.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print_json(&self, result: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(result).or_exit(exit::OTHER)?;
        print_text(&format!("{text}\n"))
    }

    /// Prints a warning on standard error. It is one line, like every status line: what is in it that a terminal would obey, or
    /// that would end the line, is shown as an escape.
    pub fn warn(&self, line: &str) {
        tell_line(line);
    }

    /// Asks whether to go on in spite of a warning, unless nothing may be asked.
    ///
    /// # Errors
    /// The person does not want to, or does not answer.
    pub fn confirm_to_go_on(&self) -> Result<(), Failure> {
        if self.batch {
            return Ok(());
        }
        prompt::confirm_to_go_on()
    }

    /// Asks a yes-or-no question, even where else nothing may be asked.
    ///
    /// # Errors
    /// Standard input or output cannot be used; it was interrupted.
    pub fn confirm(&self, question: &str) -> Result<Answer, Failure> {
        prompt::confirm(question)
    }

    /// Whether nothing may be asked that has a default.
    pub fn is_batch(&self) -> bool {
        self.batch
    }

    /// The flag that SIGINT and SIGTERM raise.
    pub fn interrupted(&self) -> &'static AtomicBool {
        interrupt::flag()
    }
}
