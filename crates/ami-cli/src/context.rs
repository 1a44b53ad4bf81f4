//! A command's environment.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use ami_parts::{Prepared, Staging, Waiting};
use serde::Serialize;

use crate::definition::{Advise, Definition};
use crate::failure::{Failure, OrExit, advised_line, bare_line, exit};
use crate::print::{print_line, print_text, tell_line};
use crate::prompt::{self, Answer};
use crate::sweeper::Sweeper;

/// A command's environment: how it prints, whether it may ask, and what cleans up if it is killed.
#[derive(Debug)]
pub struct Context {
    pub(crate) batch: bool,
    json: bool,
    advise: Advise,
    interrupted: Arc<AtomicBool>,
    sweepers: Mutex<Vec<Sweeper>>,
}

impl Context {
    /// The command ends early when `interrupted` is set.
    pub(crate) fn new(
        definition: &Definition,
        batch: bool,
        json: bool,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            // A question on standard output would spoil the JSON.
            batch: batch || json,
            json,
            advise: definition.advise,
            interrupted,
            sweepers: Mutex::default(),
        }
    }

    /// Makes a private folder in `destination`, which is removed when this command ends, however it ends.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn staging(&self, destination: &Path) -> Result<Staging, ami_parts::Error> {
        self.make(Prepared::new(destination)?)
    }

    /// Makes or reopens the private folder of this `id` in `destination`, which the next run of the same `id` can resume. `None`:
    /// another run is using it.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn kept_staging(
        &self,
        destination: &Path,
        id: &str,
    ) -> Result<Option<Staging>, ami_parts::Error> {
        let prepared = Prepared::kept(destination, id)?;
        prepared.map(|prepared| self.make(prepared)).transpose()
    }

    fn make(&self, prepared: Prepared) -> Result<Staging, ami_parts::Error> {
        let staging = self.make_swept(prepared)?;
        self.warn_of_saved(&staging.saved()?);
        Ok(staging)
    }

    /// Starts a sweeper, and makes a private folder, which the sweeper removes if this command is killed.
    ///
    /// # Errors
    /// The destination cannot be read or written.
    pub fn make_swept(&self, prepared: Prepared) -> Result<Staging, ami_parts::Error> {
        // The sweeper first, so that the folder is never without one.
        if let Some(sweeper) = Sweeper::start(&prepared) {
            let sweepers = self.sweepers.lock();
            sweepers
                .unwrap_or_else(PoisonError::into_inner)
                .push(sweeper);
        }
        prepared.make(self.waiting())
    }

    /// Warns about folders with older files that could not be restored.
    pub fn warn_of_saved(&self, folders: &[PathBuf]) {
        for folder in folders {
            self.warn(&format!(
                "WARNING: {} has files of an interrupted run that could not be restored because their names were taken: move them where they belong, or remove it.",
                folder.display()
            ));
        }
    }

    /// How this command waits for other runs: with a message, until it is interrupted.
    pub fn waiting(&self) -> Waiting<'_> {
        Waiting {
            interrupted: &self.interrupted,
            tell: &tell_of_waiting,
        }
    }

    /// Prints a status line, unless the command prints JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn say(&self, line: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        print_line(line)
    }

    /// Whether the result is printed as JSON, in place of the status lines.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result as one JSON object.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print_json(&self, result: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(result).or_exit(exit::OTHER)?;
        print_text(&format!("{text}\n"))
    }

    /// Prints a warning on standard error, on one line, with control characters escaped.
    pub fn warn(&self, line: &str) {
        tell_line(line);
    }

    /// An error, its causes and this command's advice, on one line.
    pub fn explained(&self, error: &(dyn Error + 'static)) -> String {
        advised_line(error, self.advise)
    }

    /// A failure with this command's advice, on one line.
    pub fn told(&self, failure: &Failure) -> String {
        bare_line(failure, self.advise)
    }

    /// Asks whether to continue despite a warning, unless nothing may be asked.
    ///
    /// # Errors
    /// The user declined, or did not answer.
    pub fn confirm_to_go_on(&self) -> Result<(), Failure> {
        if self.batch {
            return Ok(());
        }
        prompt::confirm_to_go_on(&self.interrupted)
    }

    /// Asks a yes-or-no question, even with `--batch`.
    ///
    /// # Errors
    /// Standard input or output cannot be used; an interruption.
    pub fn confirm(&self, question: &str) -> Result<Answer, Failure> {
        prompt::confirm(question, &self.interrupted)
    }

    /// Whether questions that have a default must not be asked.
    pub fn is_batch(&self) -> bool {
        self.batch
    }

    /// The flag that SIGINT and SIGTERM set.
    pub fn interrupted(&self) -> &AtomicBool {
        &self.interrupted
    }
}

fn tell_of_waiting(folder: &Path) {
    tell_line(&format!(
        "Waiting for another run to finish with {} ...",
        folder.display()
    ));
}
