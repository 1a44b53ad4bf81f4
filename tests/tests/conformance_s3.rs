//! Runs command lines that were recorded with the older suite and an S3 server, and compares exit code, output, kind of error, files and
//! buckets. What is meant to differ is in a table, with its reason (docs/compatibility.md).

use std::collections::BTreeMap;

use end_to_end::imds::{Service, Version};
use end_to_end::moto::Moto;
use end_to_end::recorded::{
    Meant, Surroundings, cases, check_reasons, compare, leveled, recorded, run_case,
    run_side_by_side,
};
use end_to_end::recorded_s3::run_with_server;
use end_to_end::text;
use serde_json::Value;

const COMMANDS: [&str; 3] = [
    "ec2-upload-bundle",
    "ec2-download-bundle",
    "ec2-delete-bundle",
];

/// Why a case differs, and the cases. Each reason is a line of docs/compatibility.md.
const MEANT: Meant = &[
    (
        "Keys, names and paths may contain any characters",
        &[
            "upload/key-prefix-special",
            "upload/manifest-space",
            "download/dest-space",
            "delete/prefix-amp",
        ],
    ),
    (
        "A bundle is checked before any of it is sent",
        &[
            "upload/part-file-missing",
            "upload/part-file-missing-retry",
            "upload/directory-default",
            "upload/manifest-no-parts",
            "upload/part-digest-not-checked",
        ],
    ),
    (
        "A part's name in a manifest cannot have a slash",
        &[
            "upload/traversal-part",
            "download/traversal",
            "download/sub-directory-part",
        ],
    ),
    (
        "Buckets can be created in every region",
        &[
            "upload/location-new",
            "upload/location-eu-west-1",
            "upload/region",
        ],
    ),
    (
        "Requests with signature version 2 have no content type",
        &["upload/sigv2", "upload/token-sigv2"],
    ),
    (
        "A refusal is an error, with either signature version",
        &[
            "upload/403-first",
            "upload/403-always",
            "upload/403-everything",
            "download/403",
            "download/403-part",
            "delete/403-list",
        ],
    ),
    (
        "Without permission to get a bucket's location, it can still be used",
        &["upload/403-location"],
    ),
    (
        "Every operation that may succeed later is retried",
        &["upload/create-409-retry"],
    ),
    (
        "Redirects are followed, and requests signed for their target",
        &["upload/redirect-301-endpoint-localhost"],
    ),
    (
        "Requests to another server use its whole URL",
        &["upload/virtual-host-port"],
    ),
    (
        "The files of a download get their names when all of them are verified",
        &[
            "download/part-missing",
            "download/corrupt-part",
            "download/exists-404",
            "download/no-retry-500",
            "download/garbage-manifest",
            "download/text-manifest",
            "download/shell-part",
        ],
    ),
    (
        "Encrypted manifests can be read",
        &[
            "download/encrypted-manifest",
            "download/encrypted-manifest-c-locale",
        ],
    ),
    (
        "A bucket is deleted only after a yes",
        &["delete/clear-prompt-n"],
    ),
    ("Listings are read to their end", &["delete/over-1000"]),
];

/// As [`MEANT`], for the cases without a server.
const MEANT_ALONE: Meant = &[
    (
        "Help and manual have their own texts",
        &[
            "upload-bundle/help",
            "upload-bundle/h",
            "upload-bundle/manual",
            "download-bundle/help",
            "download-bundle/h",
            "download-bundle/manual",
            "delete-bundle/help",
            "delete-bundle/h",
            "delete-bundle/manual",
        ],
    ),
    (
        "Buckets can be created in every region",
        &["upload-bundle/location-us-east-1"],
    ),
    (
        "Every operation that may succeed later is retried",
        &["upload-bundle/refused-retry"],
    ),
    (
        "--debug reports what is run on standard error only",
        &["upload-bundle/refused-debug"],
    ),
    (
        "Requests to another server use its whole URL",
        &["upload-bundle/url-other-scheme"],
    ),
    (
        "The end of input answers a question with no",
        &[
            "delete-bundle/manifest-eof",
            "delete-bundle/manifest-closed",
        ],
    ),
    (
        "A bucket is deleted only after a yes",
        &["delete-bundle/manifest-n-clear"],
    ),
];

#[test]
fn every_case_with_a_server_is_as_recorded_or_differs_as_meant() {
    let cases = cases("s3.jsonl", &COMMANDS);
    assert!(cases.len() > 100, "{}", cases.len());
    compare(run_with_server(cases), MEANT);
}

#[test]
fn every_case_without_a_server_is_as_recorded_or_differs_as_meant() {
    let cases = cases("cases-detailed.jsonl", &COMMANDS);
    assert!(cases.len() > 70, "{}", cases.len());
    // Some wait for an answer, or retry.
    compare(run_side_by_side(cases), MEANT_ALONE);
}

/// Adds fields that the real service always sends with credentials and the SDK requires, but that the recorded service left out.
fn complete(answer: &str) -> String {
    match serde_json::from_str::<Value>(answer) {
        Ok(Value::Object(mut credentials)) => {
            for (name, value) in [
                ("Code", "Success"),
                ("Type", "AWS-HMAC"),
                ("LastUpdated", "2026-01-01T00:00:00Z"),
                ("Expiration", "2099-01-01T00:00:00Z"),
            ] {
                let _ = credentials.insert(name.to_owned(), value.into());
            }
            Value::Object(credentials).to_string()
        }
        _ => answer.to_owned(),
    }
}

/// The instance's role is used if no keys are given, and its region is compared with the bucket's.
#[test]
fn the_instance_is_asked_as_recorded() {
    let mut moto = Moto::start();
    let cases = cases("metadata.jsonl", &COMMANDS);
    assert_eq!(cases.len(), 7);
    for case in cases {
        let answers: BTreeMap<String, String> = case["metadata"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, answer)| (path.clone(), complete(text(answer))))
            .collect();
        for version in [Version::V2Only, Version::V1Only] {
            let _ = moto.call("reset", &[]);
            for bucket in case["buckets"].as_array().into_iter().flatten() {
                let _ = moto.call("bucket", &[text(bucket)]);
            }
            let service = Service::start(version, answers.clone());
            let surroundings = Surroundings {
                metadata: &service.endpoint,
                url: &moto.url(),
            };
            let (expected, found) = (
                leveled(recorded(&case)),
                leveled(run_case(&case, surroundings)),
            );
            assert_eq!(found, expected, "{} {version:?}", case["id"]);
        }
    }
}

#[test]
fn every_reason_is_in_the_compatibility_table() {
    check_reasons(MEANT);
    check_reasons(MEANT_ALONE);
}
