//! `ec2-ami verify`.

use std::path::PathBuf;

use ami_bundle::{Check, Running, VerifyRequest, verify_bundle};
use ami_cli::{CheckReport, Context, Failure, Story, values};
use ami_transfer::VerifyInS3;
use clap::Args;

use crate::bundle_outcome::failure;
use crate::bundles::{self, BUNDLE, From, Reading};
use crate::exit;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundle's manifest: s3://BUCKET/FOLDER/NAME.manifest.xml, or a file
    #[arg(value_name = "FROM", value_parser = bundles::from, help_heading = BUNDLE)]
    from: From,
    /// Check the whole stream with this private key
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, help_heading = BUNDLE)]
    privatekey: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let Arguments {
        from,
        privatekey,
        reading,
    } = arguments;
    if let Some(path) = &reading.cert {
        context.warn_of_certificate(path);
    }
    let threads = reading.running.threads();
    match from {
        From::S3(manifest) => {
            let request = VerifyInS3 {
                s3: reading.s3(context)?,
                bucket: manifest.bucket,
                manifest: manifest.file,
                private_key: privatekey,
                certificate: reading.cert,
            };
            bundles::run(
                context,
                async |reporter| ami_transfer::verify(&request, threads, reporter).await,
                |checks| report(&checks, context),
            )
        }
        From::Disk(manifest) => {
            let request = VerifyRequest {
                parts: reading.folder(&manifest),
                manifest: manifest.clone(),
                certificate: reading.cert,
                key: privatekey,
            };
            let story = Story::of_manifest(&manifest, context);
            let running = Running {
                threads,
                events: &|event| story.tell(&event),
                interrupted: context.interrupted(),
            };
            let checks = verify_bundle(&request, &running);
            report(&checks.map_err(|error| failure(error.into()))?, context)
        }
    }
}

fn report(checks: &[Check], context: &Context) -> Result<(), Failure> {
    let report = CheckReport::new(checks, context);
    report.print(context)?;
    match report.holds {
        true => Ok(()),
        false => Err(Failure::silent(exit::SOURCE)),
    }
}
