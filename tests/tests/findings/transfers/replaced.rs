//! A manifest in S3 means that its whole bundle is there, whatever happens while another bundle of the same name replaces it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use end_to_end::proxy::{Action, Proxy, Request, Rule, Slowness};
use end_to_end::s3::{BUCKET, Server, bundle_files, manifest, private_key, small_parts, with_keys};
use end_to_end::same::assert_same_files;
use end_to_end::{Outcome, folder, key, outcome, sha1, shell};
use std::path::Path;

const MANIFEST: &str = "image.manifest.xml";

type Files = BTreeMap<String, Vec<u8>>;

/// A bundle with the same names as [`small_parts`], but other contents.
fn older() -> Files {
    let mut files = bundle_files(&small_parts());
    let mut text = String::from_utf8(files.remove(MANIFEST).unwrap()).unwrap();
    for bytes in files.values_mut() {
        let before = sha1(bytes);
        *bytes.last_mut().unwrap() ^= 1;
        assert!(text.contains(&before));
        text = text.replace(&before, &sha1(bytes));
    }
    let _ = files.insert(MANIFEST.to_owned(), text.into_bytes());
    files
}

/// A server with a bundle in it, and a proxy in front of it.
struct Scene {
    proxy: Proxy,
    store: PathBuf,
    server: Server,
}

impl Scene {
    fn with(files: &Files) -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.address, Slowness::default());
        let store = server.bucket(BUCKET);
        let scene = Self {
            proxy,
            store,
            server,
        };
        scene.put(files);
        scene
    }

    fn put(&self, files: &Files) {
        let stored = bundle_files(&self.store);
        for name in stored.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(self.store.join(name)).unwrap();
        }
        for (name, bytes) in files {
            fs::write(self.store.join(name), bytes).unwrap();
        }
    }

    fn upload(&self, more: &[&str]) -> Command {
        let manifest = manifest();
        let more = [&["-m", &manifest, "--parallel", "4"][..], more].concat();
        with_keys("ec2-upload-bundle", &self.proxy.url(), &more)
    }

    /// Runs an upload, and returns what was deleted meanwhile.
    fn deleted_by(&self, more: &[&str], rules: Vec<Rule>) -> (Outcome, Vec<String>) {
        self.proxy.set_rules(rules);
        let result = outcome(&mut self.upload(more));
        let requests = self.proxy.requests();
        let deletions = requests.iter().filter(|request| request.method == "DELETE");
        (result, deletions.map(file_of).collect())
    }

    fn state(&self, old: &Files, new: &Files) -> State {
        state(&bundle_files(&self.store), old, new)
    }
}

fn file_of(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap();
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned()
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Old,
    None,
    New,
}

/// Fails if a manifest is beside parts that are not its own.
fn state(found: &Files, old: &Files, new: &Files) -> State {
    let has_parts_of = |files: &Files| {
        let mut parts = files.iter().filter(|(name, _)| *name != MANIFEST);
        parts.all(|(name, bytes)| found.get(name) == Some(bytes))
    };
    match found.get(MANIFEST) {
        None => State::None,
        Some(text) if *text == old[MANIFEST] => {
            assert!(
                has_parts_of(old),
                "the older manifest stands beside other parts"
            );
            State::Old
        }
        Some(_) => {
            assert!(
                has_parts_of(new),
                "the new manifest stands beside other parts"
            );
            State::New
        }
    }
}

/// How a run is disturbed at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// S3 refuses it.
    Error,
    /// The command is killed before S3 gets the request.
    KillBefore,
    /// The command is killed when S3 has carried out the request.
    KillAfter,
    /// The command is interrupted when S3 has carried out the request.
    Interrupt,
}

