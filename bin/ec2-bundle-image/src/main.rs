//! Makes an EC2 bundle of a disk image.

mod args;

use std::process::ExitCode;

use ami_cli::{BundlePlan, Context, Failure, Inheritance, OrExit, Source, exit};

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, bundle)
}

fn bundle(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let path = arguments.image;
    let architecture = context.architecture(arguments.bundle.arch.as_deref())?;
    let metadata = std::fs::metadata(&path).or_exit(exit::OTHER)?;
    if metadata.is_file() {
        BundlePlan::check_size(&path, metadata.len(), &arguments.bundle)?;
    }
    context.say("Bundling image file...")?;
    context.warn_of_certificate(&arguments.identity.cert);
    let plan = BundlePlan::new(
        &path,
        architecture,
        &arguments.identity,
        &arguments.bundle,
        Inheritance::default(),
    )?;
    let source = Source::File(&path);
    let report = plan.run(source, &arguments.running, &arguments.compression, context)?;
    let said = if context.is_json() {
        context.print_json(&report)
    } else {
        context.say("ec2-bundle-image complete.")
    };
    said.map_err(|failure| failure.after(report.manifest()))
}
