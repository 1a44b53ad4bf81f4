//! The architecture in the manifest: from the command line, from the user, or that of the machine.

use crate::context::Context;
use crate::failure::Failure;
use crate::prompt;

/// The architectures of EC2's instance store-backed images.
const SUPPORTED: [&str; 2] = ["i386", "x86_64"];

impl Context {
    /// Settles the architecture as the older suite does: asks for one that is missing, and for confirmation of one that EC2 does not know.
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

/// Refuses an architecture that is blank: readers of manifests take blanks off and find nothing.
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
