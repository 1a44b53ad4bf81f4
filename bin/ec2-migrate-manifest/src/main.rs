//! Rewrites the manifest of an EC2 bundle for another region.

mod args;
mod replace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ami_aws_cli::{block_on, unless_interrupted};
use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::ParsedManifest;
use ami_migration::{Signer, Target, signed_manifest};
use serde::Serialize;

use crate::args::{Arguments, DEFINITION};
use crate::replace::Replacement;

/// What was migrated, for `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    manifest: PathBuf,
    backup: &'a Path,
    region: Option<&'a str>,
    kernel_id: Option<String>,
    ramdisk_id: Option<String>,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, migrate)
}

fn migrate(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    if !arguments.migration.no_mapping {
        check_mapping(&arguments)?;
    }
    block_on(async { unless_interrupted(context, story(&arguments, context)).await? })
}

async fn story(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let path = arguments.manifest.clone();
    let shown = path.display().to_string();
    let (options, region) = (&arguments.migration, arguments.region());
    let certificate = options.certificate()?;
    let bytes = ParsedManifest::read_file(&path).or_exit(exit::OTHER)?;
    let manifest = signed_manifest(&bytes, &shown, &certificate)?;
    let replacement = Replacement::prepare(&path, bytes)?;
    let target = Target::new(
        options,
        region.unwrap_or_default(),
        &manifest.machine,
        || arguments.credentials.identity(context),
        true,
    );
    let target = target.await?;

    context.say("Backing up manifest...")?;
    replacement.check_writable()?;
    let signer = Signer::new(options, &certificate, region)?;
    let devices = target.devices(context).await?;
    let migrated = signer.sign(manifest, devices.clone())?;
    replacement.replace(&migrated, context)?;
    let said = if context.is_json() {
        context.print_json(&Report {
            manifest: path.clone(),
            backup: replacement.backup(),
            region,
            kernel_id: devices.kernel,
            ramdisk_id: devices.ramdisk,
        })
    } else {
        let region = region.unwrap_or_default();
        context
            .say(&format!("Successfully migrated {shown}"))
            .and_then(|()| context.say(&format!("It is now suitable for use in {region}.")))
    };
    said.map_err(|failure| failure.after(&path))
}

/// Keys that are not given are looked for when they are needed; half of a pair is a mistake.
fn check_mapping(arguments: &Arguments) -> Result<(), Failure> {
    let missing = match arguments.region() {
        None => Some("region"),
        Some(_) => arguments.credentials.missing(),
    };
    match missing {
        None => Ok(()),
        Some(name) => Err(Failure::usage(format!(
            "If using automatic mapping, --{name} must be provided."
        ))),
    }
}
