//! Keys never leak: not into arguments of a process, into output, or into files that others can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::bundles::secrets;
use end_to_end::images::sparse;
use end_to_end::{
    bundling, command, command_path, folder, has_begun, key, names, outcome, wait_until,
};

/// Runs a command under strace, and returns its output and the programs that it started with their arguments.
fn traced(name: &str, arguments: &[String], work: &Path) -> (String, String) {
    let trace = work.join("trace");
    let result = outcome(
        Command::new("strace")
            .args(["-f", "-s", "100000", "-e", "trace=execve,execveat", "-o"])
            .arg(&trace)
            .arg(command_path(name))
            .args(arguments)
            .arg("--debug"),
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert!(result.stderr.contains("DEBUG"), "--debug says nothing");
    (
        result.stdout + &result.stderr,
        fs::read_to_string(trace).unwrap(),
    )
}

/// Checks that the command has started only itself, as its sweeper.
fn assert_only_sweepers(started: &str) {
    let lines: Vec<&str> = started
        .lines()
        .filter(|line| line.contains("execve"))
        .collect();
    assert_eq!(lines.len(), 2, "{started}");
    assert!(
        lines[1].contains("[\"/proc/self/exe\", \"--sweep-after-me\", "),
        "{started}"
    );
}

#[test]
fn no_key_is_printed_or_handed_to_another_program() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 1 << 20, &[(4096, 100_000)]);
    let bundled = work.path().join("bundle");
    fs::create_dir(&bundled).unwrap();
    let (printed, started) = traced("ec2-bundle-image", &bundling(&image, &bundled), work.path());
    assert_only_sweepers(&started);

    let manifest = bundled.join("image.manifest.xml");
    let unbundling: Vec<String> = ["-k", "KEY", "-m", "MANIFEST", "-s", "SOURCE", "-d", "DEST"]
        .map(|word| match word {
            "KEY" => key("user2048.key"),
            "MANIFEST" => manifest.clone(),
            "SOURCE" => bundled.clone(),
            "DEST" => work.path().to_owned(),
            other => PathBuf::from(other),
        })
        .map(|path| path.into_os_string().into_string().unwrap())
        .into();
    let (more_printed, more_started) = traced("ec2-unbundle", &unbundling, work.path());
    assert_only_sweepers(&more_started);

    let private_key = fs::read_to_string(key("user2048.key")).unwrap();
    let line_of_key = private_key.lines().nth(3).unwrap();
    let [aes_key, iv] = secrets(&manifest, &key("user2048.key"));
    assert_eq!((aes_key.len(), iv.len()), (32, 32));
    let everything = printed + &more_printed + &started + &more_started;
    for secret in [&aes_key, &iv, &aes_key.to_uppercase(), line_of_key] {
        assert!(
            !everything.contains(secret),
            "a secret was printed, or handed on"
        );
    }
    for name in names(&bundled) {
        let bytes = fs::read(bundled.join(&name)).unwrap();
        for secret in [aes_key.as_bytes(), &hex::decode(&aes_key).unwrap()] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "{name}"
            );
        }
    }
}

/// While an image is being unbundled, only its owner can read it.
#[test]
fn what_is_not_finished_is_for_its_owner_alone() {
    let work = folder();
    let image = work.path().join("image");
    end_to_end::images::incompressible(&image, 30 << 20);
    let mut arguments = bundling(&image, work.path());
    arguments.extend(["--threads", "1", "--compression-level", "12"].map(str::to_owned));
    let mut child = command("ec2-bundle-image", &arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until(&mut child, "it began", || has_begun(work.path()));
    let private = names(work.path())
        .into_iter()
        .find(|name| name.starts_with('.'))
        .unwrap();
    let mode = fs::metadata(work.path().join(private))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(child.wait().unwrap().success());
}
