//! Faults between the commands and S3: with `--retry`, bundles arrive whole if at all possible; without it, there is one clear line and exit
//! code 3.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use end_to_end::proxy::{Action, Proxy, Rule, Slowness};
use end_to_end::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use end_to_end::same::assert_same_files;
use end_to_end::{Outcome, bundle, command, contents, folder, golden, images, key, names, outcome};
use tempfile::TempDir;

/// A server with a proxy in front of it, and a bundle with two parts of 10 MB and a smaller one.
struct Scene {
    server: Server,
    proxy: Proxy,
    bundle: PathBuf,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let work = folder();
        let image = work.path().join("image");
        images::incompressible(&image, 25 << 20);
        let destination = work.path().join("bundle");
        fs::create_dir(&destination).unwrap();
        let _ = bundle(&image, &destination, &["-p", "image"]);
        assert_eq!(names(&destination).len(), 4);
        let server = Server::start();
        let _ = server.bucket(BUCKET);
        let proxy = Proxy::start(server.address, Slowness::default());
        Self {
            server,
            proxy,
            bundle: destination,
            _folder: work,
        }
    }

    /// A scene with the bundle in S3.
    fn uploaded() -> Self {
        let scene = Self::new();
        let store = scene.store();
        for (name, bytes) in contents(&scene.bundle) {
            fs::write(store.join(name), bytes).unwrap();
        }
        scene
    }

    fn store(&self) -> PathBuf {
        self.server.bucket(BUCKET)
    }

    fn empty(&self) {
        for name in names(&self.store()) {
            let _ = fs::remove_file(self.store().join(name));
        }
    }

    fn run(&self, name: &str, more: &[&str]) -> Outcome {
        let url = self.proxy.url();
        let mut arguments = vec!["-b", BUCKET, "--url", &url, "--batch"];
        arguments.extend(more);
        outcome(
            command(name, &arguments)
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        )
    }

    fn upload(&self, more: &[&str]) -> Outcome {
        let manifest = self.bundle.join("image.manifest.xml");
        let mut arguments = vec!["-m", manifest.to_str().unwrap()];
        arguments.extend(more);
        self.run("ec2-upload-bundle", &arguments)
    }

    fn download(&self, to: &Path, more: &[&str]) -> Outcome {
        let key = key("user2048.key");
        let mut arguments = vec!["-k", key.to_str().unwrap(), "-d", to.to_str().unwrap()];
        arguments.extend(more);
        self.run("ec2-download-bundle", &arguments)
    }

    fn assert_stored_whole(&self) {
        assert_same_files(&stored(&self.store()), &contents(&self.bundle));
    }
}

/// The stored objects, without the server's metadata beside them.
fn stored(store: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = contents_of_files(store);
    files.retain(|name, _| !name.starts_with('.'));
    files
}

