//! The exit code of an error.

use std::error::Error as StdError;
use std::path::Path;

use ami_account::{Flaw, Quota};
use ami_aws::RequestError;
use ami_cli::{Failure, shown_path};
use ami_files::FileError;
use ami_lifecycle::{Error, Fate, Format};

use crate::bundle_outcome;
use crate::exit;
use crate::shell::quoted;

/// Without credentials nothing can be asked.
pub const NO_CREDENTIALS: &str = "there are no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance a role";

/// How the command ends whose story failed.
pub fn failure(error: Error) -> Failure {
    match error {
        Error::Interrupted => Failure::interrupted(),
        Error::Declined => Failure::new(exit::DECLINED, error),
        Error::Aws(ami_aws::Error::NoCredentials)
        | Error::S3(ami_s3::Error::Aws(ami_aws::Error::NoCredentials)) => {
            Failure::usage(NO_CREDENTIALS)
        }
        Error::Transfer(error) => bundle_outcome::failure(error),
        Error::Bundle(error) => bundle_outcome::failure(error.into()),
        error => Failure::new(code(&error), error),
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Ec2(ami_ec2::Error::NoRegion { .. }) => exit::USAGE,
        Error::TpmWithoutUefi { .. } => exit::USAGE,
        Error::Upload { source, .. } | Error::Wrong { source, .. } => code_of_ebs(source),
        Error::SnapshotsLeft { source, .. } => code(source),
        Error::Interrupted => ami_cli::exit::INTERRUPTED,
        Error::Ebs(error) => code_of_ebs(error),
        Error::Image(_)
        | Error::Survey { .. }
        | Error::Format { .. }
        | Error::Mounted { .. }
        | Error::Empty { .. }
        | Error::TooLarge { .. }
        | Error::NoArchitecture
        | Error::NoRootSnapshot { .. }
        | Error::NotOwn { .. }
        | Error::NotInstanceStore { .. }
        | Error::Windows { .. }
        | Error::NoLocation { .. }
        | Error::CodesLost { .. }
        | Error::Exists { .. }
        | Error::NoFile { .. }
        | Error::Folder { .. }
        | Error::Manifest { .. }
        | Error::Device { .. }
        | Error::NoImage { .. }
        | Error::NoSnapshot { .. }
        | Error::NoKey { .. }
        | Error::KeyElsewhere { .. }
        | Error::KeyUnusable { .. }
        | Error::Protected { .. }
        | Error::NameTaken { .. } => exit::SOURCE,
        Error::Aws(_)
        | Error::Ec2(_)
        | Error::Account(_)
        | Error::QuotaReached { .. }
        | Error::S3(_)
        | Error::ImageFailed { .. }
        | Error::SnapshotFailed { .. }
        | Error::Late { .. }
        | Error::Denied { .. } => exit::SERVICE,
        _ => exit::OTHER,
    }
}

fn code_of_ebs(error: &ami_ebs::Error) -> u8 {
    use ami_ebs::Error as E;
    match error {
        E::Source { .. }
        | E::Changed(_)
        | E::Length { .. }
        | E::TooLong { .. }
        | E::NoBytes
        | E::Elsewhere { .. }
        | E::Vanished { .. }
        | E::VolumeSize { .. }
        | E::Wrong(_) => exit::SOURCE,
        E::Unread(source) => source
            .downcast_ref()
            .map_or(exit::OTHER, bundle_outcome::code_of_bundle),
        E::Request { .. }
        | E::Answer { .. }
        | E::Generations { .. }
        | E::Differs { .. }
        | E::State { .. } => exit::SERVICE,
        _ => exit::OTHER,
    }
}

