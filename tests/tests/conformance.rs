//! Runs command lines that were recorded with the older suite, and compares exit code, output, kind of error and files. What is meant to
//! differ is in a table, with its reason (docs/compatibility.md).

use std::collections::BTreeMap;

use end_to_end::imds::{Service, Version};
use end_to_end::recorded::{
    Meant, Surroundings, cases, check_reasons, compare, leveled, recorded, run_case,
};
use end_to_end::text;

/// The commands that exist here.
const COMMANDS: [&str; 4] = [
    "ec2-ami-tools-version",
    "ec2-bundle-image",
    "ec2-bundle-vol",
    "ec2-unbundle",
];

/// Why a case differs, and the cases. Each reason is a line of docs/compatibility.md.
const MEANT: Meant = &[
    (
        "Help and manual have their own texts",
        &[
            "bundle-image/help",
            "bundle-image/h",
            "bundle-image/manual",
            "bundle-image/hel",
            "bundle-image/man",
            "unbundle/help",
            "unbundle/h",
            "unbundle/manual",
            "bundle-vol/help",
            "bundle-vol/h",
            "bundle-vol/manual",
        ],
    ),
    (
        "An account is exactly twelve digits",
        &[
            "bundle-image/user-13",
            "bundle-image/user-12-digits-in-text",
        ],
    ),
    (
        "Words that belong to no option are named on standard error",
        &[
            "bundle-image/extra-args",
            "bundle-image/options-after-words",
            "bundle-image/at-file",
            "unbundle/extra-args",
            "bundle-image/h",
            "bundle-vol/h",
        ],
    ),
    (
        "Answers come from standard input only",
        &[
            "bundle-image/extra-args-prompt",
            "bundle-image/extra-args-prompt-file",
        ],
    ),
    (
        "Names and paths are never passed to a shell",
        &[
            "bundle-image/prefix-space",
            "bundle-image/prefix-amp",
            "bundle-image/prefix-quote",
            "bundle-image/prefix-hyphen",
            "bundle-image/image-space",
            "bundle-image/image-name-runs-shell",
            "bundle-image/dest-space",
            "unbundle/source-space",
        ],
    ),
    (
        "Existing files are not deleted, except stale parts",
        &[
            "bundle-image/prefix-exists-in-dest",
            "bundle-image/dest-exists-files",
        ],
    ),
    (
        "Control characters are refused",
        &[
            "bundle-image/bdm-newline",
            "bundle-image/kernel-control-char",
        ],
    ),
    (
        "--no-size-checks has an effect",
        &["bundle-image/too-large-no-check"],
    ),
    (
        "Keys and certificates are checked before anything else",
        &[
            "bundle-image/key-is-cert",
            "bundle-image/key-garbage",
            "bundle-image/key-encrypted-eof",
            "bundle-image/key-encrypted-pkcs8",
            "bundle-image/key-encrypted-stdin",
            "bundle-image/key-ec",
            "bundle-image/cert-ec",
            "bundle-image/key-public",
            "bundle-image/key-empty",
            "bundle-image/key-does-not-match-cert",
        ],
    ),
    (
        "EC2's certificate is not part of this project",
        &["bundle-image/ec2cert-default"],
    ),
    (
        "A failed pipeline is reported in an ERROR: line",
        &[
            "bundle-image/dest-unwritable",
            "bundle-image/image-unreadable",
        ],
    ),
    (
        "A bundle is verified before its image gets its name",
        &[
            "unbundle/part-corrupt",
            "unbundle/part-truncated",
            "unbundle/digest-mismatch",
        ],
    ),
    (
        "No fixed names in /tmp",
        &["unbundle/pipe-name-taken", "unbundle/pipe-name-is-dir"],
    ),
    (
        "A folder that is not a mount point can be bundled",
        &["bundle-vol/plain-directory"],
    ),
    (
        "A volume that is a bare file system is not partitioned, unless --partition says so",
        &["bundle-vol/partition-default"],
    ),
    (
        "What cannot work is reported before anything is made",
        &[
            "bundle-vol/size-zero",
            "bundle-vol/too-small",
            "bundle-vol/partition-gpt-no-grub",
        ],
    ),
    (
        "An incomplete image does not stay",
        &["bundle-vol/script-fails"],
    ),
    (
        "The image and the bundle are not copied into the image",
        &["bundle-vol/dest-inside-volume"],
    ),
    (
        "--debug reports what is run on standard error only",
        &["bundle-vol/debug"],
    ),
];

/// The manifest inherits the same with either version of the service.
#[test]
fn metadata_is_inherited_as_recorded() {
    let cases = cases("metadata.jsonl", &COMMANDS);
    assert_eq!(cases.len(), 6);
    for case in cases {
        let answers: BTreeMap<String, String> = case["metadata"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, answer)| (path.clone(), text(answer).to_owned()))
            .collect();
        for version in [Version::V2Only, Version::V1Only, Version::V1BehindHopLimit] {
            let service = Service::start(version, answers.clone());
            let (expected, found) = (
                leveled(recorded(&case)),
                leveled(run_case(
                    &case,
                    Surroundings {
                        metadata: &service.endpoint,
                        ..Surroundings::default()
                    },
                )),
            );
            assert_eq!(found, expected, "{} {version:?}", case["id"]);
            let is_asked = !text(&case["id"]).ends_with("no-inherit");
            assert_eq!(service.requests().is_empty(), !is_asked, "{}", case["id"]);
        }
    }
}

#[test]
fn every_case_is_as_recorded_or_differs_as_meant() {
    let cases = cases("cases-detailed.jsonl", &COMMANDS);
    assert!(cases.len() > 240, "{}", cases.len());
    let mut threads = Vec::new();
    // The cases that wait for an answer take half a minute each, so they run beside the others.
    let (waiting, quick): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case["stdin"] == "hang");
    for case in waiting {
        threads.push(std::thread::spawn(move || {
            (
                recorded(&case),
                run_case(&case, Surroundings::default()),
                case,
            )
        }));
    }
    let results = quick.into_iter().map(|case| {
        (
            recorded(&case),
            run_case(&case, Surroundings::default()),
            case,
        )
    });
    let results: Vec<_> = results.collect();
    let waited = threads.into_iter().map(|thread| thread.join().unwrap());
    compare(results.into_iter().chain(waited), MEANT);
}

#[test]
fn every_reason_is_in_the_compatibility_table() {
    check_reasons(MEANT);
}
