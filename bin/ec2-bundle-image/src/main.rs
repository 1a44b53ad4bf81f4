//! Makes an EC2 bundle of a disk image.

mod args;

use std::process::ExitCode;

use ami_bundle::{Problems, check_size};
use ami_cli::{Bundling, Context, Failure, InstanceMetadata, OrExit, Source, exit};

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, bundle)
}

fn bundle(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let path = arguments.image;
    let options = &arguments.bundle;
    let architecture = context.architecture(options.manifest.arch.as_deref())?;
    let metadata = std::fs::metadata(&path).or_exit(exit::OTHER)?;
    if metadata.is_file() {
        let checked = check_size(&path, metadata.len(), !options.manifest.no_size_checks);
        checked.map_err(|problem| Failure::of_bundling(Problems::from(problem)))?;
    }
    context.say("Bundling image file...")?;
    context.warn_of_certificate(&arguments.identity.keys.cert);
    let bundling = Bundling::new(
        &path,
        architecture,
        &arguments.identity,
        options,
        &arguments.compression,
        InstanceMetadata::default(),
    );
    let bundling = bundling.map_err(Failure::of_bundling)?;
    let report = bundling.run(Source::File(&path), &arguments.running, context)?;
    let said = if context.is_json() {
        context.print_json(&report)
    } else {
        context.say("ec2-bundle-image complete.")
    };
    said.map_err(|failure| failure.after(report.manifest()))
}
