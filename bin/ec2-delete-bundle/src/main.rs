//! Deletes an EC2 bundle from S3.

mod args;

use std::process::ExitCode;

use ami_cli::{Context, Failure};

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, delete)
}

fn delete(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let request = arguments.request(context)?;
    ami_remote_cli::run(
        context,
        async |reporter| ami_transfer::delete(&request, reporter).await,
        |deleted| {
            if context.is_json() {
                return context.print_json(&deleted);
            }
            context.say("ec2-delete-bundle complete.")
        },
    )
}
