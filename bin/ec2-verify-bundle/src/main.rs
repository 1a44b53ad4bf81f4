//! Says of an EC2 bundle what holds and what does not.

mod args;
mod checks;

use std::process::ExitCode;

use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::{Certificate, PrivateKey};

use crate::args::{Arguments, DEFINITION};
use crate::checks::Checks;

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, verify)
}

fn verify(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let manifest = arguments.manifest;
    if let Some(path) = &arguments.cert {
        context.warn_of_certificate(path);
    }
    let certificate = arguments.cert.as_deref().map(Certificate::load);
    let certificate = certificate.transpose().or_exit(exit::OTHER)?;
    let key = arguments.privatekey.as_deref().map(PrivateKey::load);
    let key = key.transpose().or_exit(exit::OTHER)?;
    let folder = arguments.source.unwrap_or_else(|| match manifest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => ".".into(),
    });

    let checks = Checks::run(
        &manifest,
        &folder,
        certificate.as_ref(),
        key.as_ref(),
        arguments.running.threads(),
        context,
    )?;
    if context.is_json() {
        context.print_json(&checks)?;
    } else {
        for line in checks.lines() {
            context.say(&line)?;
        }
    }
    if checks.holds {
        Ok(())
    } else {
        Err(Failure::silent(exit::OTHER))
    }
}
