//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::markers::{New, Order};
use ami_cli::{Definition, Failure, values};
use ami_remote_cli::{CredentialOptions, MigrationOptions};

const MANIFEST: &str = "The manifest";

pub const DEFINITION: Definition = Definition {
    name: "ec2-migrate-manifest",
    summary: "rewrites the manifest of an EC2 bundle for another region",
    usage: "-k KEY -c CERT -m MANIFEST --region REGION [OPTIONS]",
    notice: None,
    description: &[
        "Reads the manifest of a bundle, of any version, checks its signature, and replaces it by a signed manifest of version 2007-10-10. \
        The old one is kept beside it as MANIFEST.bak. The parts do not change: upload them with the new manifest to a bucket in the other \
        region, and register the image there.",
        "Manifests of old images name a kernel, and sometimes a RAM disk, which exist in one region only. For these, EC2 is asked for their \
        counterparts in the other region, with the same owner, type and location. --kernel and --ramdisk give them instead. With \
        --no-mapping, EC2 is not asked, and those that are not given are removed.",
        "A bundle's key is encrypted for EC2's certificate, and us-gov-*, cn-* and some newer regions have their own. For one of them, the \
        key is encrypted for that certificate, which is searched for as by ec2-bundle-image. For any other region, this is done if its \
        certificate is on this machine, or is given with --ec2cert.",
        "If anything fails, the manifest is unchanged and there is no backup.",
    ],
    exit_codes: &[
        (
            "0",
            "The manifest is migrated; or the answer to a question was no, and nothing has changed.",
        ),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        (
            "2",
            "The backup file exists already; or the partition's certificate was not found.",
        ),
        ("5", "A question was not answered in time."),
        (
            "6",
            "A kernel or RAM disk has no counterpart in the region.",
        ),
        ("7", "EC2 has no such region."),
        (
            "254",
            "Any other failure: a manifest that cannot be used or is not signed with this certificate's key, or EC2 cannot be reached.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[
        ("MANIFEST.bak", "The old manifest."),
        (
            "$EC2_AMITOOL_HOME/etc/ec2/amitools, /etc/ec2/amitools",
            "EC2's certificates.",
        ),
        (
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, ~/.aws",
            "Credentials, as for AWS's own tools.",
        ),
        (
            "AMITOOLS_EC2_REGION_ENDPOINT",
            "An additional EC2 region and its endpoint: REGION@URL.",
        ),
        (
            "AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL",
            "A server in place of EC2.",
        ),
    ],
    examples: &[
        (
            "For Ireland, with the counterpart of the old kernel there",
            "ec2-migrate-manifest -k pk.pem -c cert.pem -m image.manifest.xml --region eu-west-1",
        ),
        (
            "With a kernel of your choice",
            "ec2-migrate-manifest -k pk.pem -c cert.pem -m m.xml --no-mapping --kernel aki-52a34525",
        ),
    ],
    see_also: &[
        "ec2-migrate-bundle(1)",
        "ec2-upload-bundle(1)",
        "ec2-verify-bundle(1)",
    ],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    ami_remote_cli::advice(error, None)
}

#[derive(Debug, clap::Args)]
#[command(mut_arg("delegation_token", |arg| arg.add(New)))]
pub struct Arguments {
    /// The manifest
    #[arg(short = 'm', long, value_name = "MANIFEST", value_parser = values::existing_file, add = Order(1), help_heading = MANIFEST)]
    pub manifest: PathBuf,
    /// The region where the bundle will be used
    #[arg(long, value_name = "REGION", help_heading = MANIFEST)]
    region: Option<String>,
    #[command(flatten)]
    pub migration: MigrationOptions,
    #[command(flatten)]
    pub credentials: CredentialOptions,
}

impl Arguments {
    /// The given region, if any.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref().filter(|region| !region.is_empty())
    }

    /// Refuses a mapping of kernels without a region or with half a pair of keys. Without keys, credentials are looked for only when they
    /// are needed.
    pub fn check_mapping(&self) -> Result<(), Failure> {
        if self.migration.no_mapping {
            return Ok(());
        }
        let missing = match self.region() {
            None => Some("region"),
            Some(_) => self.credentials.missing(),
        };
        match missing {
            None => Ok(()),
            Some(name) => Err(Failure::usage(format!(
                "If using automatic mapping, --{name} must be provided."
            ))),
        }
    }
}
