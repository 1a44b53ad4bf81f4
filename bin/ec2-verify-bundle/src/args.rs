//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::markers::Order;
use ami_cli::{Definition, RunningOptions, advice, values};

const BUNDLE: &str = "The bundle";

pub const DEFINITION: Definition = Definition {
    name: "ec2-verify-bundle",
    summary: "checks an EC2 bundle and reports each result",
    usage: "-m MANIFEST [OPTIONS]",
    notice: None,
    description: &[
        "Checks a bundle without writing anything. Always: that the manifest is well formed, that every part is there, that the parts \
         have the size that the manifest says, and that each has its digest. With --cert: that the manifest was signed by the owner of \
         that certificate. With --privatekey: that the parts decrypt and decompress to exactly the image that was bundled.",
        "It prints a line for each check: ok, FAILED and why, or not checked and what it needs. Of a certificate it prints the subject, the \
         size of its key and until when it is valid.",
    ],
    exit_codes: &[
        ("0", "Every check that could be made passed."),
        ("1", "The command line is wrong."),
        (
            "254",
            "A check failed, or a key or certificate cannot be used.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[],
    examples: &[
        (
            "Check a bundle as far as possible without the private key",
            "ec2-verify-bundle -m /mnt/bundle/image.manifest.xml -c cert.pem",
        ),
        (
            "Check all of it, for a script",
            "ec2-verify-bundle -m image.manifest.xml -c cert.pem -k pk.pem --json",
        ),
    ],
    see_also: &["ec2-unbundle(1)", "ec2-bundle-image(1)"],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    advice::of_bundles(error, None, None).or_else(|| advice::of_manifests(error))
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle's manifest
    #[arg(short = 'm', long, value_name = "MANIFEST", value_parser = values::existing_file, add = Order(1), help_heading = BUNDLE)]
    pub manifest: PathBuf,
    /// The folder with the parts [default: the manifest's]
    #[arg(short = 's', long, value_name = "DIR", value_parser = values::existing_folder, help_heading = BUNDLE)]
    pub source: Option<PathBuf>,
    /// Check that the owner of this certificate signed the manifest
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, help_heading = BUNDLE)]
    pub cert: Option<PathBuf>,
    /// Check the whole stream with this private key
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, help_heading = BUNDLE)]
    pub privatekey: Option<PathBuf>,
    #[command(flatten)]
    pub running: RunningOptions,
}
