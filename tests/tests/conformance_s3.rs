//! Command lines that were run against the older suite with an S3 server, run against these commands in the same way: the same exit
//! code, output, kind of error, files and buckets. What is meant to differ is in a table, with its reason (docs/compatibility.md).

use std::collections::BTreeMap;

use end_to_end::imds::{Service, Version};
use end_to_end::moto::Moto;
use end_to_end::proxy::{Action, Proxy, Rule, Slowness};
use end_to_end::recorded::{
    Found, Meant, Surroundings, cases, check_reasons, compare, leveled, recorded, run_case,
};
use end_to_end::{golden, text};
use serde_json::{Value, json};

const COMMANDS: [&str; 3] = [
    "ec2-upload-bundle",
    "ec2-download-bundle",
    "ec2-delete-bundle",
];

/// Why a case differs, and the cases. Each reason is a line of docs/compatibility.md.
const MEANT: Meant = &[
    (
        "Keys, names and paths are taken as they are",
        &[
            "upload/key-prefix-special",
            "upload/manifest-space",
            "download/dest-space",
            "delete/prefix-amp",
        ],
    ),
    (
        "A bundle is checked before anything of it is sent",
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
        "Buckets can be made in every region",
        &[
            "upload/location-new",
            "upload/location-eu-west-1",
            "upload/region",
        ],
    ),
    (
        "Requests in version 2 say no content type",
        &["upload/sigv2", "upload/token-sigv2"],
    ),
    (
        "A refusal is an error, in either version of the signature",
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
        "Who may not ask for a bucket's location may still use it",
        &["upload/403-location"],
    ),
    (
        "What fails and may succeed is tried again, whatever it is",
        &["upload/create-409-retry"],
    ),
    (
        "Redirects are followed to the place that they name",
        &["upload/redirect-301-endpoint-localhost"],
    ),
    (
        "A server of one's own is asked by its whole URL",
        &["upload/virtual-host-port"],
    ),
    (
        "A download gets its names when it is whole and verified",
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

/// As [`MEANT`], of the cases without a server.
const MEANT_ALONE: Meant = &[
    (
        "Help and manual are in our own words",
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
        "Buckets can be made in every region",
        &["upload-bundle/location-us-east-1"],
    ),
    (
        "What fails and may succeed is tried again, whatever it is",
        &["upload-bundle/refused-retry"],
    ),
    (
        "--debug says what is run on standard error only",
        &["upload-bundle/refused-debug"],
    ),
    (
        "A server of one's own is asked by its whole URL",
        &["upload-bundle/url-other-scheme"],
    ),
    (
        "A question at the end of input means no",
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

/// Puts into the server what was there before a case; gives the faults.
fn prepare(case: &Value, moto: &mut Moto, url: &str) -> Vec<Rule> {
    let _ = moto.call("reset", &[]);
    let mut rules = Vec::new();
    let bundles = golden("bundles");
    let real = |word: &str| word.replace("$BUNDLES", bundles.to_str().unwrap());
    for step in case["prepare"].as_array().into_iter().flatten() {
        let words: Vec<String> = step.as_array().unwrap()[1..]
            .iter()
            .filter_map(Value::as_str)
            .map(real)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match text(&step[0]) {
            "bucket" => drop(moto.call("bucket", &words)),
            "putdir" => {
                let [bucket, prefix, folder] = words[..] else {
                    panic!("{step}")
                };
                for name in end_to_end::names(folder.as_ref()) {
                    if matches!(name.as_str(), "recipe.sh" | "info.json" | "tar-headers.bin") {
                        continue;
                    }
                    let _ = moto.call(
                        "put",
                        &[
                            bucket,
                            &format!("{prefix}{name}"),
                            &format!("{folder}/{name}"),
                        ],
                    );
                }
            }
            "put" => {
                let [bucket, key, content] = words[..] else {
                    panic!("{step}")
                };
                let named = match content.strip_prefix("text:") {
                    Some(content) => json!({"text": content}),
                    None => json!({"path": content}),
                };
                let _ = moto.call_with("put", &[bucket, key], named);
            }
            "many" => {
                let count = &step[3];
                let _ = moto.call_with("many", &words[..2], json!({"count": count}));
            }
            "faults" => rules.extend(
                step[1]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|fault| rule(fault, url)),
            ),
            other => panic!("{other}"),
        }
    }
    rules
}

fn rule(fault: &Value, url: &str) -> Rule {
    let host = url.strip_prefix("http://").unwrap();
    // Where the recorded server was.
    let here = |text: &str| text.replace("127.0.0.1:5056", host);
    let times = u32::try_from(fault["times"].as_i64().unwrap()).ok();
    let kind = fault["type"].as_str().unwrap_or("application/xml");
    let mut headers = vec![("Content-Type".to_owned(), kind.to_owned())];
    for (name, value) in fault["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), here(text(value))));
    }
    Rule::new(
        text(&fault["method"]),
        text(&fault["match"]),
        times,
        Action::Answer {
            status: u16::try_from(fault["status"].as_u64().unwrap()).unwrap(),
            headers,
            body: here(text(&fault["body"])),
        },
    )
}

/// The recorded server was also at the port that no URL names.
fn at_our_port(case: &Value, url: &str) -> Value {
    let mut case = case.clone();
    let port = url.rsplit(':').next().unwrap();
    for word in case["args"].as_array_mut().unwrap() {
        if text(word) == "http://localhost" {
            *word = format!("http://localhost:{port}").into();
        }
    }
    case
}

fn with_buckets(mut found: Found, moto: &mut Moto, before: &Value) -> Found {
    let after = moto.call("state", &[]);
    found.buckets = if after == *before {
        "unchanged".into()
    } else {
        after
    };
    found
}

#[test]
fn every_case_with_a_server_is_as_recorded_or_differs_as_meant() {
    let mut moto = Moto::start();
    let proxy = Proxy::start(moto.address, Slowness::default());
    let cases = cases("s3.jsonl", &COMMANDS);
    assert!(cases.len() > 100, "{}", cases.len());
    let results = cases.into_iter().map(|case| {
        let rules = prepare(&case, &mut moto, &proxy.url());
        let before = moto.call("state", &[]);
        proxy.set_rules(rules);
        let surroundings = Surroundings {
            url: &proxy.url(),
            ..Surroundings::default()
        };
        let found = run_case(&at_our_port(&case, &proxy.url()), surroundings);
        let found = with_buckets(found, &mut moto, &before);
        (recorded(&case), found, case)
    });
    compare(results, MEANT);
}

#[test]
fn every_case_without_a_server_is_as_recorded_or_differs_as_meant() {
    let cases = cases("cases-detailed.jsonl", &COMMANDS);
    assert!(cases.len() > 70, "{}", cases.len());
    let run = |case: Value| {
        (
            recorded(&case),
            run_case(&case, Surroundings::default()),
            case,
        )
    };
    // Some wait for an answer, or try again and again: side by side.
    let threads: Vec<_> = cases
        .into_iter()
        .map(|case| std::thread::spawn(move || run(case)))
        .collect();
    compare(
        threads.into_iter().map(|thread| thread.join().unwrap()),
        MEANT_ALONE,
    );
}

/// The recorded service left out what the real one always says of credentials, and the SDK wants.
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

/// The instance's role is used where no keys are given, and its region is compared with the bucket's.
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
                url: &format!("http://{}", moto.address),
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
