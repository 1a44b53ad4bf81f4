//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::markers::{New, Order};
use ami_cli::{Definition, RunningOptions, advice, values};

const BUNDLE: &str = "The bundle and its image";

pub const DEFINITION: Definition = Definition {
    name: "ec2-unbundle",
    summary: "restores the disk image of an EC2 bundle",
    usage: "-k KEY -m MANIFEST [OPTIONS]",
    notice: None,
    description: &[
        "Decrypts and decompresses the parts of a bundle into the disk image that was bundled. It reads bundles of every version of \
         the older suite and of other bundlers, and manifests of every version.",
        "Every part's digest is checked before the part is used, then the checksum of the compressed data, the digest of the whole and \
         the image's size. Only then does the image get its name; if anything fails, or the command is interrupted, nothing is left behind. \
         With --cert the manifest's signature is checked first.",
        "The image has the name that it had when it was bundled. It replaces a file of that name only if the manifest is named after it: \
         NAME.manifest.xml for the image NAME. It has its old permissions, as far as the umask allows, without execute bits. Holes are \
         restored as holes.",
    ],
    exit_codes: &[
        ("0", "The image is complete and exactly what was bundled."),
        ("1", "The command line is wrong."),
        (
            "254",
            "Any other failure: a wrong key, a part that is missing or damaged, a manifest that cannot be used, too little space.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[],
    examples: &[
        (
            "Unbundle what was downloaded to /mnt/bundle",
            "ec2-unbundle -k pk.pem -m /mnt/bundle/image.manifest.xml -s /mnt/bundle -d /mnt/image",
        ),
        (
            "Check who signed it first",
            "ec2-unbundle -k pk.pem -c cert.pem -m image.manifest.xml",
        ),
    ],
    see_also: &["ec2-verify-bundle(1)", "ec2-bundle-image(1)"],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    advice::of_bundles(error, Some("--destination"), None).or_else(|| advice::of_manifests(error))
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The private key that belongs to the bundle's certificate
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, add = Order(3), help_heading = BUNDLE)]
    pub privatekey: PathBuf,
    /// The bundle's manifest
    #[arg(short = 'm', long, value_name = "MANIFEST", value_parser = values::existing_file, add = Order(1), help_heading = BUNDLE)]
    pub manifest: PathBuf,
    /// The folder with the parts
    #[arg(short = 's', long, value_name = "DIR", default_value = ".", value_parser = values::existing_folder, help_heading = BUNDLE)]
    pub source: PathBuf,
    /// The folder for the image
    #[arg(short = 'd', long, value_name = "DIR", default_value = ".", value_parser = values::existing_folder, help_heading = BUNDLE)]
    pub destination: PathBuf,
    /// Check that the owner of this certificate signed the manifest
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, add = New, help_heading = BUNDLE)]
    pub cert: Option<PathBuf>,
    #[command(flatten)]
    pub running: RunningOptions,
}
