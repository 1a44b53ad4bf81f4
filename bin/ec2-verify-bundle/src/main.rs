//! Checks an EC2 bundle and reports each result.

mod args;

use std::process::ExitCode;

use ami_bundle::{Running, VerifyRequest, verify_bundle};
use ami_cli::{CheckReport, Context, Failure, Story, exit};
use ami_files::folder_of;

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, verify)
}

fn verify(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let manifest = arguments.manifest;
    if let Some(path) = &arguments.cert {
        context.warn_of_certificate(path);
    }
    let parts = arguments.source;
    let parts = parts.unwrap_or_else(|| folder_of(&manifest).to_owned());
    let request = VerifyRequest {
        manifest: manifest.clone(),
        parts,
        certificate: arguments.cert,
        key: arguments.privatekey,
    };
    let story = Story::of_manifest(&manifest, context);
    let checks = verify_bundle(
        &request,
        &Running {
            threads: arguments.running.threads(),
            events: &|event| story.tell(&event),
            interrupted: context.interrupted(),
        },
    );
    let report = CheckReport::new(&checks.map_err(Failure::of_unbundling)?, context);
    report.print(context)?;
    if report.holds {
        Ok(())
    } else {
        Err(Failure::silent(exit::OTHER))
    }
}
