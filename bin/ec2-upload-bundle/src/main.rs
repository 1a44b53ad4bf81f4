//! Uploads an EC2 bundle to S3.

mod args;

use std::process::ExitCode;

use ami_cli::{Context, Failure};
use ami_transfer::Uploaded;

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, upload)
}

fn upload(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let request = arguments.request(context)?;
    ami_remote_cli::run(
        context,
        async |reporter| ami_transfer::upload(&request, reporter).await,
        |uploaded| report(&uploaded, context),
    )
}

fn report(uploaded: &Uploaded, context: &Context) -> Result<(), Failure> {
    if let Some(location) = &uploaded.manifest {
        context.say("Uploaded manifest.")?;
        context.say(&format!("Manifest uploaded to: {location}"))?;
    }
    if context.is_json() {
        return context.print_json(uploaded);
    }
    context.say("Bundle upload completed.")
}
