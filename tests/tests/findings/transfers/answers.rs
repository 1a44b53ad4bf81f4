//! Answers that never end, or do not have their announced length. Memory is limited in each of these runs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use end_to_end::hostile::Hostile;
use end_to_end::proxy::{Action, Proxy, Rule, Slowness};
use end_to_end::s3::{BUCKET, Server, bundle_files, manifest, private_key, small_parts, with_keys};
use end_to_end::{
    METADATA_ENDPOINT, Outcome, command, folder, golden, key, names, outcome, run_by,
};

/// How much a command may allocate (bytes).
const MOST: u64 = 256 << 20;

/// The same command, with allocations beyond [`MOST`] failing.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("prlimit");
    let _ = limited
        .arg(format!("--data={MOST}"))
        .stdin(std::process::Stdio::null());
    let _ = run_by(&mut limited, command);
    limited
}

struct Scene {
    proxy: Proxy,
    _server: Server,
}

impl Scene {
    /// A server with a bundle in it, and a proxy in front of it.
    fn new() -> Self {
        let server = Server::start();
        let store = server.bucket(BUCKET);
        for (name, bytes) in bundle_files(&small_parts()) {
            fs::write(store.join(name), bytes).unwrap();
        }
        let proxy = Proxy::start(server.address, Slowness::default());
        Self {
            proxy,
            _server: server,
        }
    }

    fn run(&self, rule: Rule, name: &str, more: &[&str]) -> Outcome {
        self.proxy.set_rules(vec![rule]);
        outcome(&mut limited(&with_keys(name, &self.proxy.url(), more)))
    }

    fn upload(&self, rule: Rule) -> Outcome {
        self.run(rule, "ec2-upload-bundle", &["-m", &manifest()])
    }

    fn download(&self, rule: Rule, to: &Path) -> Outcome {
        let to = to.to_str().unwrap();
        self.run(
            rule,
            "ec2-download-bundle",
            &["-k", &private_key(), "-d", to],
        )
    }
}

fn hostile(method: &str, path: &str, hostile: Hostile) -> Rule {
    Rule::new(method, path, None, Action::Hostile(hostile))
}

fn assert_one_line(result: &Outcome, code: i32, reason: &str) {
    assert_eq!(result.code, code, "{result:?}");
    assert_eq!(result.stderr.lines().count(), 1, "{result:?}");
    assert!(result.stderr.starts_with("ERROR: "), "{result:?}");
    assert!(result.stderr.contains(reason), "{result:?}");
    assert!(result.stderr.len() < 2000, "{result:?}");
}

const TOO_LONG_AN_ERROR: &str = "the server's answer has more than 65536 bytes";
const TOO_LONG: &str = "the server's answer has more than 2097152 bytes";

#[test]
fn finding_10_an_error_without_an_end_is_not_read_to_its_end() {
    let scene = Scene::new();
    let error = |status| Hostile::endless(status, "<Error><Message>", "more and more ");
    for status in [400, 403, 500] {
        let result = scene.upload(hostile("PUT", "part", error(status)));
        assert_one_line(&result, 3, TOO_LONG_AN_ERROR);
        assert!(result.stderr.contains(&format!("Server.Error({status}): ")));
    }
    let to = folder();
    let result = scene.download(hostile("GET", "manifest", error(403)), to.path());
    assert_one_line(&result, 3, TOO_LONG_AN_ERROR);
    assert_eq!(names(to.path()), [""; 0]);
}

#[test]
fn finding_10_other_answers_are_not_read_to_their_end_either() {
    let scene = Scene::new();
    let text = Hostile::endless(200, "<LocationConstraint>", "more and more ");
    assert_one_line(&scene.upload(hostile("GET", "location", text)), 3, TOO_LONG);

    let empty = Hostile::endless(200, "<ListBucketResult>", "<Contents/>");
    let delete = ["-p", "image", "-y"];
    let result = scene.run(
        hostile("GET", "prefix", empty),
        "ec2-delete-bundle",
        &delete,
    );
    assert_one_line(
        &result,
        3,
        "the server's answer has more than 65536 elements",
    );
}

#[test]
fn finding_10_a_listing_without_an_end_ends() {
    let scene = Scene::new();
    let count = Arc::<AtomicU64>::default();
    let pages = Hostile::EndlessPages {
        page: "<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>$NEXT</NextMarker><Contents><Key>image.part.$NEXT</Key>\
               </Contents></ListBucketResult>",
        count: count.clone(),
    };
    let result = scene.run(
        hostile("GET", "prefix", pages),
        "ec2-delete-bundle",
        &["-p", "image", "-y"],
    );
    assert_one_line(&result, 3, "the listing has more pages than any bundle");
    assert_eq!(count.load(Ordering::Relaxed), 1000);
    assert_eq!(result.stdout, "");
}

#[test]
fn finding_10_objects_are_not_longer_than_expected() {
    let scene = Scene::new();
    let to = folder();
    let object = || Hostile::endless(200, "<manifest>", "<x/>");
    let result = scene.download(hostile("GET", "manifest", object()), to.path());
    assert_one_line(&result, 3, "it has more than 16777216 bytes");
    let result = scene.download(hostile("GET", "part.03", object()), to.path());
    assert_one_line(&result, 3, "which no file of this bundle has");
    assert_eq!(names(to.path()), [""; 0]);
}

