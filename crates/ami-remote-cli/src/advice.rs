//! What to do about errors of stories, which state facts. All commands that use S3 have the options named here for it, and all that use
//! EC2 have those named for EC2.

use std::error::Error;

use ami_aws::{RequestError, ServiceError};
use ami_cli::advice::{as_a, of_files, of_manifests};
use ami_transfer::NameError;

/// What to do about an error of a story, or of a library that it uses. `folder` is the command's option for the folder that it writes to,
/// if it has one.
pub fn advice(error: &(dyn Error + 'static), folder: Option<&str>) -> Option<String> {
    let story = as_a::<ami_transfer::Error>(error);
    let original = story.map_or(error, ami_transfer::Error::original);
    let of_aws = || {
        let of_s3 = as_a(original).and_then(of_s3);
        let of_aws = of_s3.or_else(|| as_a(original).and_then(of_ec2));
        of_aws.map(str::to_owned)
    };
    story
        .and_then(|story| of_story(story, folder))
        .or_else(|| of_files(original, folder, None))
        .or_else(|| of_manifests(original))
        .or_else(of_aws)
}

fn of_story(error: &ami_transfer::Error, folder: Option<&str>) -> Option<String> {
    use ami_transfer::Error as E;
    let folder = folder?;
    let what = match error {
        E::Name(NameError::IsKey(_)) => "choose",
        E::Name(NameError::Exists(_)) => "move it, or choose",
        E::Rival { .. } => "wait for its end, or choose",
        _ => return None,
    };
    Some(format!("{what} another folder with {folder}"))
}

fn of_s3(error: &ami_s3::Error) -> Option<&'static str> {
    use ami_s3::Error as E;
    match error {
        E::Request { error, .. } => of_request_to_s3(error),
        E::Elsewhere { .. } => {
            Some("credentials are sent there only if --url or --region names it")
        }
        _ => None,
    }
}

fn of_request_to_s3(error: &RequestError) -> Option<&'static str> {
    match error {
        RequestError::Service(error) => of_answer_of_s3(error),
        RequestError::Unreached(_) | RequestError::Lost(_) | RequestError::Protocol(_) => {
            Some("check the network, the region and --url")
        }
        RequestError::Timeout => Some("try again, or with --retry"),
        RequestError::Deadline(_) => Some("check the network"),
        _ => None,
    }
}

/// S3 API reference, "Error responses".
fn of_answer_of_s3(error: &ServiceError) -> Option<&'static str> {
    Some(match error.code.as_str() {
        "AccessDenied" | "AllAccessDisabled" => {
            "these credentials do not allow it: see the policies of their user or role, and the bucket's"
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity" => {
            "check the access key and the secret key"
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => "get new temporary credentials",
        "RequestTimeTooSkewed" => "set this machine's clock",
        "AccessControlListNotSupported" => {
            "EC2 reads bundles by their ACL: set the bucket's object ownership to \"Bucket owner preferred\""
        }
        "BucketAlreadyExists" => "another account has a bucket of this name: choose another name",
        "NoSuchBucket" => "check the bucket's name",
        "NoSuchKey" => "check the folder behind the bucket's name, and the file's name",
        "BucketNotEmpty" => "it holds other files, and stays",
        "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            "give the bucket's region with --region"
        }
        "NotImplemented" | "MethodNotAllowed" => "this server does not know such a request",
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" => {
            "try again later, or with --retry"
        }
        _ if error.status >= 500 => "try again later, or with --retry",
        _ => return None,
    })
}

fn of_ec2(error: &ami_ec2::Error) -> Option<&'static str> {
    use ami_ec2::Error as E;
    match error {
        E::Request {
            error: RequestError::Service(error),
            ..
        } => of_answer_of_ec2(error),
        E::Request { .. } => {
            Some("check the network, or give --kernel and --ramdisk with --no-mapping")
        }
        E::NotFound { .. } => Some("give another with --kernel or --ramdisk"),
        E::NoCounterpart { .. } => Some("give one with --kernel or --ramdisk"),
        _ => None,
    }
}

