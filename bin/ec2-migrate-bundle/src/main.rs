//! Copies an EC2 bundle in S3 for another region.

mod args;

use std::process::ExitCode;

use ami_cli::{Context, Failure};
use ami_transfer::MigratedBundle;

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, migrate)
}

fn migrate(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let options = arguments.migration.clone();
    let find_ec2_certificate = |region: Option<&str>| options.ec2_certificate(region);
    let request = arguments.request(&find_ec2_certificate, context)?;
    ami_remote_cli::run(
        context,
        async |reporter| ami_transfer::migrate_bundle(&request, reporter).await,
        |migrated| report(&migrated, context),
    )
}

fn report(migrated: &MigratedBundle, context: &Context) -> Result<(), Failure> {
    if context.is_json() {
        return context.print_json(migrated);
    }
    context.say("")?;
    context.say("Your new bundle is in S3 at the following location:")?;
    context.say(&migrated.manifest)?;
    context.say("Please register it using your favorite EC2 client.")
}
