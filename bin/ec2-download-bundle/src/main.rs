//! Downloads an EC2 bundle from S3.

mod args;

use std::process::ExitCode;

use ami_cli::{Context, Failure};

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, download)
}

fn download(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let request = arguments.request(context)?;
    ami_remote_cli::run(
        context,
        async |reporter| ami_transfer::download(&request, reporter).await,
        |downloaded| {
            if !context.is_json() {
                return Ok(());
            }
            let printed = context.print_json(&downloaded);
            printed.map_err(|failure| failure.after(&downloaded.manifest))
        },
    )
}
