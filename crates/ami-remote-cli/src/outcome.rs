//! The exit code of an error.

use ami_cli::{Failure, exit};
use ami_transfer::Error;

use crate::migration::REGION_ENDPOINT;

/// The failure of a command whose story failed. For [`Error::Stopped`], whoever stopped the story has the reason.
pub fn failure(error: Error) -> Failure {
    match error {
        Error::Declined => Failure::silent(0),
        Error::Interrupted
        | Error::Files(ami_parts::Error::Interrupted)
        | Error::Destination(ami_parts::Error::Interrupted) => Failure::interrupted(),
        Error::S3(ami_s3::Error::Aws(ami_aws::Error::NoCredentials)) => Failure::usage(
            "missing mandatory parameter: --access-key (and there are no credentials in the environment, in a profile or of a role)",
        ),
        Error::Ec2(ami_ec2::Error::Aws(ami_aws::Error::NoCredentials)) => Failure::usage(
            "If using automatic mapping, --access-key must be provided (and there are no credentials in the environment, in a profile or of a role).",
        ),
        Error::AdditionalRegion { text, reason } => Failure::usage(format!(
            "{REGION_ENDPOINT} has invalid value '{text}': {reason}"
        )),
        error => Failure::new(code(&error), error),
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::S3(error) => code_of_s3(error),
        // As in the older suite, a destination that does not even answer is another kind of failure.
        Error::DestinationBucket(error) => match code_of_s3(error) {
            exit::SERVICE => exit::OTHER,
            code => code,
        },
        Error::Ec2(error) => code_of_ec2(error),
        Error::Files(ami_parts::Error::Missing { .. })
        | Error::Destination(_)
        | Error::SizeInS3 { .. } => exit::SERVICE,
        Error::Ec2Certificate(_) => exit::MISSING_FILE,
        Error::WorkFolder(_) | Error::BackupExists(_) => exit::ALREADY_THERE,
        _ => exit::OTHER,
    }
}

fn code_of_ec2(error: &ami_ec2::Error) -> u8 {
    use ami_ec2::Error;
    match error {
        Error::UnknownRegion { .. } => exit::UNKNOWN_REGION,
        Error::NotFound { .. } | Error::NoCounterpart { .. } => exit::NO_COUNTERPART,
        _ => exit::OTHER,
    }
}

fn code_of_s3(error: &ami_s3::Error) -> u8 {
    use ami_s3::Error;
    match error {
        Error::Request { .. }
        | Error::Elsewhere { .. }
        | Error::Content { .. }
        | Error::Digest { .. }
        | Error::TooLong { .. } => exit::SERVICE,
        Error::Location { .. } => exit::LOCATION,
        _ => exit::OTHER,
    }
}
