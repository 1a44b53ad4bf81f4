//! The exit code of an error of a story of `ami-transfer`, and what to do about it.

use std::error::Error as StdError;

use ami_aws::ServiceError;
use ami_cli::Failure;
use ami_cli::advice::{as_a, of_bundles, of_manifests};
use ami_files::FileError;
use ami_s3::Archive;
use ami_transfer::Error;

use crate::exit;
use crate::outcome::{NO_CREDENTIALS, of_s3};
use crate::shell::quoted;

/// How errors of files that are read begin.
const READING: &str = "Failed to download";

/// How many days a restored copy stays in the command that is advised: time enough for the largest bundle.
const DAYS: u32 = 7;

/// How the command ends whose story failed.
pub fn failure(error: Error) -> Failure {
    match error {
        Error::Interrupted => Failure::interrupted(),
        Error::S3(ami_s3::Error::Aws(ami_aws::Error::NoCredentials)) => {
            Failure::usage(NO_CREDENTIALS)
        }
        error => Failure::new(code(&error), error),
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Manifest(_)
        | Error::Name(_)
        | Error::Archived { .. }
        | Error::SizeInS3 { .. }
        | Error::Source(_) => exit::SOURCE,
        Error::S3(error) => code_of_s3(error),
        Error::Bundle(error) => code_of_bundle(error),
        _ => exit::OTHER,
    }
}

fn code_of_s3(error: &ami_s3::Error) -> u8 {
    use ami_s3::Error as E;
    match error {
        E::Digest { .. } | E::Changed { .. } | E::TooLong { .. } | E::Location { .. } => {
            exit::SOURCE
        }
        error if error.is_not_found() => exit::SOURCE,
        E::Io { .. } => exit::OTHER,
        _ => exit::SERVICE,
    }
}

/// The exit code of an error of unbundling, whose parts may be in S3.
pub fn code_of_bundle(error: &ami_bundle::Error) -> u8 {
    use ami_bundle::Error as E;
    use ami_image::Error as I;
    use ami_parts::Error as P;
    let is_of_reading = |error: &FileError| match error {
        FileError::Io { operation, .. } => ["open", "read"].contains(operation),
        _ => false,
    };
    match error {
        E::Other(error) => error.downcast_ref().map_or(exit::OTHER, code),
        // What is not read is written: to a full disk, say, or to a pipe whose reader has gone.
        E::Image(I::File(error)) if !is_of_reading(error) => exit::OTHER,
        E::Problems(_)
        | E::Manifest(_)
        | E::Stream(_)
        | E::Digest { .. }
        | E::Cipher { .. }
        | E::Exists { .. }
        | E::WouldReplace { .. }
        | E::InTheWay { .. }
        | E::Image(_)
        | E::File(P::Missing { .. } | P::Digest { .. } | P::Exists { .. } | P::InTheWay { .. }) => {
            exit::SOURCE
        }
        _ => exit::OTHER,
    }
}

/// What to do about an error. See [`ami_cli::Advise`].
pub fn advise(error: &(dyn StdError + 'static)) -> Option<String> {
    let story = as_a::<Error>(error);
    let of_story = story.and_then(|error| match error {
        Error::Archived {
            bucket,
            key,
            archive,
            count,
            ..
        } => Some(of_archive(bucket, key, archive.as_ref(), *count)),
        Error::S3(ami_s3::Error::Changed { .. }) => {
            Some("run it again when nothing writes to the bundle".to_owned())
        }
        Error::S3(denied @ ami_s3::Error::Request { .. }) if is_unreadable(denied) => Some(
            "these credentials do not allow it (docs/iam.md has the policies that each verb needs), or whoever asks must pay: --requester-pays"
                .to_owned(),
        ),
        Error::S3(error) => of_s3(error),
        _ => None,
    });
    let original = story.map_or(error, Error::original);
    of_story
        .or_else(|| of_place(original))
        .or_else(|| of_bundles(original, None, None))
        .or_else(|| of_manifests(original))
        .or_else(|| story.and_then(|_| ami_remote_cli::advice(error, None)))
}

/// Whether a file of a bundle may not be read.
fn is_unreadable(error: &ami_s3::Error) -> bool {
    let ami_s3::Error::Request { operation, .. } = error else {
        return false;
    };
    let is_denied = |error: &ServiceError| error.status == 403 && error.code == "AccessDenied";
    operation.starts_with(READING) && error.service().is_some_and(is_denied)
}

/// What to do about a file or device that the image cannot be written to.
fn of_place(error: &(dyn StdError + 'static)) -> Option<String> {
    use ami_bundle::Error as B;
    use ami_image::Error as I;
    use ami_parts::Error as P;
    let advice = match as_a::<B>(error)? {
        B::File(P::Exists { .. }) => "choose another name, or give --replace",
        B::File(P::InTheWay { .. }) | B::WouldReplace { .. } => "choose another file",
        B::Image(I::TooSmall { .. }) => "choose a larger device",
        B::Image(I::Busy { .. }) => "unmount it",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// The command that restores an archived object. One of Intelligent-Tiering is not restored for a number of days (S3 API reference,
/// "RestoreObject").
fn of_archive(bucket: &str, key: &str, archive: Option<&Archive>, count: usize) -> String {
    if archive.is_some_and(|archive| archive.is_being_restored) {
        return "run it again when S3 has restored it, which takes hours".to_owned();
    }
    let request = match archive {
        Some(archive) if archive.name.ends_with("_ACCESS") => "{}".to_owned(),
        _ => format!("Days={DAYS}"),
    };
    let which = match count {
        1 => "it",
        _ => "each",
    };
    let (bucket, key, request) = (quoted(bucket), quoted(key), quoted(&request));
    format!(
        "restore {which} first: aws s3api restore-object --bucket {bucket} --key {key} --restore-request {request}"
    )
}