/// What to do about an error. See [`ami_cli::Advise`].
pub fn advise(error: &(dyn StdError + 'static)) -> Option<String> {
    let own = ami_cli::advice::as_a::<Error>(error);
    let of_own = own.and_then(|error| match error {
        Error::Format { path, format } => Some(of_format(path, *format)),
        Error::Mounted { .. } => {
            Some("unmount it, remount it read-only (mount -o remount,ro), or give the folder in its place".to_owned())
        }
        Error::TooLarge { .. } => Some("give a larger --size".to_owned()),
        Error::NoArchitecture => Some("give it with --arch".to_owned()),
        Error::TpmWithoutUefi { .. } => Some("give --boot-mode uefi".to_owned()),
        Error::JournalFolder { .. } => Some(OF_JOURNAL.to_owned()),
        Error::NoFile { .. } | Error::Folder { .. } => Some("choose another file".to_owned()),
        Error::Exists { .. } => Some("choose another name, or give --replace".to_owned()),
        Error::Upload { source, .. } if matches!(**source, ami_ebs::Error::Elsewhere { .. }) => {
            Some("give the region of that snapshot with --region, or another --journal".to_owned())
        }
        Error::Upload {
            fate: Fate::Resumable,
            snapshot: Some(id),
            source,
        } => Some(match of_ebs(source) {
            Some(advice) => format!("{advice}; the same command goes on with it"),
            None => format!(
                "the same command goes on with it; to give it up: aws ec2 delete-snapshot --snapshot-id {id}"
            ),
        }),
        Error::Upload {
            fate: Fate::Left, ..
        } => Some("ec2-ami clean deletes it".to_owned()),
        Error::Upload { source, .. } => match **source {
            ami_ebs::Error::File(_) => Some(OF_JOURNAL.to_owned()),
            _ => of_ebs(source),
        },
        Error::Ebs(ami_ebs::Error::Vanished { .. }) => {
            Some("give its region with --region".to_owned())
        }
        Error::Ebs(error) => of_ebs(error),
        Error::Wrong {
            snapshot,
            region,
            is_deleted: false,
            ..
        } => Some(format!(
            "delete it: aws ec2 delete-snapshot --region {region} --snapshot-id {snapshot}"
        )),
        Error::Wrong { .. } => Some("the same command makes another".to_owned()),
        Error::SnapshotsLeft {
            snapshots, region, ..
        } => {
            let commands = snapshots.iter().map(|snapshot| {
                format!("aws ec2 delete-snapshot --region {region} --snapshot-id {snapshot}")
            });
            let commands: Vec<String> = commands.collect();
            Some(format!("delete them: {}", commands.join("; ")))
        }
        Error::NameTaken { .. } => Some("choose another --name".to_owned()),
        Error::NotOwn { .. } => Some(
            "its owner can make it, or give you its bundle and key: ec2-ami create s3://…".to_owned(),
        ),
        Error::CodesLost { .. } => Some("with --yes it is made without them".to_owned()),
        Error::Protected { image, region, .. } => Some(format!(
            "disable that first: aws ec2 disable-image-deregistration-protection --region {region} --image-id {image}"
        )),
        Error::NoImage { .. } | Error::NoSnapshot { .. } => {
            Some("give its region with --region".to_owned())
        }
        Error::NoKey { region, .. } | Error::KeyElsewhere { region, .. } => Some(format!(
            "name one of those that aws kms list-aliases --region {region} shows"
        )),
        Error::KeyUnusable {
            arn, region, flaw, ..
        } => of_key(arn, region, flaw),
        Error::QuotaReached { quota, region, .. } => Some(of_quota(*quota, region)),
        Error::Late { .. } => Some("run the same command again to wait longer".to_owned()),
        Error::Denied { .. } => {
            Some("docs/iam.md has the policies that each verb needs".to_owned())
        }
        Error::Manifest { source, .. } => ami_cli::advice::of_manifests(source),
        Error::Ec2(ami_ec2::Error::Request { error, .. }) => of_request(error),
        Error::Account(ami_account::Error { error, .. }) => of_request(error),
        Error::S3(error) => of_s3(error),
        _ => None,
    });
    let of_volume = || match ami_cli::advice::as_a::<ami_volume::Error>(error) {
        Some(ami_volume::Error::Space { .. }) => {
            Some("free some, or let TMPDIR name a folder with more".to_owned())
        }
        _ => ami_volume_cli::advice(error),
    };
    of_own
        .or_else(|| bundle_outcome::advise(error))
        .or_else(of_volume)
        .or_else(|| ami_cli::advice::of_bundling(error))
}

/// What to do about an error of S3's.
pub fn of_s3(error: &ami_s3::Error) -> Option<String> {
    let ami_s3::Error::Request { error: request, .. } = error else {
        return None;
    };
    of_request(request).or_else(|| ami_remote_cli::advice(error, None))
}

fn of_key(arn: &str, region: &str, flaw: &Flaw) -> Option<String> {
    let arn = quoted(arn);
    match flaw {
        Flaw::Disabled => Some(format!(
            "enable it: aws kms enable-key --region {region} --key-id {arn}"
        )),
        Flaw::PendingDeletion => Some(format!(
            "name another, or keep it: aws kms cancel-key-deletion --region {region} --key-id {arn}"
        )),
        Flaw::Type { .. } => Some("name another: EBS takes no other keys".to_owned()),
        _ => None,
    }
}

fn of_quota(quota: Quota, region: &str) -> String {
    let (service, code) = (quota.service_code(), quota.code());
    format!(
        "delete what is not needed, or ask for more: aws service-quotas request-service-quota-increase \
         --region {region} --service-code {service} --quota-code {code} --desired-value NUMBER"
    )
}

fn of_format(path: &Path, format: Format) -> String {
    let path = quoted(&shown_path(path));
    match format.is_compressed() {
        true => format!("decompress it first: {format} -dc {path} > disk.raw"),
        false => format!("convert it first: qemu-img convert -f {format} -O raw {path} disk.raw"),
    }
}

/// What to do where there can be no journal.
const OF_JOURNAL: &str = "free some space, or give a file elsewhere with --journal";

fn of_ebs(error: &ami_ebs::Error) -> Option<String> {
    use ami_ebs::Error as E;
    let advice = match error {
        E::Request { error, .. } => return of_request(error),
        E::Wrong(source) | E::Unread(source) => return of_bundle(&**source),
        E::File(FileError::NoSpace { .. }) => "free some space",
        E::TooLong { .. } => "give a larger --size",
        E::NoBytes => "see why the command before it has written nothing",
        E::Changed(_) => "run it again when nothing writes to it",
        E::Busy { .. } | E::Rival { .. } => "wait for its end",
        E::Foreign { .. } => "give another file with --journal",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// What to do about a bundle that was being read.
fn of_bundle(error: &(dyn StdError + 'static)) -> Option<String> {
    match error.downcast_ref() {
        Some(ami_bundle::Error::Other(error)) => bundle_outcome::advise(&**error),
        _ => bundle_outcome::advise(error),
    }
}

/// What to do about a request that failed, to whichever service: EC2 API reference, "Error codes"; EBS API reference, "Common errors".
fn of_request(error: &RequestError) -> Option<String> {
    let advice = match error {
        RequestError::Service(error) => match error.code.as_str() {
            "UnauthorizedOperation" | "AccessDeniedException" | "AccessDenied" => {
                "these credentials do not allow it: docs/iam.md has the policies that each verb needs"
            }
            "AuthFailure" => {
                "check the credentials, and that the region is enabled for this account"
            }
            "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "InvalidAccessKeyId" => "check the credentials and the region",
            "RequestExpired" | "ExpiredToken" | "ExpiredTokenException" => {
                "get new temporary credentials, and check this machine's clock"
            }
            "OptInRequired" => "enable the region for this account",
            "ServiceQuotaExceededException" => {
                "ec2-ami clean deletes what interrupted runs have left; AWS raises quotas on request"
            }
            "RequestLimitExceeded" | "SlowDown" => "try again later",
            _ if error.status >= 500 => "try again later",
            _ => return None,
        },
        RequestError::Unreached(_) | RequestError::Protocol(_) => {
            "check the network, the region and --endpoint-url"
        }
        _ => "check the network",
    };
    Some(advice.to_owned())
}
