//! Command lines that were run against the older suite, run against these commands: the same exit code, the same output, the same
//! kind of error, the same files. What is meant to differ is in a table, with its reason (docs/compatibility.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::imds::{Service, Version};
use end_to_end::{METADATA_ENDPOINT, NO_METADATA, Outcome, command_path, folder, golden, text};
use serde_json::Value;

/// The commands that exist here.
const COMMANDS: [&str; 4] = [
    "ec2-ami-tools-version",
    "ec2-bundle-image",
    "ec2-bundle-vol",
    "ec2-unbundle",
];

/// Why a case differs, and the cases. Each reason is a line of docs/compatibility.md.
const MEANT: &[(&str, &[&str])] = &[
    (
        "Help and manual are in our own words",
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
        "Names and paths go through no shell",
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
        "Existing files are not deleted, stale parts are",
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
        "A failed pipeline is an ERROR: line",
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
        "A folder that is no mount point can be bundled",
        &["bundle-vol/plain-directory"],
    ),
    (
        "A volume that is a bare file system is not partitioned, unless --partition says so",
        &["bundle-vol/partition-default"],
    ),
    (
        "What cannot work is said before anything is made",
        &[
            "bundle-vol/size-zero",
            "bundle-vol/too-small",
            "bundle-vol/partition-gpt-no-grub",
        ],
    ),
    (
        "An image that failed does not stay",
        &["bundle-vol/script-fails"],
    ),
    (
        "The image and the bundle are not copied into the image",
        &["bundle-vol/dest-inside-volume"],
    ),
    (
        "--debug says what is run on standard error only",
        &["bundle-vol/debug"],
    ),
];

fn reason(case: &str) -> Option<&'static str> {
    MEANT
        .iter()
        .find(|(_, cases)| cases.contains(&case))
        .map(|(reason, _)| *reason)
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    code: i32,
    stdout: String,
    /// `usage`, `error`, `other` or nothing.
    kind: &'static str,
    new: Vec<String>,
    changed: Vec<String>,
    gone: Vec<String>,
    probe: String,
}

/// What differs in many cases in the same way, taken out of both sides. Each reason is a line of docs/compatibility.md.
const EVERYWHERE: &[&str] = &[
    "The volume is never written to",
    "Top-level dot files of the volume are copied",
    "The image is mounted where nobody else sees it",
];

fn leveled(mut found: Found) -> Found {
    found.changed.retain(|name| name != "vol.fs");
    found.probe = found.probe.replace(".\n./.dotfile\n", ".\n");
    let is_mount_point = |word: &str| word.ends_with("/img-mnt");
    let words = found.stdout.split(' ');
    let words = words.map(|word| {
        if is_mount_point(word) {
            "/mnt/img-mnt"
        } else {
            word
        }
    });
    found.stdout = words.collect::<Vec<_>>().join(" ");
    found
}

/// Lines that are said in addition, on standard error. Each reason is a line of docs/compatibility.md.
const ADDED: &[(&str, &str)] = &[(
    "What the filter takes out is said on standard error",
    "Left out ",
)];

fn kind(stderr: &str) -> &'static str {
    let is_added = |line: &&str| ADDED.iter().any(|(_, start)| line.starts_with(start));
    let stderr: String = stderr
        .split_inclusive('\n')
        .filter(|line| !is_added(line))
        .collect();
    match stderr.as_str() {
        "" => "",
        text if text.contains("\nTry '") => "usage",
        text if text.contains("ERROR: ") => "error",
        _ => "other",
    }
}