fn contents_of_files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    names(folder)
        .into_iter()
        .filter(|name| folder.join(name).is_file())
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Action {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Action::Answer {
        status,
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// Retries are reported on standard output in the older suite's words, and the reasons on standard error.
fn assert_retried(result: &Outcome, times: usize, reason: &str) {
    assert_eq!(result.code, 0, "{result:?}");
    assert_eq!(
        result.stdout.matches("Retrying in 5s ...\n").count(),
        times,
        "{result:?}"
    );
    assert_eq!(result.stderr.lines().count(), times, "{result:?}");
    assert!(
        result.stderr.lines().all(|line| line.contains(reason)),
        "{result:?}"
    );
}

/// One line says what failed, and nothing that looks like a bundle stays in S3.
fn assert_failed(result: &Outcome, begin: &str, reason: &str) {
    assert_eq!(result.code, 3, "{result:?}");
    assert_eq!(result.stderr.lines().count(), 1, "{result:?}");
    let line = result.stderr.trim_end();
    assert!(line.starts_with(&format!("ERROR: {begin}")), "{line}");
    assert!(line.contains(reason), "{line}");
}

#[test]
fn an_upload_survives_faults_with_retry_and_names_them_without() {
    let scene = Scene::new();
    let part = r"image\.part\.1";
    let etag = "\"00000000000000000000000000000000\"".to_owned();
    for (times, reason, rule) in [
        (
            4,
            "Server.InternalError(500)",
            Rule::error("PUT", part, Some(4), 500, "InternalError"),
        ),
        (
            1,
            "Server.SlowDown(503)",
            Rule::error("PUT", part, Some(1), 503, "SlowDown"),
        ),
        (
            1,
            "",
            Rule::new("PUT", part, Some(1), Action::ResetUpload(3 << 20)),
        ),
        (
            1,
            "stored something else",
            Rule::new("PUT", part, Some(1), Action::Header("etag", etag)),
        ),
        (
            1,
            "Server.BadDigest(400)",
            Rule::error("PUT", part, Some(1), 400, "BadDigest"),
        ),
        (
            1,
            "Server.RequestTimeout(400)",
            Rule::error("PUT", part, Some(1), 400, "RequestTimeout"),
        ),
    ] {
        scene.empty();
        scene.proxy.set_rules(vec![rule.clone()]);
        let failed = scene.upload(&[]);
        assert_failed(&failed, "Failed to upload \"", reason);
        assert!(failed.stderr.contains("image.part.1\": "), "{failed:?}");
        assert!(!scene.store().join("image.manifest.xml").exists());

        scene.empty();
        scene.proxy.set_rules(vec![rule]);
        assert_retried(&scene.upload(&["--retry"]), times, reason);
        scene.assert_stored_whole();
    }
}

#[test]
fn an_upload_that_stalls_is_noticed() {
    let scene = Scene::new();
    let stall = Rule::new("PUT", "part.2", Some(1), Action::StallUpload(0));
    scene.proxy.set_rules(vec![stall]);
    assert_retried(&scene.upload(&["--retry"]), 1, "");
    scene.assert_stored_whole();
}

#[test]
fn a_download_survives_faults_with_retry_and_names_them_without() {
    let scene = Scene::uploaded();
    let part = r"image\.part\.1";
    for (times, reason, rule) in [
        (
            3,
            "Server.InternalError(500)",
            Rule::error("GET", part, Some(3), 500, "InternalError"),
        ),
        (
            1,
            "Server.SlowDown(503)",
            Rule::error("GET", part, Some(1), 503, "SlowDown"),
        ),
        (
            2,
            "broke off after",
            Rule::new("GET", part, Some(2), Action::CutDownload(3 << 20)),
        ),
        (
            1,
            "its SHA-1 is",
            Rule::new("GET", part, Some(1), Action::AlterDownload),
        ),
    ] {
        let to = folder();
        scene.proxy.set_rules(vec![rule.clone()]);
        assert_failed(
            &scene.download(to.path(), &[]),
            "Failed to download \"image.part.1\": ",
            reason,
        );
        assert_eq!(names(to.path()), [""; 0]);

        scene.proxy.set_rules(vec![rule]);
        assert_retried(&scene.download(to.path(), &["--retry"]), times, reason);
        assert_same_files(&contents(to.path()), &contents(&scene.bundle));
    }
}

#[test]
fn a_download_that_stalls_is_noticed() {
    let scene = Scene::uploaded();
    let to = folder();
    let stall = Rule::new("GET", "part.1", Some(1), Action::StallDownload(1 << 20));
    scene.proxy.set_rules(vec![stall]);
    assert_retried(
        &scene.download(to.path(), &["--retry"]),
        1,
        "broke off after 1048576 bytes",
    );
    assert_same_files(&contents(to.path()), &contents(&scene.bundle));
}

#[test]
fn what_no_retry_can_help_fails_at_once_with_what_to_do() {
    let scene = Scene::uploaded();
    let to = folder();
    for (status, code, advice) in [
        (403, "AccessDenied", "these credentials do not allow it"),
        (
            403,
            "SignatureDoesNotMatch",
            "check the access key and the secret key",
        ),
        (400, "ExpiredToken", "get new temporary credentials"),
        (
            400,
            "AccessControlListNotSupported",
            "Bucket owner preferred",
        ),
        (
            501,
            "NotImplemented",
            "this server does not know such a request",
        ),
    ] {
        let rules = vec![Rule::error("", "part", None, status, code)];
        scene.proxy.set_rules(rules.clone());
        assert_failed(
            &scene.download(to.path(), &["--retry"]),
            "Failed to download \"",
            advice,
        );
        scene.proxy.set_rules(rules);
        let puts_only = scene.upload(&[]);
        assert_failed(&puts_only, "Failed to upload \"", advice);
        let tries = scene.proxy.requests();
        let of_first = tries
            .iter()
            .filter(|request| request.path.contains("part.0"));
        assert_eq!(of_first.count(), 1, "{code}");
    }
}

#[test]
fn an_instances_role_gets_new_credentials_when_they_have_expired() {
    use end_to_end::imds::{Service, Version};
    let scene = Scene::uploaded();
    let role = serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z",
        "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "token-of-the-role"
    });
    let path = "/latest/meta-data/iam/security-credentials/";
    let answers = [
        (path.to_owned(), "role".to_owned()),
        (format!("{path}role"), role.to_string()),
    ];
    let service = Service::start(Version::V2Only, answers.into());
    scene.proxy.set_rules(vec![Rule::error(
        "PUT",
        "part.0",
        Some(1),
        400,
        "ExpiredToken",
    )]);
    let manifest = scene.bundle.join("image.manifest.xml");
    let url = scene.proxy.url();
    let arguments = [
        "-b",
        BUCKET,
        "--url",
        &url,
        "--batch",
        "--debug",
        "-m",
        manifest.to_str().unwrap(),
    ];
    let result = outcome(
        command("ec2-upload-bundle", &arguments)
            .env(end_to_end::METADATA_ENDPOINT, &service.endpoint),
    );
    assert_eq!(result.code, 0, "{result:?}");
    assert!(
        result
            .stderr
            .contains("credentials: from the instance's role"),
        "{}",
        result.stderr
    );
    assert!(!result.stderr.contains("token-of-the-role") && !result.stderr.contains(SECRET_KEY));
    let asked = service.requests();
    let asked = asked
        .iter()
        .filter(|request| request.ends_with("/role"))
        .count();
    assert!(
        asked >= 3,
        "once to see that there are some, once for the client, once more: {asked}"
    );
    scene.assert_stored_whole();
}

