//! Rewrites the manifest of an EC2 bundle for another region.

mod args;

use std::process::ExitCode;

use ami_cli::{Context, Failure};
use ami_transfer::{MigrateManifest, MigratedManifest};

use crate::args::{Arguments, DEFINITION};

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, migrate)
}

fn migrate(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    arguments.check_mapping()?;
    let options = &arguments.migration;
    let find_ec2_certificate = |region: Option<&str>| options.ec2_certificate(region);
    ami_remote_cli::run(
        context,
        async |reporter| {
            let request = MigrateManifest {
                manifest: arguments.manifest.clone(),
                region: arguments.region().map(str::to_owned),
                migration: options.settings(&find_ec2_certificate, context),
                identity: &|| reporter.or_stop(arguments.credentials.identity(context)),
            };
            ami_transfer::migrate_manifest(&request, reporter).await
        },
        |migrated| {
            let reported = report(&migrated, context);
            reported.map_err(|failure| failure.after(&migrated.manifest))
        },
    )
}

fn report(migrated: &MigratedManifest, context: &Context) -> Result<(), Failure> {
    if context.is_json() {
        return context.print_json(migrated);
    }
    let (manifest, region) = (migrated.manifest.display(), &migrated.region);
    context.say(&format!("Successfully migrated {manifest}"))?;
    let region = region.as_deref().unwrap_or_default();
    context.say(&format!("It is now suitable for use in {region}."))
}