/// Masks what is another one in every run: loop devices, and the table of file systems, which the record leaves out.
fn without_numbers(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut is_table = false;
    for line in text.split_inclusive('\n') {
        if is_table && line.starts_with("\t ") {
            continue;
        }
        let line = match line.split_once("(/dev/loop") {
            Some((start, end)) => {
                let end = end.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{start}(/dev/loop<n>{end}")
            }
            None => line.to_owned(),
        };
        is_table = line == "/etc/fstab:\n";
        lines.push(line);
        if is_table {
            lines.push("<fstab lines>\n".to_owned());
        }
    }
    lines.concat()
}

/// Every file and folder below a folder, with what shows that it was changed.
fn tree(root: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, (u64, i64, i64)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            if metadata.is_dir() {
                let _ = found.insert(format!("{name}/"), (0, 0, 0));
                walk(root, &path, found);
            } else {
                let state = (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
                let _ = found.insert(name.to_owned(), state);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn run_case(case: &Value, metadata: &str) -> Found {
    let (work, for_all) = (folder(), folder());
    let root = work.path();
    let is_nobody = case["as_user"] == "nobody";
    // Somebody else cannot read what is in root's folders.
    let keys = if is_nobody {
        let copies = for_all.path().join("keys");
        let copy = format!("cp -r '{}' keys; chmod -R a+rX .", golden("keys").display());
        let _ = end_to_end::shell(&copy, for_all.path());
        copies
    } else {
        golden("keys")
    };
    let bundles = golden("bundles");
    let real = |word: &str| {
        word.replace("$DIR", root.to_str().unwrap())
            .replace("$KEYS", keys.to_str().unwrap())
            .replace("$BUNDLES", bundles.to_str().unwrap())
    };
    let masked = |text: &str| {
        text.replace(root.to_str().unwrap(), "$DIR")
            .replace(keys.to_str().unwrap(), "$KEYS")
            .replace(bundles.to_str().unwrap(), "$BUNDLES")
    };
    let masked = |text: &str| without_numbers(&masked(text));
    let variables = [("DIR", root), ("KEYS", &keys), ("BUNDLES", &bundles)];
    let script = |text: &str| {
        let mut bash = Command::new("bash");
        let _ = bash
            .args(["-c", text])
            .current_dir(root)
            .envs(variables)
            .stdin(Stdio::null());
        bash.output().unwrap()
    };
    if let Some(setup) = case["setup_sh"].as_str() {
        let output = script(&format!("set -e; {setup}"));
        assert!(output.status.success(), "{setup}: {output:?}");
    }
    let before = tree(root);
    let program = command_path(text(&case["tool"]));
    let mut command = if is_nobody {
        let _ = end_to_end::shell("chmod 755 .", root);
        let copy = for_all.path().join("command");
        let _ = fs::copy(&program, &copy).unwrap();
        let mut setpriv = Command::new("setpriv");
        let _ = setpriv
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy);
        setpriv
    } else {
        Command::new(&program)
    };
    let arguments = case["args"].as_array().cloned().unwrap_or_default();
    let _ = command
        .args(arguments.iter().map(|word| real(text(word))))
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("EC2_AMITOOL_HOME")
        .env_remove("EC2_HOME")
        .env(METADATA_ENDPOINT, metadata);
    if let Some(environment) = case["env"].as_object() {
        let _ = command.envs(
            environment
                .iter()
                .map(|(name, value)| (name, real(text(value)))),
        );
    }
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let kept = match case["stdin"].as_str() {
        Some("hang") => Some(stdin),
        // A process of Rust's finds /dev/null where a descriptor is closed.
        None | Some("eof" | "closed") => {
            drop(stdin);
            None
        }
        Some(answers) => {
            let mut stdin = stdin;
            // Where nothing is asked, nothing reads it.
            let _ = stdin.write_all(answers.as_bytes());
            None
        }
    };
    let output = child.wait_with_output().unwrap();
    drop(kept);
    let outcome = Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: masked(&String::from_utf8_lossy(&output.stdout)),
        stderr: masked(&String::from_utf8_lossy(&output.stderr)),
    };
    let after = tree(root);
    let only = |a: &BTreeMap<String, _>, b: &BTreeMap<String, (u64, i64, i64)>| {
        a.keys()
            .filter(|name| !b.contains_key(*name))
            .cloned()
            .collect()
    };
    let probe = match case["probe"].as_str() {
        Some(probe) => {
            let output = script(&format!("exec 2>&1; {probe}"));
            masked(&String::from_utf8_lossy(&output.stdout))
        }
        None => String::new(),
    };
    if let Some(teardown) = case["teardown_sh"].as_str() {
        let _ = script(teardown);
    }
    // What some cases put into /tmp, or have put there.
    let _ = script("rm -rf /tmp/ec2-unbundle-image-digest-pipe /tmp/ec2golden-my-prefix.*");
    let first_line = case["stdout_first_line_only"] == true;
    Found {
        code: outcome.code,
        stdout: match outcome.stdout.split_once('\n') {
            Some((first, _)) if first_line => first.to_owned(),
            _ => outcome.stdout,
        },
        kind: kind(&outcome.stderr),
        changed: after
            .iter()
            .filter(|(name, state)| before.get(*name).is_some_and(|old| old != *state))
            .map(|(name, _)| name.clone())
            .collect(),
        new: only(&after, &before),
        gone: only(&before, &after),
        probe,
    }
}

fn recorded(case: &Value) -> Found {
    let list = |name: &str| {
        let list = case[name].as_array().cloned().unwrap_or_default();
        list.iter().map(|name| text(name).to_owned()).collect()
    };
    Found {
        code: i32::try_from(case["exit"].as_i64().unwrap_or(-1)).unwrap(),
        stdout: case["stdout"].as_str().unwrap_or_default().to_owned(),
        kind: kind(case["stderr"].as_str().unwrap_or_default()),
        new: list("files_new"),
        changed: list("files_changed"),
        gone: list("files_gone"),
        probe: case["probe_output"].as_str().unwrap_or_default().to_owned(),
    }
}

fn cases(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/contract")
        .join(file);
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|case: &Value| COMMANDS.contains(&text(&case["tool"])))
        .collect()
}

/// The manifest inherits the same, whichever version the service speaks.
#[test]
fn metadata_is_inherited_as_recorded() {
    let cases = cases("metadata.jsonl");
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
                leveled(run_case(&case, &service.endpoint)),
            );
            assert_eq!(found, expected, "{} {version:?}", case["id"]);
            let is_asked = !text(&case["id"]).ends_with("no-inherit");
            assert_eq!(service.requests().is_empty(), !is_asked, "{}", case["id"]);
        }
    }
}

