//! The guide (`docs/`): every command in it runs as printed, or is marked as needing AWS; every message that it explains can be printed;
//! all links and the files that pages name exist. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::moto::Moto;
use end_to_end::mounts::Mount;
use end_to_end::volumes::fill;
use end_to_end::{Outcome, command_path, folder, golden, isolate, key, outcome, run, text};
use regex::Regex;
use serde_json::json;

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// A page's blocks of commands that do not need AWS, in order.
fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.filter(|block| !block.starts_with("# AWS")).collect()
}

/// A machine with an empty /mnt, EC2's certificates, S3 and credentials.
struct Machine {
    moto: Moto,
    volume: Mount,
    home: tempfile::TempDir,
    device: String,
}

impl Machine {
    fn new() -> Self {
        let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
        fill(&volume.path());
        let home = folder();
        let certificates = home.path().join("etc/ec2/amitools");
        fs::create_dir_all(&certificates).unwrap();
        let _ = fs::copy(key("ec2.crt"), certificates.join("cert-ec2.pem")).unwrap();
        let _ = fs::copy(key("user2048.key"), home.path().join("pk.pem")).unwrap();
        let disk = end_to_end::shell(
            "truncate -s 128M disk; losetup --find --show disk",
            home.path(),
        );
        Self {
            moto: Moto::start(),
            volume,
            home,
            device: disk,
        }
    }

    /// Runs blocks as one script, which ends with the first failure.
    fn run(&self, blocks: &[String]) -> Outcome {
        let script = format!(
            "set -euo pipefail; mount -t tmpfs tmpfs /mnt; cd /mnt\n{}",
            blocks.concat()
        );
        let bundler = command_path("ec2-bundle-vol");
        let path = std::env::var("PATH").unwrap();
        let mut unshare = Command::new("unshare");
        let _ = isolate(&mut unshare)
            .args(["--mount", "bash", "-c", &script])
            .env(
                "PATH",
                format!(
                    "{}:{path}:/usr/sbin:/sbin",
                    bundler.parent().unwrap().display()
                ),
            )
            .env("EC2_AMITOOL_HOME", self.home.path())
            .env("AWS_ENDPOINT_URL", self.moto.url())
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "y")
            .env("VOLUME", self.volume.path())
            .env("PRIVATE_KEY", key("user2048.key"))
            .env("CERTIFICATE", key("user2048.crt"))
            .env("DEVICE", &self.device);
        outcome(&mut unshare)
    }

    fn assert_runs(&self, name: &str, more: &[String]) {
        let mut blocks = blocks(&page(name));
        assert!(!blocks.is_empty(), "{name} has no commands");
        blocks.extend(more.iter().cloned());
        let result = self.run(&blocks);
        assert_eq!(result.code, 0, "{name}: {result:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = end_to_end::shell(&format!("losetup -d {}", self.device), Path::new("/"));
    }
}

#[test]
fn the_quick_start_and_the_format_by_hand_run() {
    let machine = Machine::new();
    let quick_start = blocks(&page("guide.md"));
    let format = blocks(&page("format.md"));
    assert_eq!((quick_start.len(), format.len()), (6, 1));
    let result = machine.run(&[quick_start, format].concat());
    assert_eq!(result.code, 0, "{result:?}");
    let last = result.stdout.lines().last().unwrap();
    assert!(last.starts_with("-rw-r--r-- root/root"), "{last}");
    assert!(last.ends_with(" disk.img"), "{last}");
}

#[test]
fn moving_runs() {
    Machine::new().assert_runs("moving.md", &[]);
}

