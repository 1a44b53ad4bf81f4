//! Prints the version. As in the older suite, arguments do not matter.

use std::io::Write;
use std::process::ExitCode;

use ami_cli::{COMPATIBLE_VERSION, OWN_VERSION};

fn main() -> ExitCode {
    let text = format!("{COMPATIBLE_VERSION}\n{OWN_VERSION}\n");
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
