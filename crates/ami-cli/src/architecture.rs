//! The architecture in the manifest: from the command line, from the user, or the machine's.

use crate::context::Context;
use crate::failure::Failure;
use crate::prompt;

/// The architectures of EC2's instance store-backed images.
const SUPPORTED: [&str; 2] = ["i386", "x86_64"];

impl Context {
    /// Determines the architecture as the older suite does: asks for a missing one, and for confirmation of one that EC2 does not know.
    ///
    /// # Errors
    /// No answer in time, an interruption, or a "no", which ends the command with exit code 0.
    pub fn architecture(&self, given: Option<&str>) -> Result<String, Failure> {
        let machine = machine();
        let architecture = match given {
            Some(given) => given.to_owned(),
            None if self.batch => machine.to_owned(),
            None => {
                let question = format!("Please specify a value for arch [{machine}]: ");
                prompt::ask("arch", &question, machine, self.interrupted())?
            }
        };
        check_architecture(&architecture)?;
        if !SUPPORTED.contains(&architecture.as_str()) {
            self.warn(&format!("Unsupported architecture [{architecture}]."));
            self.confirm_to_go_on()?;
        }
        Ok(architecture)
    }
}

/// Refuses a blank architecture: readers of manifests strip blanks and would find nothing.
///
/// # Errors
/// A wrong command line.
pub fn check_architecture(architecture: &str) -> Result<(), Failure> {
    if architecture.trim().is_empty() {
        return Err(Failure::usage(
            "the architecture is blank: give one with --arch",
        ));
    }
    Ok(())
}

/// The machine's architecture, as EC2 names it.
fn machine() -> &'static str {
    let machine = rustix::system::uname();
    match machine.machine().to_bytes() {
        b"i386" | b"i486" | b"i586" | b"i686" => "i386",
        b"aarch64" => "arm64",
        _ => "x86_64",
    }
}
