//! Runs command lines that migrate bundles, which were recorded with the older suite and S3 and EC2 servers, in the same way. What is
//! meant to differ is in a table, with its reason (docs/compatibility.md).

use end_to_end::moto::Moto;
use end_to_end::recorded::{
    Meant, Surroundings, cases, check_reasons, compare, recorded, run_case, run_side_by_side,
};
use end_to_end::recorded_s3::run_with_server;
use end_to_end::text;
use serde_json::Value;

const COMMANDS: [&str; 2] = ["ec2-migrate-manifest", "ec2-migrate-bundle"];

/// Why a case differs, and the cases. Each reason is a line of docs/compatibility.md.
const MEANT: Meant = &[
    (
        "Help and manual have their own texts",
        &[
            "migrate-manifest/help",
            "migrate-manifest/h",
            "migrate-manifest/manual",
            "migrate-bundle/manual",
        ],
    ),
    (
        "A backup exists only if the manifest was migrated",
        &[
            "migrate-manifest/mapping-no-network",
            "migrate-manifest/mapping-given-both",
            "migrate-manifest/remove-eof",
            "migrate-manifest/key-garbage",
            "migrate-manifest/key-ec",
            "migrate-manifest/read-only",
        ],
    ),
];

/// As [`MEANT`], for `ec2-migrate-bundle` with a server.
const MEANT_WITH_S3: Meant = &[
    (
        "A bundle is checked before any of it is copied",
        &["migrate/no-source-bucket", "migrate/source-part-missing"],
    ),
    (
        "Buckets can be created in every region",
        &["migrate/location"],
    ),
];

/// As [`MEANT`], for `ec2-migrate-manifest` with EC2.
const MEANT_WITH_EC2: Meant = &[(
    "A backup exists only if the manifest was migrated",
    &[
        "map/invalid-region",
        "map/source-not-found",
        "map/no-match-in-target",
        "map/given-kernel-unknown-eof",
    ],
)];

#[test]
fn every_case_without_a_server_is_as_recorded_or_differs_as_meant() {
    let mut cases = cases("cases-detailed.jsonl", &COMMANDS);
    assert!(cases.len() > 45, "{}", cases.len());
    for case in &mut cases {
        // The recorded runs had no name server; here, too, no request may leave the machine.
        case["env"]["AWS_ENDPOINT_URL_EC2"] = "http://127.0.0.1:9".into();
    }
    compare(run_side_by_side(cases), MEANT);
}

#[test]
fn every_case_with_s3_is_as_recorded_or_differs_as_meant() {
    let mut cases = cases("s3.jsonl", &COMMANDS);
    assert_eq!(cases.len(), 18);
    for case in &mut cases {
        case["env"]["AWS_ENDPOINT_URL_EC2"] = "http://127.0.0.1:9".into();
    }
    compare(run_with_server(cases), MEANT_WITH_S3);
}

#[test]
fn every_case_with_ec2_is_as_recorded_or_differs_as_meant() {
    let mut moto = Moto::start();
    let cases = cases("mapping.jsonl", &COMMANDS);
    assert_eq!(cases.len(), 9);
    let url = moto.url();
    let run = |mut case: Value| {
        let _ = moto.call("reset", &[]);
        for (region, images) in case["ec2"]["images"].as_object().unwrap() {
            moto.images(region, images.clone());
        }
        if let Some(additional) = case["env"]["AMITOOLS_EC2_REGION_ENDPOINT"].as_str() {
            let (region, _) = additional.split_once('@').unwrap();
            case["env"]["AMITOOLS_EC2_REGION_ENDPOINT"] = format!("{region}@{url}").into();
        }
        case["env"]["AWS_ENDPOINT_URL_EC2"] = url.clone().into();
        let found = run_case(&case, Surroundings::default());
        (recorded(&case), found, case)
    };
    let results: Vec<_> = cases.into_iter().map(run).collect();
    assert!(
        results
            .iter()
            .any(|(_, _, case)| text(&case["id"]) == "map/env-endpoint")
    );
    compare(results, MEANT_WITH_EC2);
}

#[test]
fn every_reason_is_in_the_compatibility_table() {
    check_reasons(MEANT);
    check_reasons(MEANT_WITH_S3);
    check_reasons(MEANT_WITH_EC2);
}
