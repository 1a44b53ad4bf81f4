//! The options of commands that put a bundle into a bucket.

use ami_cli::Context;
use ami_cli::markers::Shape;
use ami_s3::{Acl, BucketPath, Location};
use clap::Args;

const PLACE: &str = "The bundle";

/// Where the bucket is to be, and who may read what is put into it.
#[derive(Debug, Clone, Args)]
pub struct PlaceOptions {
    /// Where to make the bucket, or where it must be: EU, US or a region
    #[arg(long, value_name = "LOCATION", value_parser = location, add = Shape::TextOrNothing, help_heading = PLACE)]
    location: Option<Place>,
    /// Who may read it besides you: aws-exec-read (EC2) or public-read
    #[arg(long, value_name = "ACL", default_value = "aws-exec-read", value_parser = acl, help_heading = PLACE)]
    pub acl: Acl,
}

impl PlaceOptions {
    /// Where the bucket is to be, or must be, if that was given.
    pub fn location(&self) -> Option<&Location> {
        self.location
            .as_ref()
            .and_then(|Place(location)| location.as_ref())
    }
}

/// A location, or none: the older suite takes an empty text for that.
#[derive(Debug, Clone)]
struct Place(Option<Location>);

fn location(text: &str) -> Result<Place, String> {
    if text.is_empty() {
        return Ok(Place(None));
    }
    text.parse().map(|location| Place(Some(location)))
}

fn acl(text: &str) -> Result<Acl, String> {
    match text {
        "aws-exec-read" => Ok(Acl::AwsExecRead),
        "public-read" => Ok(Acl::PublicRead),
        _ => Err(String::new()),
    }
}

/// Warns of a bucket's name that S3 may not take; says whether it did.
pub fn warn_of_name(path: &BucketPath, context: &Context) -> bool {
    if path.is_dns_safe() {
        return false;
    }
    context.warn(&format!(
        "The bucket name {:?} is not DNS-safe: S3 takes 3 to 63 lower-case letters, digits, hyphens and dots (S3 user guide, \
         \"Bucket naming rules\").",
        path.bucket
    ));
    true
}
