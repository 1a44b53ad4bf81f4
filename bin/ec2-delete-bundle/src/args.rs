//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::{Context, Definition, Failure, values};
use ami_remote_cli::S3Options;
use ami_transfer::{BundleFiles, Delete};
use clap::ArgAction::SetTrue;

const BUNDLE: &str = "The bundle";

pub const DEFINITION: Definition = Definition {
    name: "ec2-delete-bundle",
    summary: "deletes an EC2 bundle from S3",
    usage: "-b BUCKET (-m MANIFEST | -p NAME) [OPTIONS]",
    notice: None,
    description: &[
        "Shows a bundle's files in S3, asks, and deletes them: with --manifest, the manifest and the parts that it names; with --prefix, all \
        manifests and parts of bundles of that name. Nothing else in the bucket is touched.",
        "Files that the manifest names, but that are not named NAME.part.NUMBER, are deleted only after a separate question, which --yes does \
        not answer. Without an answer they are kept. Hidden files are always kept.",
        "The manifest is deleted first, so that what an interruption leaves does not look like a bundle. An image that was registered from \
        the bundle can no longer be started.",
        "Credentials are found as described in ec2-upload-bundle(1).",
    ],
    exit_codes: &[
        ("0", "The files are deleted; or the answer was no."),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        (
            "3",
            "S3 or the network failed; with --clear, the bucket is not empty.",
        ),
        ("254", "Any other failure: a manifest that cannot be used."),
        ("255", "Interrupted."),
    ],
    files: &[],
    examples: &[
        (
            "Delete the manifest and the files that it names",
            "ec2-delete-bundle -b my-bucket/images -m image.manifest.xml",
        ),
        (
            "Delete by name without asking, and the bucket if that leaves it empty",
            "ec2-delete-bundle -b my-bucket -p image -y --clear",
        ),
    ],
    see_also: &["ec2-upload-bundle(1)", "ec2-download-bundle(1)"],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    ami_remote_cli::advice(error, None)
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub s3: S3Options,
    /// The bundle's manifest, a local file
    #[arg(short = 'm', long, value_name = "MANIFEST", value_parser = values::existing_file, help_heading = BUNDLE)]
    pub manifest: Option<PathBuf>,
    /// The bundle's name
    #[arg(short = 'p', long, value_name = "NAME", value_parser = values::prefix, help_heading = BUNDLE)]
    pub prefix: Option<String>,
    /// Delete the bucket too, if that leaves it empty
    #[arg(long, action = SetTrue, help_heading = BUNDLE)]
    pub clear: bool,
    /// Do not ask
    #[arg(short = 'y', long, action = SetTrue, help_heading = BUNDLE)]
    pub yes: bool,
}

impl Arguments {
    /// The settings of the deletion.
    pub fn request(self, context: &Context) -> Result<Delete, Failure> {
        let s3 = self.s3.settings(self.s3.region(), context)?;
        let parallel = self.s3.parallel();
        if context.is_json() && !self.yes {
            return Err(Failure::usage("--json asks nothing: it needs --yes"));
        }
        Ok(Delete {
            s3,
            bucket: self.s3.bucket,
            files: match (self.manifest, self.prefix) {
                (Some(_), Some(_)) => return Err(Failure::not_both("prefix", "manifest")),
                (None, None) => return Err(Failure::missing("manifest or --prefix")),
                (Some(manifest), None) => BundleFiles::NamedBy(manifest),
                (None, Some(prefix)) => BundleFiles::OfBundle(prefix),
            },
            asks: !self.yes,
            deletes_bucket: self.clear,
            parallel,
        })
    }
}
