//! What the end-to-end tests share. They run the release binaries (`make build`), some as root.

pub mod boto;
pub mod bundles;
pub mod busy;
pub mod ebs;
pub mod errors;
pub mod faults;
pub mod from_bundles;
pub mod hostile;
pub mod images;
pub mod imds;
pub mod in_s3;
pub mod injection;
pub mod kills;
pub mod lonely;
pub mod machine;
pub mod moto;
pub mod mounts;
pub mod page;
pub mod power;
pub mod proxy;
pub mod random;
pub mod recorded;
pub mod recorded_s3;
pub mod rivals;
pub mod s3;
pub mod same;
pub mod straight;
pub mod tls;
pub mod traces;
pub mod volumes;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::machine::{on_new_machine, settle_umask};

/// A file of `fixtures/golden`.
pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/golden")
        .join(path)
        .canonicalize()
        .unwrap_or_else(|e| panic!("fixtures/golden/{path}: {e}"))
}

/// A key or certificate of `fixtures/golden/keys`.
pub fn key(name: &str) -> PathBuf {
    golden(&format!("keys/{name}"))
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// A string in JSON.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The path of one of the suite's commands, as built by `make build`.
pub fn command_path(name: &str) -> PathBuf {
    // target/release/deps/TEST, or target/release/ami-soak
    let program = std::env::current_exe().unwrap();
    let mut folder = program.parent().unwrap();
    if folder.ends_with("deps") {
        folder = folder.parent().unwrap();
    }
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: run make build",
        path.display()
    );
    path
}

/// The variable with the address of the instance metadata service.
pub const METADATA_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// An address without an instance metadata service.
pub const NO_METADATA: &str = "http://127.0.0.1:9";

/// Removes variables from a command's environment that would make it behave differently on other machines.
pub fn isolate(command: &mut Command) -> &mut Command {
    let variables = std::env::vars_os().map(|(name, _)| name);
    let is_ours = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy().to_ascii_uppercase();
        let begins = ["AWS_", "EC2_", "AMITOOLS_"];
        begins.iter().any(|begin| name.starts_with(begin)) || name.ends_with("_PROXY")
    };
    for name in variables.filter(is_ours) {
        let _ = command.env_remove(name);
    }
    command
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env(METADATA_ENDPOINT, NO_METADATA)
}

/// One of the suite's commands with arguments.
pub fn command<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> Command {
    let mut command = on_new_machine(command_path(name));
    let _ = isolate(&mut command).args(arguments).stdin(Stdio::null());
    command
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; for a signal, its number negated.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end.
pub fn outcome(command: &mut Command) -> Outcome {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        code: output.status.code().unwrap_or_else(|| -signal.unwrap_or(0)),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs one of the suite's commands to its end.
pub fn run<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> Outcome {
    outcome(&mut command(name, arguments))
}

/// Has another program, such as strace, run a command: the command's words follow those of the program, which gets its environment and works in
/// its folder.
pub fn run_by<'p>(program: &'p mut Command, command: &Command) -> &'p mut Command {
    let _ = program.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        let _ = match value {
            Some(value) => program.env(name, value),
            None => program.env_remove(name),
        };
    }
    match command.get_current_dir() {
        Some(folder) => program.current_dir(folder),
        None => program,
    }
}

/// Runs a shell script that must succeed, and returns its output.
pub fn shell(script: &str, folder: &Path) -> String {
    settle_umask();
    let result = outcome(
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(folder),
    );
    assert_eq!(result.code, 0, "{script}\n{}", result.stderr);
    result.stdout.trim_end().to_owned()
}

/// The same, with the administrator's programs in PATH.
pub fn shell_with_path(script: &str, folder: &Path) -> String {
    shell(&format!("PATH=$PATH:/usr/sbin:/sbin; {script}"), folder)
}

/// Where the scripts cache what they make.
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("AMI_TOOLS_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
        Path::new(&home).join(".cache/ami-tools")
    })
}

/// A temporary folder.
pub fn folder() -> TempDir {
    settle_umask();
    tempfile::tempdir().unwrap()
}

/// The arguments that every bundling needs: keys, account, architecture.
pub fn bundling(image: &Path, destination: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    [
        "-k",
        &path(&key("user2048.key")),
        "-c",
        &path(&key("user2048.crt")),
        "--ec2cert",
        &path(&key("ec2.crt")),
        "-u",
        "123456789012",
        "-r",
        "x86_64",
        "-i",
        &path(image),
        "-d",
        &path(destination),
        "--batch",
    ]
    .map(str::to_owned)
    .into()
}

/// The arguments that every bundling of a volume needs, for an image of 64 MB without partitions.
pub fn bundling_volume(volume: &Path, destination: &Path) -> Vec<String> {
    let mut arguments = bundling(Path::new(""), destination);
    let image = arguments.iter().position(|word| word == "-i").unwrap();
    let _ = arguments.drain(image..image + 2);
    let volume = volume.to_str().unwrap();
    let more = ["-v", volume, "-s", "64", "-P", "none", "--no-inherit"];
    arguments.extend(more.map(str::to_owned));
    arguments
}

/// Makes an image of a volume, without a bundle.
pub fn clone_volume(volume: &Path, destination: &Path, more: &[&str]) -> Outcome {
    let mut arguments = bundling_volume(volume, destination);
    arguments.push("--clone-only".to_owned());
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    run("ec2-bundle-vol", &arguments)
}

/// Bundles an image, and returns the manifest's path.
pub fn bundle(image: &Path, destination: &Path, more: &[&str]) -> PathBuf {
    let mut arguments = bundling(image, destination);
    arguments.extend(more.iter().map(|&s| s.to_owned()));
    arguments.push("--json".to_owned());
    let result = run("ec2-bundle-image", &arguments);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&result.stdout).unwrap();
    PathBuf::from(text(&report["manifest"]))
}

/// The names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files in a folder with their contents.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    names(folder)
        .into_iter()
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect()
}

/// The SHA-256 of a file, computed by OpenSSL.
pub fn sha256(path: &Path) -> String {
    let mut openssl = Command::new("openssl");
    let _ = openssl
        .args(["dgst", "-sha256", "-r"])
        .stdin(fs::File::open(path).unwrap());
    let printed = outcome(&mut openssl).stdout;
    printed.split(' ').next().unwrap().to_owned()
}

/// The SHA-1 of bytes, in hex.
pub fn sha1(bytes: &[u8]) -> String {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::sha1(), bytes);
    hex::encode(digest.unwrap())
}

/// The MD5 of bytes, in the form of `Content-MD5`.
pub fn md5_base64(bytes: &[u8]) -> String {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::md5(), bytes);
    openssl::base64::encode_block(&digest.unwrap())
}

/// How many bytes of a file are allocated.
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Waits until `is_so` returns true; panics if the process ends before that.
pub fn wait_until(child: &mut Child, what: &str, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the command ended before {what}: {status}");
        }
        sleep(Duration::from_millis(1));
    }
}

/// Whether a run has made its private folder in `destination`.
pub fn has_begun(destination: &Path) -> bool {
    names(destination)
        .iter()
        .any(|name| name.starts_with(".ec2-ami-tools"))
}
