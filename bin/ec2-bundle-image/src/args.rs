//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::markers::Order;
use ami_cli::{
    BundleOptions, CompressionOptions, Definition, IdentityOptions, RunningOptions, advice, values,
};

pub const DEFINITION: Definition = Definition {
    name: "ec2-bundle-image",
    summary: "makes an EC2 bundle of a disk image",
    usage: "-c CERT -k KEY -u ACCOUNT -i IMAGE [OPTIONS]",
    notice: None,
    description: &[
        "Compresses and encrypts a disk image, splits the result into parts of 10 MiB, and writes a signed manifest: the format of \
         instance store-backed AMIs. It uses all processors, and needs space for the bundle only.",
        "The bundle is NAME.manifest.xml and NAME.part.0, NAME.part.1 and so on, where NAME is the image's file name or --prefix. \
         They appear together when the bundle is complete, and replace an older bundle of that name. If anything fails, or \
         the command is interrupted, nothing is left behind and the older bundle stays as it was.",
        "The bundle is encrypted with a random key, which the manifest contains twice: encrypted for EC2's certificate and for yours. Your private \
         key signs the manifest. EC2's certificates come with AWS's own tools; fetch-ec2-certificates, in share/ec2-ami-tools where this is installed, installs them.",
        "Options may be abbreviated to an unambiguous prefix. If an option is given twice, the last one counts, except for -B.",
    ],
    exit_codes: &[
        (
            "0",
            "The bundle is complete; or you answered a question with no, and nothing was done.",
        ),
        (
            "1",
            "The command line is wrong, or the image cannot be read, or the bundle cannot be written.",
        ),
        ("2", "EC2's certificate was not found."),
        ("5", "A question was not answered within 30 seconds."),
        (
            "254",
            "Any other failure: a key or certificate that cannot be used, an empty or too large image, too little space.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[
        (
            "/etc/ec2/amitools/cert-ec2.pem",
            "EC2's certificate. One for the region alone, cert-ec2-REGION.pem, comes first; us-gov-* have cert-ec2-gov.pem, cn-* cert-ec2-cn.pem or \
             cert-ec2-cn-north-1.pem. The region is that of --region.",
        ),
        (
            "EC2_AMITOOL_HOME, EC2_HOME",
            "Folders below which etc/ec2/amitools is looked for first. Last comes /opt/aws/amitools/ec2.",
        ),
    ],
    examples: &[
        (
            "Bundle an image for an x86_64 instance",
            "ec2-bundle-image -c cert.pem -k pk.pem -u 123456789012 -r x86_64 -i disk.img -d /mnt/bundle",
        ),
        (
            "The same from a script, with a result to parse",
            "ec2-bundle-image -c cert.pem -k pk.pem -u 123456789012 -i disk.img --batch --json",
        ),
    ],
    see_also: &[
        "ec2-unbundle(1)",
        "ec2-verify-bundle(1)",
        "ec2-ami-tools-version(1)",
    ],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    advice::of_bundling(error).or_else(|| advice::of_manifests(error))
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub identity: IdentityOptions,
    /// The image: a file or a block device
    #[arg(short = 'i', long, value_name = "IMAGE", value_parser = values::image_file, add = Order(1), help_heading = "The image and its bundle")]
    pub image: PathBuf,
    #[command(flatten)]
    pub bundle: BundleOptions,
    #[command(flatten)]
    pub compression: CompressionOptions,
    #[command(flatten)]
    pub running: RunningOptions,
}