/// Runs a command that is disturbed at a request.
fn run_disturbed(proxy: &Proxy, mut command: Command, at: u32, how: Disturbance) -> Outcome {
    let action = Action::Hold {
        passed_on: how != Disturbance::KillBefore,
    };
    let rule = match how {
        Disturbance::Error => Rule::error("", ".", Some(1), 500, "InternalError"),
        _ => Rule::new("", ".", Some(1), action),
    };
    proxy.set_rules(vec![rule.after(at)]);
    if how == Disturbance::Error {
        return outcome(&mut command);
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    while proxy.faults() == 0 {
        sleep(Duration::from_millis(1));
    }
    // S3 has carried out the request when it answers.
    while how != Disturbance::KillBefore && proxy.held() == 0 {
        sleep(Duration::from_millis(1));
    }
    let signal = match how {
        Disturbance::Interrupt => "INT",
        _ => "KILL",
    };
    let _ = shell(&format!("kill -{signal} {}", child.id()), Path::new("/"));
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-9),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

const HOWS: [Disturbance; 4] = [
    Disturbance::Error,
    Disturbance::KillBefore,
    Disturbance::KillAfter,
    Disturbance::Interrupt,
];

#[test]
fn finding_04_an_upload_over_an_older_bundle_leaves_no_manifest_beside_other_parts() {
    let (old, new) = (older(), bundle_files(&small_parts()));
    let scene = Scene::with(&old);
    scene.proxy.set_rules(Vec::new());
    let good = outcome(&mut scene.upload(&[]));
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    assert_same_files(&bundle_files(&scene.store), &new);
    let requests = scene.proxy.requests();
    let count = u32::try_from(requests.len()).unwrap();
    assert_eq!(
        count, 16,
        "location, older manifest, its deletion, parts, manifest"
    );
    let deletion = requests
        .iter()
        .position(|request| request.method == "DELETE");
    assert_eq!(deletion, Some(2), "before the first part");

    let mut states = Vec::new();
    for (at, how) in (0..count).flat_map(|at| HOWS.map(|how| (at, how))) {
        scene.put(&old);
        let result = run_disturbed(&scene.proxy, scene.upload(&[]), at, how);
        let code = match how {
            Disturbance::Error => 3,
            Disturbance::Interrupt => 255,
            _ => -9,
        };
        assert_eq!(result.code, code, "{at} {how:?} {result:?}");
        let state = scene.state(&old, &new);
        if matches!(how, Disturbance::Error | Disturbance::Interrupt) {
            let says = result.stderr.contains(&format!(
                "The manifest {BUCKET}/{MANIFEST} of an older bundle is deleted, or about to be"
            ));
            assert_eq!(says, at >= 2, "{at} {how:?} {result:?}");
        }
        if state == State::Old {
            assert_same_files(&bundle_files(&scene.store), &old);
        }
        states.push((at, state));
    }
    assert!(
        states
            .iter()
            .all(|(at, state)| *at > 1 || *state == State::Old)
    );
    assert!(states.iter().any(|(_, state)| *state == State::None));
    assert!(states.iter().any(|(_, state)| *state == State::New));
    scene.proxy.set_rules(Vec::new());
    assert_eq!(outcome(&mut scene.upload(&["--resume"])).code, 0);
    assert_same_files(&bundle_files(&scene.store), &new);
}

#[test]
fn finding_04_the_same_parts_again_delete_nothing() {
    let new = bundle_files(&small_parts());
    for more in [
        &[][..],
        &["--part", "5"],
        &["--resume"],
        &["--skipmanifest"],
    ] {
        let scene = Scene::with(&new);
        let (result, deleted) = scene.deleted_by(more, Vec::new());
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{more:?}");
        assert_eq!(deleted, [""; 0], "{more:?}");
        assert_same_files(&bundle_files(&scene.store), &new);
    }
}

#[test]
fn finding_04_other_parts_without_a_manifest_remove_the_older_one_and_say_so() {
    let mut files = older();
    let scene = Scene::with(&files);
    let (result, deleted) = scene.deleted_by(&["--skipmanifest"], Vec::new());
    assert_eq!(result.code, 0, "{result:?}");
    assert_eq!(deleted, [MANIFEST]);
    assert_eq!(
        result.stderr,
        format!(
            "The manifest {BUCKET}/{MANIFEST} of an older bundle was deleted, because its parts were replaced.\n"
        )
    );
    files = bundle_files(&small_parts());
    let _ = files.remove(MANIFEST);
    assert_same_files(&bundle_files(&scene.store), &files);
}

#[test]
fn finding_04_no_new_permission_is_needed() {
    let (old, new) = (older(), bundle_files(&small_parts()));
    let scene = Scene::with(&old);
    let denied = |method: &str| Rule::error(method, "manifest", None, 403, "AccessDenied");
    let unread = scene.deleted_by(&[], vec![denied("GET")]);
    assert_eq!((unread.0.code, unread.0.stderr.as_str()), (0, ""));
    assert_eq!(
        unread.1,
        [MANIFEST],
        "what cannot be read may name any part"
    );
    assert_same_files(&bundle_files(&scene.store), &new);

    for rules in [
        vec![denied("DELETE")],
        vec![denied("GET"), denied("DELETE")],
    ] {
        scene.put(&old);
        let (result, _) = scene.deleted_by(&[], rules);
        assert_eq!(result.code, 0, "{result:?}");
        assert_eq!(result.stderr.lines().count(), 1, "{result:?}");
        assert!(
            result.stderr.starts_with(&format!(
                "The manifest {BUCKET}/{MANIFEST}, if there is an older one, stays beside parts that are not its own until this \
                 command has ended well: "
            )),
            "{result:?}"
        );
        assert!(result.stderr.contains("Server.AccessDenied(403)"));
        assert_same_files(&bundle_files(&scene.store), &new);
    }
}

#[test]
fn finding_04_what_is_no_manifest_may_name_any_part() {
    let new = bundle_files(&small_parts());
    for text in ["", "<manifest>", "an older one"] {
        let mut files = older();
        let _ = files.insert(MANIFEST.to_owned(), text.into());
        let scene = Scene::with(&files);
        let (result, deleted) = scene.deleted_by(&[], Vec::new());
        assert_eq!((result.code, result.stderr.as_str()), (0, ""));
        assert_eq!(deleted, [MANIFEST]);
        assert_same_files(&bundle_files(&scene.store), &new);
    }
}

#[test]
fn finding_04_only_the_two_names_of_the_bundles_manifest_are_touched() {
    let mut files = older();
    for other in ["image.other.manifest.xml", "image.manifest"] {
        let _ = files.insert(other.to_owned(), files[MANIFEST].clone());
    }
    let scene = Scene::with(&files);
    let work = folder();
    let renamed = work.path().join("image.renamed.manifest.xml");
    let _ = fs::copy(manifest(), &renamed).unwrap();
    scene.proxy.set_rules(Vec::new());
    let parts = small_parts();
    let more = [
        "-m",
        renamed.to_str().unwrap(),
        "-d",
        parts.to_str().unwrap(),
    ];
    let result = outcome(&mut with_keys(
        "ec2-upload-bundle",
        &scene.proxy.url(),
        &more,
    ));
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let requests = scene.proxy.requests();
    let asked = |method: &str| -> Vec<String> {
        let requests = requests
            .iter()
            .filter(|request| request.method == method && request.path.contains("manifest"));
        requests.map(file_of).collect()
    };
    assert_eq!(asked("GET"), ["image.renamed.manifest.xml", MANIFEST]);
    assert_eq!(asked("DELETE"), [MANIFEST]);
    let stored = bundle_files(&scene.store);
    assert!(!stored.contains_key(MANIFEST));
    assert!(stored["image.renamed.manifest.xml"] == fs::read(&renamed).unwrap());
    assert!(stored["image.other.manifest.xml"] == files["image.other.manifest.xml"]);
}

#[test]
fn finding_04_a_migration_over_an_older_bundle_leaves_no_manifest_beside_other_parts() {
    const TO: &str = "migrated.test";
    let (old, new) = (older(), bundle_files(&small_parts()));
    let scene = Scene::with(&new);
    let store = scene.server.bucket(TO);
    let restore = || {
        for (name, bytes) in &old {
            fs::write(store.join(name), bytes).unwrap();
        }
    };
    let migrate = || {
        let certificate = key("user2048.crt");
        let arguments = ["-k", &private_key(), "-c", certificate.to_str().unwrap()];
        let more = [
            "-m",
            MANIFEST,
            "-d",
            TO,
            "--no-mapping",
            "--region",
            "us-east-1",
        ];
        let mut command = with_keys(
            "ec2-migrate-bundle",
            &scene.proxy.url(),
            &[&arguments[..], &more, &["--parallel", "4"]].concat(),
        );
        let _ = command.env("EC2_AMITOOL_HOME", "/nonexistent");
        command
    };
    restore();
    scene.proxy.set_rules(Vec::new());
    let good = outcome(&mut migrate());
    assert_eq!(good.code, 0, "{good:?}");
    assert_eq!(state(&bundle_files(&store), &old, &new), State::New);
    let requests = scene.proxy.requests();
    let is_copy = |request: &Request| request.header("x-amz-copy-source").is_some();
    let first = requests.iter().position(is_copy).unwrap();
    let count = u32::try_from(requests.len()).unwrap();
    let mut states = Vec::new();
    for (at, how) in (0..count).flat_map(|at| HOWS.map(|how| (at, how))) {
        restore();
        let result = run_disturbed(&scene.proxy, migrate(), at, how);
        assert_ne!(result.code, 0, "{at} {how:?} {result:?}");
        let state = state(&bundle_files(&store), &old, &new);
        if (at as usize) + 1 < first {
            assert_eq!(state, State::Old, "{at} {how:?} {result:?}");
        }
        states.push(state);
    }
    states.sort();
    states.dedup();
    assert_eq!(states, [State::Old, State::None, State::New]);
}
