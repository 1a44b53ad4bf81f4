//! The command's arguments, what its manual says, and its advice.

use std::error::Error;

use ami_cli::markers::{CheckedLast, New, Order, Shape};
use ami_cli::{Context, Definition, Failure};
use ami_remote_cli::{MigrationOptions, PlaceOptions, S3Options};
use ami_s3::{BucketPath, Location};
use ami_transfer::{FindCertificate, MigrateBundle};

const BUNDLE: &str = "The bundle";

/// How the names of manifests end.
const SUFFIX: &str = ".manifest.xml";

pub const DEFINITION: Definition = Definition {
    name: "ec2-migrate-bundle",
    summary: "copies an EC2 bundle in S3 for another region",
    usage: "-k KEY -c CERT -m MANIFEST -b BUCKET -d DESTINATION [OPTIONS]",
    notice: Some("*** This tool is deprecated. ***"),
    description: &[
        "This command is deprecated, as it was in the older suite: use EC2's CopyImage on an AMI that is registered, or ec2-download-bundle, ec2-migrate-manifest and \
         ec2-upload-bundle. It works all the same.",
        "Reads the manifest of a bundle in S3, checks its signature and that all parts are there, and has S3 copy the parts into another \
         bucket, several at a time; they do not come to this machine. Then it writes the new manifest there, last: a manifest in S3 means \
         that the whole bundle is there. The old bundle stays as it is.",
        "The new manifest is that of ec2-migrate-manifest for --region or else for the region that the bucket is in. It asks nothing: what is \
         removed or unknown is said on standard error.",
        "The destination bucket is used where it is. One that is not there is made, in the region that --location or --region says, or else \
         in us-east-1, when the bundle has turned out to be good.",
    ],
    exit_codes: &[
        ("0", "The new bundle is in S3."),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        (
            "2",
            "/tmp/ami-migration-MANIFEST is there, where the older suite is at work or was cut off; or the region's certificate \
             is not found.",
        ),
        ("3", "S3 or the network failed, or a part is missing."),
        (
            "6",
            "A kernel or RAM disk has no counterpart in the region.",
        ),
        ("7", "EC2 has no such region."),
        (
            "10",
            "The destination bucket is in another location than the one that was given.",
        ),
        (
            "254",
            "Any other failure: a manifest that cannot be used or is not signed by this certificate, the destination bucket or EC2 \
             cannot be asked.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[
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
            "One more region of EC2 and its endpoint: REGION@URL.",
        ),
        (
            "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL",
            "Servers in place of S3 and EC2.",
        ),
    ],
    examples: &[(
        "To a bucket in Ireland",
        "ec2-migrate-bundle -k pk.pem -c cert.pem -m image.manifest.xml -b my-bucket -d my-bucket-eu",
    )],
    see_also: &[
        "ec2-migrate-manifest(1)",
        "ec2-upload-bundle(1)",
        "ec2-download-bundle(1)",
    ],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    ami_remote_cli::advice(error, None)
}

#[derive(Debug, clap::Args)]
#[command(
    mut_arg("delegation_token", |arg| arg.add(New)),
    mut_arg("sigv", |arg| arg.add(New)),
    mut_arg("region", |arg| arg.add(Shape::Text)),
)]
pub struct Arguments {
    #[command(flatten)]
    pub s3: S3Options,
    /// The bucket and folder for the new bundle
    #[arg(short = 'd', long, value_name = "BUCKET", add = Order(6), add = CheckedLast, help_heading = BUNDLE)]
    pub destination_bucket: BucketPath,
    /// The manifest's file name
    #[arg(short = 'm', long, value_name = "MANIFEST", value_parser = manifest, add = Order(1), help_heading = BUNDLE)]
    pub manifest: String,
    #[command(flatten)]
    place: PlaceOptions,
    #[command(flatten)]
    pub migration: MigrationOptions,
}

impl Arguments {
    /// What is to be migrated.
    pub fn request<'a>(
        self,
        find_ec2_certificate: FindCertificate<'a>,
        context: &Context,
    ) -> Result<MigrateBundle<'a>, Failure> {
        // A region of EC2 that AWS does not have is not one to ask S3 in.
        let location = self.place.location();
        let region = self.s3.region_of_s3()?;
        let region = region.or(location.map(Location::region));
        let s3 = self.s3.settings(region, context)?;
        let name = self.manifest;
        Ok(MigrateBundle {
            s3,
            region: self.s3.region().map(str::to_owned),
            parallel: self.s3.parallel(),
            location: location.cloned(),
            source: self.s3.bucket,
            destination: self.destination_bucket,
            older_folder: format!("/tmp/ami-migration-{name}").into(),
            manifest: name,
            acl: self.place.acl,
            migration: self.migration.settings(find_ec2_certificate, context),
        })
    }
}

fn manifest(text: &str) -> Result<String, String> {
    if !text.ends_with(SUFFIX) {
        return Err(String::new());
    }
    if text.contains('/') {
        return Err("'/' character not allowed.".to_owned());
    }
    Ok(text.to_owned())
}
