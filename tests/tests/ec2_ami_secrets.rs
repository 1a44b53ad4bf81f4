//! No secret of `ec2-ami` leaks: not into arguments of other processes, into what is printed, or into files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ebs_server::{Role, Settings};
use end_to_end::boto::Boto;
use end_to_end::ebs::{ACCESS_KEY, SECRET_KEY, Scene};
use end_to_end::kills::slow;
use end_to_end::{names, outcome, run_by, shell};
use serde_json::json;

const ROLE: &str = "arn:aws:iam::210987654321:role/images";
const EXTERNAL_ID: &str = "agreed-upon";

/// Runs a command under strace; gives its exit code, what it printed, and the programs that it started with their arguments.
fn traced(scene: &Scene, command: &Command) -> (i32, String, String) {
    let trace = scene.path("trace");
    let mut strace = Command::new("strace");
    let _ = strace.args([
        "-f",
        "-s",
        "100000",
        "-e",
        "trace=execve,execveat",
        "-o",
        &trace,
    ]);
    let result = outcome(run_by(&mut strace, command));
    // The first is the command itself, whose arguments are the user's.
    let started = fs::read_to_string(&trace).unwrap();
    let started: Vec<&str> = started
        .lines()
        .filter(|line| line.contains("execve"))
        .skip(1)
        .collect();
    fs::remove_file(trace).unwrap();
    (
        result.code,
        result.stdout + &result.stderr,
        started.join("\n"),
    )
}

/// Fails if one of these is in a text.
fn assert_without(secrets: &[&str], text: &str) {
    for secret in secrets {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn no_secret_is_printed_or_handed_to_another_program() {
    let scene = Scene::with(Settings {
        roles: vec![Role {
            arn: ROLE.to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
        }],
        ..Settings::default()
    });
    let root = scene.path("root");
    let _ = shell(
        "mkdir -p root/etc root/bin root/tmp; cp /bin/true root/bin/sh",
        scene.work.path(),
    );
    let mut create = vec!["--debug", "create", &root, "--snapshot-only", "--size", "1"];
    create.extend(["--partition", "none", "--virtualization", "paravirtual"]);
    create.extend(["--after", "true"]);
    let assuming = ["--assume-role", ROLE, "--external-id", EXTERNAL_ID];

    let mut command = scene.command(&[&create[..], &assuming].concat());
    let _ = command.env("TMPDIR", scene.work.path());
    let (code, printed, started) = traced(&scene, &command);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("DEBUG"), "--debug says nothing");
    assert!(
        started.contains("mke2fs") && started.lines().count() > 3,
        "{started}"
    );
    let secrets = [SECRET_KEY, EXTERNAL_ID, "token/"];
    assert_without(&secrets, &(printed + &started));

    // A session's: of one that somebody else has begun.
    let mut boto = Boto::start(&scene.server.url());
    let asked = json!({"RoleArn": ROLE, "RoleSessionName": "test", "ExternalId": EXTERNAL_ID});
    let answer = boto.ok("sts", "assume_role", asked);
    let word = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
    let (key, secret) = (word("AccessKeyId"), word("SecretAccessKey"));
    let token = word("SessionToken");
    let with_session = |arguments: &[&str], secret: &str| {
        let mut command = scene.command(arguments);
        let _ = command
            .env("TMPDIR", scene.work.path())
            .env("AWS_ACCESS_KEY_ID", &key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_SESSION_TOKEN", &token);
        command
    };
    let secrets = [&*secret, &*token];
    let (code, printed, started) = traced(&scene, &with_session(&create, &secret));
    assert_eq!(code, 0, "{printed}");
    assert_without(&secrets, &(printed + &started));
    let id = scene.server.snapshots()[0].id.clone();
    let (code, printed, started) = traced(
        &scene,
        &with_session(&["--debug", "fetch", &id, "back.img"], &secret),
    );
    assert_eq!(code, 0, "{printed}");
    assert_without(&secrets, &(printed + &started));

    // What is refused is told without them.
    let wrong = "wrong/secret+key";
    for arguments in [&create[..], &["--debug", "fetch", &id, "other.img"]] {
        let result = outcome(&mut with_session(arguments, wrong));
        assert_eq!(result.code, 3, "{result:?}");
        assert!(result.stderr.contains("ERROR"), "{result:?}");
        assert_without(
            &[wrong, &*token, &*secret],
            &(result.stdout + &result.stderr),
        );
    }
}

#[test]
fn what_is_noted_is_for_its_owner_alone_and_has_no_secret() {
    let scene = slow(1.0);
    let disk = scene.disk("disk.img");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let has_secret = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let has = |word: &str| {
            bytes
                .windows(word.len())
                .any(|found| found == word.as_bytes())
        };
        has(SECRET_KEY) || has(ACCESS_KEY)
    };
    let create = ["create", &disk, "--snapshot-only", "--parallel", "1"];
    scene.kill_after("PutSnapshotBlock", 3, &create);
    let folder = scene.journals();
    let noted = names(&folder);
    assert_eq!((noted.len(), mode(&folder)), (1, 0o700), "{noted:?}");
    let journal = folder.join(&noted[0]);
    assert_eq!(mode(&journal), 0o600);
    assert!(!has_secret(&journal));

    let made = scene.ok(&create);
    let snapshot = made.stdout.trim_end();
    let fetch = ["fetch", snapshot, "back.img", "--parallel", "1"];
    scene.kill_after("GetSnapshotBlock", 3, &fetch);
    let private = names(scene.work.path())
        .into_iter()
        .find(|name| name.starts_with('.'));
    let private = scene.work.path().join(private.unwrap());
    assert_eq!(mode(&private), 0o700);
    assert_eq!(mode(&private.join("blocks")), 0o600);
    assert!(!has_secret(&private.join("blocks")));
}
