//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::markers::{New, Order};
use ami_cli::{Context, Definition, Failure, OrExit, exit, values};
use ami_remote_cli::S3Options;
use ami_transfer::Download;
use clap::ArgAction::SetTrue;

const BUNDLE: &str = "The bundle";

pub const DEFINITION: Definition = Definition {
    name: "ec2-download-bundle",
    summary: "downloads an EC2 bundle from S3",
    usage: "-b BUCKET -k KEY [OPTIONS]",
    notice: None,
    description: &[
        "Downloads a bundle's manifest and the parts that it names, and compares every part with the manifest's digest. The files get their \
        names, replacing existing files, only when all parts have been downloaded, so that a manifest in the folder means that the whole \
        bundle is there. A part that is not named NAME.part.NUMBER is downloaded only if its name is free.",
        "An encrypted manifest, as old versions of EC2's tools stored them, is decrypted with the private key.",
        "--retry and --resume resume an interrupted download: what it has downloaded is kept in a private folder in the destination \
        (.ec2-ami-tools-download.…), which the next run uses and removes. Parts that are in the destination already are not downloaded again.",
        "Credentials are found as described in ec2-upload-bundle(1).",
    ],
    exit_codes: &[
        ("0", "The bundle is in the folder."),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        ("3", "S3 or the network failed, or what S3 has is damaged."),
        (
            "254",
            "Any other failure: a manifest that cannot be used, a wrong key, too little space.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[],
    examples: &[
        (
            "Download image.manifest.xml and its parts",
            "ec2-download-bundle -b my-bucket/images -k pk.pem -d /mnt/bundle --retry",
        ),
        (
            "Download a bundle of another name",
            "ec2-download-bundle -b my-bucket -p web-2014 -k pk.pem -d /mnt/bundle",
        ),
    ],
    see_also: &[
        "ec2-unbundle(1)",
        "ec2-verify-bundle(1)",
        "ec2-upload-bundle(1)",
    ],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    ami_remote_cli::advice(error, Some("--directory"))
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub s3: S3Options,
    /// The private key that the bundle was made with
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, add = Order(6), help_heading = BUNDLE)]
    pub privatekey: PathBuf,
    /// The manifest's file name
    #[arg(short = 'm', long, value_name = "NAME", value_parser = values::prefix, help_heading = BUNDLE)]
    pub manifest: Option<String>,
    /// The bundle's name [default: image]
    #[arg(short = 'p', long, value_name = "NAME", value_parser = values::prefix, help_heading = BUNDLE)]
    pub prefix: Option<String>,
    /// The folder for the bundle [default: the working directory]
    #[arg(short = 'd', long, value_name = "DIR", value_parser = values::existing_folder, help_heading = BUNDLE)]
    pub directory: Option<PathBuf>,
    /// Resume an interrupted download; implied by --retry
    #[arg(long, action = SetTrue, add = New, help_heading = BUNDLE)]
    resume: bool,
    /// Compare every part with the manifest's digest (always done)
    #[arg(long, action = SetTrue, add = New, help_heading = BUNDLE)]
    verify: bool,
    /// Keep damaged parts, and report them
    #[arg(long, action = SetTrue, conflicts_with = "verify", add = New, help_heading = BUNDLE)]
    pub no_verify: bool,
}

impl Arguments {
    /// The settings of the download.
    pub fn request(self, context: &Context) -> Result<Download, Failure> {
        let s3 = self.s3.settings(self.s3.region(), context)?;
        let parallel = self.s3.parallel();
        let (option, manifest) = match (self.manifest, self.prefix) {
            (Some(_), Some(_)) => return Err(Failure::not_both("prefix", "manifest")),
            (Some(manifest), None) => ("manifest", manifest),
            (None, prefix) => {
                let name = prefix.as_deref().unwrap_or("image");
                ("prefix", ami_parts::manifest_file_name(name))
            }
        };
        if ami_parts::is_hidden(&manifest) {
            return Err(Failure::usage(format!(
                "--{option} has invalid value '{manifest}': it is the name of a hidden file."
            )));
        }
        Ok(Download {
            s3,
            bucket: self.s3.bucket,
            manifest,
            private_key: self.privatekey,
            folder: match self.directory {
                Some(folder) => folder,
                None => std::env::current_dir().or_exit(exit::OTHER)?,
            },
            resumes: self.resume || self.s3.retry,
            keeps_damaged: self.no_verify,
            parallel,
        })
    }
}
