//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_aws::{DEFAULT_REGION, is_region};
use ami_cli::markers::{New, Order, Shape};
use ami_cli::{Context, Definition, Failure, values};
use ami_remote_cli::{PlaceOptions, S3Options};
use ami_s3::Location;
use ami_transfer::Upload;
use clap::ArgAction::SetTrue;

const BUNDLE: &str = "The bundle";

pub const DEFINITION: Definition = Definition {
    name: "ec2-upload-bundle",
    summary: "uploads an EC2 bundle to S3",
    usage: "-b BUCKET -m MANIFEST [OPTIONS]",
    notice: None,
    description: &[
        "Uploads the parts of a bundle, then its manifest, so that a manifest in S3 means that the whole bundle is there. Before anything is \
        sent, every part is compared with the manifest's digest. S3 compares what it receives with each file's MD5.",
        "An existing bucket is used in its own region. One that does not exist is created in the region given with --location or --region, \
        or else in us-east-1, so that objects can have ACLs, because EC2 needs the ACL aws-exec-read to read bundles. It is an error if the \
        bucket exists in another region than the given one, except that --region us-east-1 accepts any.",
        "Credentials are those given with -a, -s and -t (or AWS_DELEGATION_TOKEN), or else those that the AWS SDK finds: environment \
        variables, profiles, single sign-on, a web identity, a container's role, the instance's role. --debug logs which, never their values.",
        "The manifest of an older bundle of the same name is deleted before the first of its parts is replaced, even with --skipmanifest, so \
        that a manifest always belongs to the parts beside it. If these credentials may not delete it, standard error says so.",
        "--retry and --resume resume an interrupted upload: parts that S3 has with the right size and MD5 are not sent again.",
    ],
    exit_codes: &[
        (
            "0",
            "The bundle is in S3; or the answer to a question was no.",
        ),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        ("3", "S3 or the network failed, or a part is missing."),
        ("5", "A question was not answered in time."),
        ("10", "The bucket is not at the given location."),
        (
            "254",
            "Any other failure: a damaged part, a manifest that cannot be used.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[
        (
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, ~/.aws",
            "Credentials, as for AWS's own tools.",
        ),
        (
            "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
            "The proxy, and the hosts to connect to directly.",
        ),
        (
            "AWS_CA_BUNDLE",
            "A file of CA certificates to trust in place of the system's.",
        ),
        (
            "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL",
            "As --endpoint-url.",
        ),
    ],
    examples: &[
        (
            "Upload with the instance's role or a profile",
            "ec2-upload-bundle -b my-bucket/images -m /mnt/image.manifest.xml --retry",
        ),
        (
            "To a new bucket in Ireland",
            "ec2-upload-bundle -b my-bucket -m /mnt/image.manifest.xml --location EU",
        ),
    ],
    see_also: &[
        "ec2-bundle-image(1)",
        "ec2-bundle-vol(1)",
        "ec2-download-bundle(1)",
        "ec2-delete-bundle(1)",
    ],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    ami_remote_cli::advice(error, None)
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub s3: S3Options,
    /// The bundle's manifest
    #[arg(short = 'm', long, value_name = "MANIFEST", value_parser = values::existing_file, add = Order(6), help_heading = BUNDLE)]
    pub manifest: PathBuf,
    /// The folder with the parts [default: the manifest's]
    #[arg(short = 'd', long, value_name = "DIR", value_parser = values::existing_folder, help_heading = BUNDLE)]
    pub directory: Option<PathBuf>,
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Skip the parts before this one, counted from 0
    #[arg(long, value_name = "N", allow_negative_numbers = true, add = Shape::Integer, help_heading = BUNDLE)]
    pub part: Option<i64>,
    /// Upload only the parts, not the manifest
    #[arg(long, action = SetTrue, help_heading = BUNDLE)]
    pub skipmanifest: bool,
    /// Skip parts that S3 has already; implied by --retry
    #[arg(long, action = SetTrue, add = New, help_heading = BUNDLE)]
    resume: bool,
}

impl Arguments {
    /// The settings of the upload.
    pub fn request(self, context: &Context) -> Result<Upload, Failure> {
        let asked = self.place.location().map(Location::region);
        let s3 = self.s3.settings(self.s3.region().or(asked), context)?;
        let location = self.location();
        let parallel = self.s3.parallel();
        Ok(Upload {
            s3,
            bucket: self.s3.bucket,
            location,
            manifest: self.manifest,
            folder: self.directory,
            acl: self.place.acl,
            parts_left_out: usize::try_from(self.part.unwrap_or(0)).unwrap_or(0),
            leaves_out_manifest: self.skipmanifest,
            resumes: self.resume || self.s3.retry,
            parallel,
            warns_of_region: !context.is_batch(),
        })
    }

    /// Where the bucket must be. `--region us-east-1` accepts a bucket that is elsewhere, `--location US` does not. A name that cannot be
    /// that of an AWS region belongs to another server, whose name for its buckets' location may differ.
    fn location(&self) -> Option<Location> {
        let region = self.s3.region();
        let region = region.filter(|region| is_region(region) && *region != DEFAULT_REGION);
        let of_region = || region.map(|region| Location::of_answer(Some(region)));
        self.place.location().cloned().or_else(of_region)
    }
}