/// EC2 API reference, "Error codes".
fn of_answer_of_ec2(error: &ServiceError) -> Option<&'static str> {
    Some(match error.code.as_str() {
        "UnauthorizedOperation" => {
            "these credentials do not allow it: ec2:DescribeRegions and ec2:DescribeImages are needed"
        }
        "AuthFailure" | "SignatureDoesNotMatch" => "check the access key and the secret key",
        "RequestExpired" => "get new temporary credentials, and check this machine's clock",
        "OptInRequired" => "enable the region for this account",
        "RequestLimitExceeded" => "try again later",
        _ if error.status >= 500 => "try again later",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(code: &str, status: u16) -> RequestError {
        let mut error = ServiceError::of_item(Some(code), Some("m"));
        error.status = status;
        RequestError::Service(error)
    }

    fn advised(error: &ami_transfer::Error) -> Option<String> {
        advice(error, Some("--directory"))
    }

    fn of_s3(error: RequestError) -> Option<String> {
        let operation = "Failed to upload \"x\"".to_owned();
        advised(&ami_transfer::Error::S3(ami_s3::Error::Request {
            operation,
            error,
        }))
    }

    fn of_ec2(error: RequestError) -> Option<String> {
        advised(&ami_transfer::Error::Ec2(ami_ec2::Error::Request {
            operation: "Failed to list regions",
            region: "us-east-1".to_owned(),
            error,
        }))
    }

    #[test]
    fn errors_are_advised_on_by_code_status_and_kind() {
        let network = || RequestError::Lost("reset".to_owned());
        for (error, expected) in [
            (answer("NoSuchBucket", 404), Some("check the bucket's name")),
            (answer("X", 502), Some("try again later, or with --retry")),
            (answer("X", 400), None),
            (network(), Some("check the network, the region and --url")),
            (RequestError::Timeout, Some("try again, or with --retry")),
            (
                RequestError::Deadline(Duration::from_secs(9)),
                Some("check the network"),
            ),
            (RequestError::Unread("long".to_owned()), None),
        ] {
            assert_eq!(of_s3(error).as_deref(), expected);
        }
        for (error, expected) in [
            (
                answer("OptInRequired", 401),
                Some("enable the region for this account"),
            ),
            (answer("X", 503), Some("try again later")),
            (answer("X", 400), None),
            (
                network(),
                Some("check the network, or give --kernel and --ramdisk with --no-mapping"),
            ),
        ] {
            assert_eq!(of_ec2(error).as_deref(), expected);
        }
        let not_found = ami_ec2::Error::NotFound { id: "aki-1".into() };
        assert_eq!(
            advised(&ami_transfer::Error::Ec2(not_found)).as_deref(),
            Some("give another with --kernel or --ramdisk")
        );
        assert_eq!(advised(&ami_transfer::Error::Interrupted), None);
    }

    #[test]
    fn a_full_disk_and_names_that_are_taken_are_advised_on_with_the_commands_own_option() {
        use ami_transfer::Error as E;
        use std::path::Path;
        let full = || std::io::ErrorKind::StorageFull.into();
        let write = || ami_parts::Error::io("write", Path::new("/x"))(full());
        let free = "free some, or choose another folder with --directory";
        let cases = [
            (E::Files(write()), Some(free), Some("free some")),
            (E::Destination(write()), Some(free), Some("free some")),
            (
                E::Name(NameError::IsKey("/x".into())),
                Some("choose another folder with --directory"),
                None,
            ),
            (
                E::Name(NameError::Exists("/x".into())),
                Some("move it, or choose another folder with --directory"),
                None,
            ),
            (
                E::Rival {
                    folder: "/x".into(),
                },
                Some("wait for its end, or choose another folder with --directory"),
                None,
            ),
            (E::Name(NameError::Twice("x".to_owned())), None, None),
            (
                E::Manifest(ami_manifest::Error::DocType),
                Some("remove it"),
                Some("remove it"),
            ),
        ];
        for (error, with_folder, without) in cases {
            assert_eq!(advised(&error).as_deref(), with_folder, "{error}");
            assert_eq!(advice(&error, None).as_deref(), without, "{error}");
        }
    }
}
