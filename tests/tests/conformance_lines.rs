//! Runs the first list of command lines that were recorded with the older suite (`fixtures/contract/cases.jsonl`) in the same way: split by
//! a shell, in a folder with keys, an image and bundles. What is meant to differ is in a table, with its reason.

use std::fs;
use std::path::Path;
use std::process::Command;

use end_to_end::recorded::{
    Found, Meant, Surroundings, check_reasons, compare, recorded, run_case,
};
use end_to_end::{command_path, outcome, text};
use serde_json::{Value, json};

/// Why a case differs, and the cases, identified by their line in the file. Each reason is a line of docs/compatibility.md.
const MEANT: Meant = &[
    (
        "Help and manual have their own texts",
        &[
            "line 5", "line 6", "line 67", "line 69", "line 87", "line 88", "line 98", "line 105",
            "line 107", "line 113", "line 125", "line 131",
        ],
    ),
    (
        "Words that belong to no option are named on standard error",
        &["line 13", "line 65"],
    ),
    (
        "Keys and certificates are checked before anything else",
        &["line 47", "line 51", "line 120"],
    ),
    (
        "A bundle is verified before its image gets its name",
        &["line 61", "line 62", "line 63", "line 66"],
    ),
    (
        "What cannot work is reported before anything is made",
        &["line 75"],
    ),
    ("The end of input answers a question with no", &["line 112"]),
];

/// Fills the folder before each case, as the file's first line describes.
const SETUP: &str = r#"
    mkdir out un bundle corrupt missing short home
    cp "$KEYS/user2048.key" pk.pem; cp "$KEYS/user2048.crt" cert.pem
    cp "$KEYS/user1024.crt" ec2.pem; cp "$KEYS/other.key" other.pem
    echo garbage > garbage; : > empty; echo 'echo no' > script.sh
    head -c 70000 /dev/zero | tr '\0' '\1' > image
    truncate -s $((10 * 1024 * 1024 * 1024 + 1)) huge.img
    head -c 40000 /dev/urandom > bundle/tiny.img
    $BUNDLE -k pk.pem -c cert.pem -u 123456789012 --ec2cert ec2.pem -r i386 -i bundle/tiny.img -d bundle; rm bundle/tiny.img
    cp bundle/tiny.img.* corrupt; cp bundle/tiny.img.* short; cp bundle/tiny.img.manifest.xml missing
    printf '\377' | dd of=corrupt/tiny.img.part.0 bs=1 seek=20000 conv=notrunc status=none
    truncate -s 30000 short/tiny.img.part.0
    cp "$BUNDLES/e-meta/image.img.manifest.xml" k.manifest.xml
    mkdir -p home/etc/ec2/amitools; cp ec2.pem home/etc/ec2/amitools/cert-ec2.pem
"#;

/// The words of a command line, split by the shell, with `$DIR` for the folder.
fn words(line: &str) -> Vec<String> {
    let script = format!("printf '%s\\n' {line}");
    let mut shell = Command::new("bash");
    let printed = outcome(shell.args(["-c", &script]).env("D", "$DIR")).stdout;
    match line {
        "" => Vec::new(),
        _ => printed.lines().map(str::to_owned).collect(),
    }
}

/// The lines in the form of the later lists' cases.
fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/contract/cases.jsonl");
    let lines = fs::read_to_string(path).unwrap();
    let bundler = command_path("ec2-bundle-image");
    let numbered = lines.lines().enumerate().skip(1);
    numbered
        .map(|(index, line)| {
            let mut case: Value = serde_json::from_str(line).unwrap();
            for name in ["stdout", "stderr"] {
                case[name] = text(&case[name]).replace("$D", "$DIR").into();
            }
            let files: Vec<&str> = case["files"].as_array().unwrap().iter().map(text).collect();
            let files: String = files.iter().map(|name| format!("{name}\n")).collect();
            // Only the first line of help and manual was recorded.
            let is_first_line = !text(&case["stdout"]).contains('\n');
            json!({
                "id": format!("line {}", index + 1),
                "tool": case["tool"],
                "args": words(text(&case["args"])),
                "setup_sh": SETUP.replace("$BUNDLE ", &format!("'{}' ", bundler.display())),
                "stdin": case["stdin"],
                "env": {"EC2_AMITOOL_HOME": "$DIR/home"},
                "exit": case["exit"],
                "stdout": case["stdout"],
                "stderr": case["stderr"],
                "stdout_first_line_only": is_first_line,
                "probe": "find out un -type f | sort",
                "probe_output": files,
            })
        })
        .collect()
}

/// Only files in `out` and `un` were recorded.
fn without_files(found: Found) -> Found {
    let none = Vec::new;
    Found {
        new: none(),
        changed: none(),
        gone: none(),
        ..found
    }
}

#[test]
fn every_line_is_as_recorded_or_differs_as_meant() {
    let cases = cases();
    assert_eq!(cases.len(), 131);
    let run = |case: Value| {
        let found = run_case(&case, Surroundings::default());
        (recorded(&case), without_files(found), case)
    };
    compare(cases.into_iter().map(run), MEANT);
}

#[test]
fn every_reason_is_in_the_compatibility_table() {
    check_reasons(MEANT);
}