#[test]
fn every_case_is_as_recorded_or_differs_as_meant() {
    let cases = cases("cases-detailed.jsonl");
    assert!(cases.len() > 240, "{}", cases.len());
    let mut wrong = Vec::new();
    let mut differing = BTreeSet::new();
    let mut threads = Vec::new();
    // The cases that wait for an answer take half a minute each: they run beside the others.
    let (waiting, quick): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case["stdin"] == "hang");
    for case in waiting {
        threads.push(std::thread::spawn(move || {
            (recorded(&case), run_case(&case, NO_METADATA), case)
        }));
    }
    let results = quick
        .into_iter()
        .map(|case| (recorded(&case), run_case(&case, NO_METADATA), case));
    let results: Vec<_> = results.collect();
    let waited = threads.into_iter().map(|thread| thread.join().unwrap());
    for (expected, found, case) in results.into_iter().chain(waited) {
        let id = text(&case["id"]).to_owned();
        let (expected, found) = (leveled(expected), leveled(found));
        let same = expected == found;
        match reason(&id) {
            Some(_) if !same => {
                let _ = differing.insert(id);
            }
            None if !same => wrong.push(format!(
                "{id}:\n  recorded {expected:?}\n  found    {found:?}"
            )),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> = MEANT
        .iter()
        .flat_map(|(_, cases)| cases.iter().map(|c| (*c).to_owned()))
        .collect();
    let idle: Vec<_> = listed.difference(&differing).collect();
    assert!(
        idle.is_empty(),
        "these are as recorded and need no exception: {idle:?}"
    );
}

#[test]
fn every_reason_is_in_the_compatibility_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let table = fs::read_to_string(path).unwrap().replace('`', "");
    for (reason, _) in MEANT
        .iter()
        .map(|(reason, _)| (reason, ()))
        .chain(ADDED.iter().map(|(reason, _)| (reason, ())))
        .chain(EVERYWHERE.iter().map(|reason| (reason, ())))
    {
        assert!(
            table.contains(reason),
            "docs/compatibility.md lacks: {reason}"
        );
    }
}