#[test]
fn making_an_ami_runs() {
    let mut machine = Machine::new();
    machine.assert_runs("making-an-ami.md", &[]);
    let state = machine.moto.call("state", &[]);
    assert_eq!(state["my.bucket.eu"]["location"], "eu-west-1");
    assert_eq!(state["my.bucket.eu"]["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn rescuing_a_bundle_runs() {
    let mut machine = Machine::new();
    let bundle = golden("bundles/i-ext4");
    let _ = machine.moto.call("bucket", &["my.bucket"]);
    let made = folder();
    // The guide's bundle is called `image`, as most are.
    let image = made.path().join("image");
    let recipe = format!(
        "bash '{}' '{}'",
        bundle.join("recipe.sh").display(),
        image.display()
    );
    let _ = end_to_end::shell(&format!("PATH=$PATH:/usr/sbin; {recipe}"), made.path());
    let _ = end_to_end::bundle(&image, made.path(), &[]);
    for name in end_to_end::names(made.path()) {
        if name != "image" {
            let path = made.path().join(&name);
            let key = format!("old/{name}");
            let _ = machine
                .moto
                .call_with("put", &["my.bucket", &key], json!({"path": path}));
        }
    }
    machine.assert_runs("rescuing-a-bundle.md", &[]);
    assert_eq!(
        machine.moto.call("state", &[])["my.bucket"]["keys"],
        json!([])
    );
}

/// The first column of the tables has pieces of messages, with `…` for what varies. Each must be in a recorded line or, if it cannot be
/// recorded, in a text of the sources.
#[test]
fn every_message_that_is_explained_can_be_printed() {
    let recorded = end_to_end::errors::lines();
    let texts = texts_of_sources();
    let quoted = Regex::new("`([^`]*)`").unwrap();
    let mut count = 0;
    let page = page("troubleshooting.md");
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cell = line.split(" | ").next().unwrap();
        for quote in quoted.captures_iter(cell) {
            let pieces: Vec<&str> = quote[1].split('…').map(str::trim).collect();
            let has_pieces = |text: &String| {
                let rest = pieces.iter().try_fold(text.as_str(), |text, piece| {
                    text.find(piece).map(|at| &text[at + piece.len()..])
                });
                rest.is_some()
            };
            assert!(
                recorded.iter().any(has_pieces) || texts.iter().any(has_pieces),
                "no message has {:?}",
                &quote[1]
            );
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

/// The string literals of the commands and crates, without comments and tests; one that spans several lines is joined.
fn texts_of_sources() -> Vec<String> {
    let files = end_to_end::shell("find crates bin -name '*.rs' ! -name '*_test.rs'", &root());
    let comment = Regex::new(r"(?m)^[ \t]*//.*$").unwrap();
    let continued = Regex::new(r"\\\n[ \t]*").unwrap();
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let mut texts = Vec::new();
    for file in files.lines() {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        let code = comment.replace_all(code, "");
        let code = continued.replace_all(&code, "");
        texts.extend(
            literal
                .captures_iter(&code)
                .map(|found| found[1].to_owned()),
        );
    }
    texts
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#]+)").unwrap();
    let pages = end_to_end::shell("ls *.md docs/*.md crates/*/README.md", &root());
    let mut count = 0;
    for name in pages.lines() {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let folder = root().join(name).parent().unwrap().to_owned();
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if !target.contains("://") {
                assert!(folder.join(target).exists(), "{name}: {target}");
                count += 1;
            }
        }
    }
    assert!(count > 30, "{count}");
}

/// The files in CONTRIBUTING's table and in the architecture exist. In a row of the table, a name without a folder is in the folder of the
/// file before it.
#[test]
fn files_that_are_named_are_there() {
    let quoted = Regex::new("`([^` ]*)`").unwrap();
    let is_file = |name: &str| name.contains('/') || name.ends_with(".rs");
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let mut count = 0;
    let contributing = read("CONTRIBUTING.md");
    for row in contributing.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.split(" | ").nth(1).unwrap();
        let mut folder = root();
        for found in quoted.captures_iter(cell) {
            let name = found[1].replace("COMMAND", "ec2-unbundle");
            if !is_file(&name) {
                continue;
            }
            let pattern = [root().join(&name), folder.join(&name)];
            let matching = pattern.iter().find_map(|path| {
                let script = format!("ls -d {}", path.display());
                let listed = outcome(Command::new("sh").args(["-c", &script]));
                listed.stdout.lines().next().map(PathBuf::from)
            });
            let path = matching.unwrap_or_else(|| panic!("{name} is not there: {row}"));
            folder = match path.is_dir() {
                true => path,
                false => path.parent().unwrap().to_owned(),
            };
            count += 1;
        }
    }
    let all = end_to_end::shell("git ls-files || find . -type f", &root());
    for found in quoted.captures_iter(&read("docs/architecture.md")) {
        let name = &found[1];
        if name.ends_with(".rs") && !name.contains('*') {
            let end = format!("/{name}");
            let is_there = |file: &str| format!("/{file}").ends_with(&end);
            assert!(all.lines().any(is_there), "{name}");
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
}

/// The table of every option matches the commands' own help.
#[test]
fn every_option_is_in_the_table() {
    let option = Regex::new("--[a-z][a-z0-9-]*").unwrap();
    let table = page("compatibility.md");
    let mut rows = 0;
    for line in table
        .lines()
        .filter(|line| line.starts_with("| `ec2-") && line.contains("--batch"))
    {
        let command = line.split('`').nth(1).unwrap();
        let help = run(command, &["--help"]).stdout;
        let (options, _) = help.split_once("Examples:").unwrap();
        let names = |text: &str| {
            let mut names: Vec<String> = option
                .find_iter(text)
                .map(|found| found.as_str().to_owned())
                .collect();
            names.sort();
            names.dedup();
            names
        };
        assert_eq!(names(line), names(options), "{command}");
        rows += 1;
    }
    assert_eq!(rows, 10);
    let version = outcome(&mut Command::new(command_path("ec2-ami-tools-version")));
    assert_eq!(
        text(&json!(version.stdout.lines().next())),
        "1.5.7 20071010"
    );
}
