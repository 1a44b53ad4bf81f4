//! The options of commands that put a bundle into a bucket.

use ami_cli::markers::Shape;
use ami_s3::{Acl, Location};
use clap::Args;

const PLACE: &str = "The bundle";

/// The bucket's location, and who may read the new objects.
#[derive(Debug, Clone, Args)]
pub struct PlaceOptions {
    /// Where to create the bucket, or where it must be: EU, US or a region
    #[arg(long, value_name = "LOCATION", value_parser = location, add = Shape::TextOrNothing, help_heading = PLACE)]
    location: Option<Place>,
    /// Who may read it besides you: aws-exec-read (EC2) or public-read
    #[arg(long, value_name = "ACL", default_value = "aws-exec-read", value_parser = acl, help_heading = PLACE)]
    pub acl: Acl,
}

impl PlaceOptions {
    /// The bucket's location, if one was given.
    pub fn location(&self) -> Option<&Location> {
        self.location
            .as_ref()
            .and_then(|Place(location)| location.as_ref())
    }
}

/// A location, or none, which is what an empty text means in the older suite.
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