#[test]
fn finding_10_heads_are_limited_and_lengths_must_be_true() {
    let scene = Scene::new();
    let to = folder();
    let raw = |text: &str| Hostile::Raw(text.as_bytes().to_vec());
    let short = "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nshort";
    for (rule, reason) in [
        (hostile("GET", "location", Hostile::EndlessHead), ""),
        (hostile("GET", "location", raw(short)), ""),
        (
            hostile("GET", "location", raw("no HTTP at all\r\n\r\n")),
            "",
        ),
    ] {
        assert_one_line(&scene.upload(rule), 3, reason);
    }
    let result = scene.download(hostile("GET", "part.03", raw(short)), to.path());
    assert_one_line(&result, 3, "the transfer broke off after 5 bytes");
    let whole = "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nwrong";
    let result = scene.download(hostile("GET", "part.03", raw(whole)), to.path());
    assert_one_line(&result, 3, "the manifest says");
    assert_eq!(names(to.path()), [""; 0]);
}

#[test]
fn finding_10_what_is_compressed_is_no_answer() {
    let scene = Scene::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 64 << 20]).unwrap();
    let body = gzip.finish().unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    let result = scene.upload(hostile("GET", "location", Hostile::Raw(answer)));
    assert_one_line(&result, 3, "");
}

#[test]
fn finding_10_an_answer_that_comes_a_byte_at_a_time_ends() {
    let drip = |status| {
        let drip = Hostile::Drip {
            status,
            every: Duration::from_millis(200),
        };
        let result = Scene::new().upload(hostile("GET", "location", drip));
        assert_one_line(&result, 3, "the server's answer took more than 60 s");
    };
    std::thread::scope(|scope| {
        for status in [200, 403] {
            let _ = scope.spawn(move || drip(status));
        }
    });
}

#[test]
fn finding_12_what_a_server_says_stays_on_one_line() {
    let scene = Scene::new();
    let words =
        "<Error><Code>Bad\nCode</Code><Message>\x1b[31m\r\nERROR: forged\x07</Message></Error>";
    let rule = |status, times| {
        let action = Action::Answer {
            status,
            headers: Vec::new(),
            body: words.to_owned(),
        };
        Rule::new("PUT", "part", times, action)
    };
    let refused = scene.upload(rule(403, None));
    assert_one_line(&refused, 3, "forged");
    let manifest = manifest();
    let again = scene.run(
        rule(500, Some(1)),
        "ec2-upload-bundle",
        &["-m", &manifest, "--retry", "--parallel", "1"],
    );
    assert_eq!(again.code, 0, "{again:?}");
    for result in [refused, again] {
        assert_eq!(result.stderr.lines().count(), 1, "{result:?}");
        let is_control = |c: char| c.is_control() && c != '\n';
        assert!(!result.stderr.contains(is_control), "{result:?}");
    }
}

#[test]
fn finding_10_ec2s_answers_are_limited_too() {
    let scene = Scene::new();
    let work = folder();
    let migrate = |rule: Rule| {
        let manifest = work.path().join("image.manifest.xml");
        let original = golden("bundles/migrated")
            .read_dir()
            .unwrap()
            .map(|case| case.unwrap().path().join("before.manifest.xml"))
            .find(|manifest| {
                fs::read_to_string(manifest)
                    .unwrap()
                    .contains("<kernel_id>")
            });
        let _ = fs::copy(original.unwrap(), &manifest).unwrap();
        scene.proxy.set_rules(vec![rule]);
        let (private_key, certificate) = (private_key(), key("user2048.crt"));
        let arguments = [
            "-k",
            &private_key,
            "-c",
            certificate.to_str().unwrap(),
            "-m",
            manifest.to_str().unwrap(),
            "--region",
            "us-east-1",
        ];
        let mut migrate = command("ec2-migrate-manifest", &arguments);
        let _ = migrate
            .env("AWS_ENDPOINT_URL_EC2", scene.proxy.url())
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "y");
        outcome(&mut limited(&migrate))
    };
    let endless = Hostile::endless(200, "<DescribeRegionsResponse><regionInfo>", "<item/>");
    let result = migrate(hostile("POST", "", endless));
    assert_one_line(
        &result,
        254,
        "the server's answer has more than 65536 elements",
    );
    let refusal = Hostile::endless(403, "<Response><Errors>", "more and more ");
    let result = migrate(hostile("POST", "", refusal));
    assert_one_line(&result, 254, TOO_LONG_AN_ERROR);
    // Serves as an answer for regions, of which it names one, and for images, with another page to follow.
    let count = Arc::<AtomicU64>::default();
    let pages = Hostile::EndlessPages {
        page: "<R><regionInfo><item><regionName>us-east-1</regionName></item></regionInfo><imagesSet/><nextToken>$NEXT</nextToken></R>",
        count: count.clone(),
    };
    let result = migrate(hostile("POST", "", pages));
    assert_one_line(&result, 254, "the server's answers have no end");
    assert_eq!(count.load(Ordering::Relaxed), 51);
}

#[test]
fn finding_10_those_who_give_credentials_are_limited_too() {
    let scene = Scene::new();
    let manifest = manifest();
    let url = scene.proxy.url();
    let upload = |variable: &str, value: &str, answer: Hostile| {
        scene.proxy.set_rules(vec![hostile("", "", answer)]);
        let mut upload = command(
            "ec2-upload-bundle",
            &["-b", BUCKET, "--url", &url, "-m", &manifest, "--batch"],
        );
        let result = outcome(&mut limited(upload.env(variable, value)));
        assert_ne!(result.code, 0);
        let lines = result
            .stderr
            .lines()
            .filter(|line| !line.starts_with("Try '"));
        assert_eq!(lines.count(), 1, "{result:?}");
        assert!(result.stderr.len() < 500, "{result:?}");
    };
    for answer in [
        Hostile::endless(200, "{", "\"a\":\"b\","),
        Hostile::endless(500, "", "x"),
        Hostile::EndlessHead,
    ] {
        upload(METADATA_ENDPOINT, &url, answer.clone());
        let container = format!("{url}/credentials");
        upload("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container, answer);
    }
}
