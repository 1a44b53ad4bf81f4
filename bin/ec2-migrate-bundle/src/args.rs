//! The command's arguments, what its manual says, and its advice.

use std::error::Error;

use ami_cli::markers::{CheckedLast, New, Order, Shape};
use ami_cli::{Context, Definition, Failure};
use ami_remote_cli::{MigrationOptions, PlaceOptions, S3Options};
use ami_s3::{BucketPath, Location};
use ami_transfer::{FindCertificate, MigrateBundle};

const BUNDLE: &str = "The bundle";

/// The suffix of manifests' file names.
const SUFFIX: &str = ".manifest.xml";

pub const DEFINITION: Definition = Definition {
    name: "ec2-migrate-bundle",
    summary: "copies an EC2 bundle in S3 for another region",
    usage: "-k KEY -c CERT -m MANIFEST -b BUCKET -d DESTINATION [OPTIONS]",
    notice: Some("*** This tool is deprecated. ***"),
    description: &[
        "This command is deprecated, as it was in the older suite, but it still works. Instead, use EC2's CopyImage if the AMI is registered, \
        or else ec2-download-bundle, ec2-migrate-manifest and ec2-upload-bundle.",
        "Reads the manifest of a bundle in S3, checks its signature and that all parts are there, and has S3 copy the parts to another bucket, \
        several at a time, without downloading them. The new manifest is written last, so that a manifest in S3 means that the whole bundle \
        is there. The old bundle is not changed.",
        "The new manifest is the one that ec2-migrate-manifest would write for --region, or else for the destination bucket's region. \
        Nothing is asked; standard error names what is removed or unknown.",
        "An existing destination bucket is used in its own region. One that does not exist is created in the region given with --location or \
        --region, or else in us-east-1, after the bundle has been checked.",
    ],
    exit_codes: &[
        ("0", "The new bundle is in S3."),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        (
            "2",
            "/tmp/ami-migration-MANIFEST exists: the older suite is running, or was interrupted; or the region's certificate was not \
            found.",
        ),
        ("3", "S3 or the network failed, or a part is missing."),
        (
            "6",
            "A kernel or RAM disk has no counterpart in the region.",
        ),
        ("7", "EC2 has no such region."),
        ("10", "The destination bucket is not at the given location."),
        (
            "254",
            "Any other failure: a manifest that cannot be used or is not signed with this certificate's key, or a destination bucket or \
            EC2 that cannot be reached.",
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
            "An additional EC2 region and its endpoint: REGION@URL.",
        ),
        (
            "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL",
            "Servers in place of S3 and EC2.",
        ),
    ],
    examples: &[(
        "Copy to a bucket in Ireland",
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
    /// The settings of the migration.
    pub fn request<'a>(
        self,
        find_ec2_certificate: FindCertificate<'a>,
        context: &Context,
    ) -> Result<MigrateBundle<'a>, Failure> {
        // A region that is only EC2's (AMITOOLS_EC2_REGION_ENDPOINT) cannot be used for S3.
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
