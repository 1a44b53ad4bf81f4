//! The recordings of the older suite (`fixtures/contract`), and running these commands in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine::{TmpNames, on_new_machine};
use crate::{METADATA_ENDPOINT, NO_METADATA, Outcome, command_path, folder, golden, isolate, text};

/// Why cases differ, and the cases. Each reason is a line of docs/compatibility.md.
pub type Meant = &'static [(&'static str, &'static [&'static str])];

/// What is compared of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The exit code.
    pub code: i32,
    /// Standard output, masked.
    pub stdout: String,
    /// The kind of text on standard error: `usage`, `error`, `other` or nothing.
    pub kind: &'static str,
    /// New files.
    pub new: Vec<String>,
    /// Changed files.
    pub changed: Vec<String>,
    /// Deleted files.
    pub gone: Vec<String>,
    /// The output of the case's own probe of the result.
    pub probe: String,
    /// The contents of the buckets, for cases with S3.
    pub buckets: Value,
}

/// Differences that occur in many cases, which are removed from both sides. Each reason is a line of docs/compatibility.md.
pub const EVERYWHERE: &[&str] = &[
    "The volume is never written to",
    "Top-level dot files of the volume are copied",
    "The image is mounted where no other process sees it",
];

/// Removes what differs [everywhere](EVERYWHERE).
pub fn leveled(mut found: Found) -> Found {
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

/// Additional lines on standard error. Each reason is a line of docs/compatibility.md.
pub const ADDED: &[(&str, &str)] = &[
    (
        "What the filter leaves out is reported on standard error",
        "Left out ",
    ),
    (
        "Keys on the command line cause a warning",
        "Others on this machine can see the keys",
    ),
    (
        "If your certificate has expired or is not valid yet, a warning on standard error says so",
        "WARNING: the certificate ",
    ),
];

/// The older suite's lines on standard error that are not printed here. Each reason is a line of docs/compatibility.md.
pub const NOT_SAID: &[(&str, &str)] = &[
    (
        "--url is not deprecated",
        "Specifying url has been deprecated",
    ),
    ("--url is not deprecated", "Region determined to be "),
    (
        "The location that follows from the region is not printed",
        "No location specified, setting location to conform",
    ),
];

fn kind(stderr: &str) -> &'static str {
    let others = ADDED.iter().chain(NOT_SAID);
    let is_added = |line: &&str| others.clone().any(|(_, start)| line.starts_with(start));
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

/// Masks what differs in every run: loop devices, and the table of file systems, which the record leaves out.
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

/// Every file and folder below a folder, with values that show whether it was changed.
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

/// The environment of a case's command.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The address of the instance metadata service.
    pub metadata: &'a str,
    /// What `$URL` stands for.
    pub url: &'a str,
}

impl Default for Surroundings<'_> {
    fn default() -> Self {
        Self {
            metadata: NO_METADATA,
            url: "",
        }
    }
}

/// Runs a case in its own folder.
///
/// # Panics
/// If the commands before or after it fail.
pub fn run_case(case: &Value, surroundings: Surroundings<'_>) -> Found {
    let _names = case.to_string().contains("/tmp/").then(TmpNames::take);
    let (work, for_all) = (folder(), folder());
    let root = work.path();
    let is_nobody = case["as_user"] == "nobody";
    // Another user cannot read root's folders.
    let keys = if is_nobody {
        let copies = for_all.path().join("keys");
        let copy = format!("cp -r '{}' keys; chmod -R a+rX .", golden("keys").display());
        let _ = crate::shell(&copy, for_all.path());
        copies
    } else {
        golden("keys")
    };
    let bundles = golden("bundles");
    let real = |word: &str| {
        word.replace("$DIR", root.to_str().unwrap())
            .replace("$URL", surroundings.url)
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
        let _ = crate::shell("chmod 755 .", root);
        let copy = for_all.path().join("command");
        let _ = fs::copy(&program, &copy).unwrap();
        let mut setpriv = on_new_machine("setpriv");
        let _ = setpriv
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy);
        setpriv
    } else {
        on_new_machine(&program)
    };
    let arguments = case["args"].as_array().cloned().unwrap_or_default();
    let _ = isolate(&mut command)
        .args(arguments.iter().map(|word| real(text(word))))
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env(METADATA_ENDPOINT, surroundings.metadata);
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
        // A Rust process opens /dev/null in place of a closed descriptor.
        None | Some("eof" | "closed") => {
            drop(stdin);
            None
        }
        Some(answers) => {
            let mut stdin = stdin;
            // Fails if the command asks nothing and so does not read it.
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
        buckets: Value::Null,
    }
}

/// Runs cases that wait, for an answer or between tries, all at once. Returns what was recorded, what was found, and the case.
pub fn run_side_by_side(cases: Vec<Value>) -> Vec<(Found, Found, Value)> {
    let run = |case: Value| {
        let found = run_case(&case, Surroundings::default());
        (recorded(&case), found, case)
    };
    let threads: Vec<_> = cases
        .into_iter()
        .map(|case| std::thread::spawn(move || run(case)))
        .collect();
    let results = threads.into_iter().map(|thread| thread.join().unwrap());
    results.collect()
}

/// What was recorded for a case.
pub fn recorded(case: &Value) -> Found {
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
        buckets: case["buckets_after"].clone(),
    }
}

/// The cases of these commands in a file of `fixtures/contract`.
pub fn cases(file: &str, commands: &[&str]) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/contract")
        .join(file);
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|case: &Value| commands.contains(&text(&case["tool"])))
        .collect()
}

/// Compares what was found with what was recorded: they must be equal, or the case must be meant to differ.
///
/// # Panics
/// If neither is true, or if a case that is meant to differ does not.
pub fn compare(results: impl IntoIterator<Item = (Found, Found, Value)>, meant: Meant) {
    let mut wrong = Vec::new();
    let mut differing = BTreeSet::new();
    for (expected, found, case) in results {
        let id = text(&case["id"]).to_owned();
        let (expected, found) = (leveled(expected), leveled(found));
        let is_meant = meant.iter().any(|(_, cases)| cases.contains(&id.as_str()));
        if expected != found {
            if !is_meant {
                wrong.push(format!(
                    "{id}:\n  recorded {expected:?}\n  found    {found:?}"
                ));
            }
            let _ = differing.insert(id);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed = meant.iter().flat_map(|(_, cases)| cases.iter());
    let idle: Vec<_> = listed.filter(|case| !differing.contains(**case)).collect();
    assert!(
        idle.is_empty(),
        "these are as recorded and need no exception: {idle:?}"
    );
}

/// Checks that every reason is a line of docs/compatibility.md.
///
/// # Panics
/// If one is not.
pub fn check_reasons(meant: Meant) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let table = fs::read_to_string(path).unwrap().replace('`', "");
    let lines = ADDED.iter().chain(NOT_SAID).map(|(reason, _)| reason);
    let reasons = meant.iter().map(|(reason, _)| reason);
    for reason in reasons.chain(lines).chain(EVERYWHERE) {
        assert!(
            table.contains(reason),
            "docs/compatibility.md lacks: {reason}"
        );
    }
}
