//! Bundles that verbs read: where they are, the options for them, and how the stories of `ami-transfer` run.

use std::path::PathBuf;

use ami_cli::{Context, Failure, RunningOptions, values};
use ami_remote_cli::Reporter;
use ami_s3::Settings;
use ami_transfer::Error;
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::access::AccessOptions;
use crate::bundle_outcome::failure;
use crate::in_s3::{self, Manifest};

pub const BUNDLE: &str = "The bundle";

/// A bundle's manifest, in S3 or on disk.
#[derive(Debug, Clone)]
pub enum From {
    S3(Manifest),
    Disk(PathBuf),
}

/// `s3://BUCKET/FOLDER/NAME.manifest.xml`, or a file.
pub fn from(text: &str) -> Result<From, String> {
    match in_s3::is_address(text) {
        true => in_s3::manifest(text).map(From::S3),
        false => values::existing_file(text).map(From::Disk),
    }
}

/// How a bundle is read.
#[derive(Debug, Args)]
pub struct Reading {
    /// Check that the owner of this certificate signed the manifest
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, help_heading = BUNDLE)]
    pub cert: Option<PathBuf>,
    /// The folder with the parts of a bundle on disk [default: the manifest's]
    #[arg(short = 's', long, value_name = "DIR", value_parser = values::existing_folder, help_heading = BUNDLE)]
    pub source: Option<PathBuf>,
    /// Pay for the requests, where the bucket's owner does not
    #[arg(long, action = SetTrue, help_heading = BUNDLE)]
    requester_pays: bool,
    #[command(flatten)]
    pub running: RunningOptions,
    #[command(flatten)]
    access: AccessOptions,
}

impl Reading {
    /// How S3 is reached.
    pub fn s3(&self, context: &Context) -> Result<Settings, Failure> {
        let access = self.access.access(context)?;
        Ok(Settings {
            requester_pays: self.requester_pays,
            ..self.access.s3(&access)?
        })
    }

    /// The folder with the parts of the bundle with this manifest.
    pub fn folder(&self, manifest: &std::path::Path) -> PathBuf {
        let given = self.source.clone();
        given.unwrap_or_else(|| ami_files::folder_of(manifest).to_owned())
    }
}

/// Runs a story of `ami-transfer`, then `finish`. The exit codes are this command's.
pub fn run<T>(
    context: &Context,
    story: impl AsyncFnOnce(&Reporter<'_>) -> Result<T, Error>,
    finish: impl FnOnce(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let story = async |reporter: &Reporter<'_>| match story(reporter).await {
        Err(Error::Stopped(stopped)) => Err(stopped.into()),
        Err(error) => Ok(reporter.or_stop(Err(failure(error)))?),
        Ok(value) => Ok(value),
    };
    ami_remote_cli::run(context, story, finish)
}