#[test]
fn redirects_are_followed_wherever_they_lead() {
    let scene = Scene::new();
    let other = Proxy::start(scene.server.address, Slowness::default());
    let (here, there) = (scene.proxy.url(), other.url());
    let host = there.strip_prefix("http://").unwrap();
    let endpoint = |code: &str| {
        format!("<Error><Code>{code}</Code><Message>m</Message><Endpoint>{host}</Endpoint></Error>")
    };
    for action in [
        answer(307, &[], &endpoint("TemporaryRedirect")),
        answer(301, &[], &endpoint("PermanentRedirect")),
        answer(
            302,
            &[("Location", &format!("{there}/{BUCKET}?location"))],
            "",
        ),
    ] {
        scene
            .proxy
            .set_rules(vec![Rule::new("", ".", None, action)]);
        other.set_rules(Vec::new());
        let result = scene.upload(&[]);
        assert_eq!(
            (result.code, result.stderr.as_str()),
            (0, ""),
            "{here} to {there}"
        );
        assert_eq!(scene.proxy.requests().len(), 1);
        assert_eq!(
            other.requests().len(),
            6,
            "the location again, a look at an older manifest, three parts, the manifest"
        );
        scene.assert_stored_whole();
    }
    let in_a_circle = answer(
        307,
        &[],
        &endpoint("TemporaryRedirect").replace(host, &scene.proxy.address.to_string()),
    );
    scene
        .proxy
        .set_rules(vec![Rule::new("", ".", None, in_a_circle)]);
    assert_failed(
        &scene.upload(&["--retry"]),
        "Error talking to S3: Server.TemporaryRedirect(307)",
        "",
    );
    assert_eq!(scene.proxy.requests().len(), 6);
}

#[test]
fn a_wrong_clock_is_corrected_by_the_servers() {
    let mut moto = end_to_end::moto::Moto::start();
    let _ = moto.call("bucket", &[BUCKET]);
    let proxy = Proxy::start(moto.address, Slowness::default());
    proxy.set_rules(vec![Rule::new(
        "",
        ".",
        None,
        Action::Clock(Duration::from_secs(7200)),
    )]);
    let manifest = golden("bundles/unbundle-variants/small-parts-12/image.manifest.xml");
    let url = proxy.url();
    let upload = |more: &[&str]| {
        let mut arguments = vec![
            "-b",
            BUCKET,
            "--url",
            &url,
            "--batch",
            "-m",
            manifest.to_str().unwrap(),
            "-a",
            "x",
            "-s",
            "y",
        ];
        arguments.extend(more);
        outcome(&mut command("ec2-upload-bundle", &arguments))
    };
    let failed = upload(&[]);
    assert_failed(
        &failed,
        "Error talking to S3: Server.RequestTimeTooSkewed(403)",
        "set this machine's clock",
    );
    let result = upload(&["--retry"]);
    assert_eq!(result.code, 0, "{result:?}");
    assert!(result.stderr.contains("RequestTimeTooSkewed"), "{result:?}");
    let state = moto.call("state", &[]);
    assert_eq!(state[BUCKET]["keys"].as_array().unwrap().len(), 13);
}
