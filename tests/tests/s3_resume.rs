//! Interrupted transfers are resumed, and an incomplete bundle never looks whole.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use end_to_end::moto::Moto;
use end_to_end::proxy::{Proxy, Slowness};
use end_to_end::s3::{
    ACCESS_KEY, BUCKET, SECRET_KEY, Server, bundle_files, for_moto, manifest, ok, private_key,
    small_parts, with_keys,
};
use end_to_end::same::assert_same_files;
use end_to_end::{command, contents, folder, names, outcome, shell, wait_until};
use serde_json::json;

fn kill(mut child: Child) {
    child.kill().unwrap();
    let _ = child.wait().unwrap();
}

fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_upload_goes_on_and_sends_nothing_twice_but_what_was_on_its_way() {
    let server = Server::start();
    let store = server.bucket(BUCKET);
    let slowness = Slowness {
        latency: Duration::from_millis(60),
        rate: 0,
    };
    let proxy = Proxy::start(server.address, slowness);
    let upload = |more: &[&str]| {
        with_keys(
            "ec2-upload-bundle",
            &proxy.url(),
            &[&["-m", &manifest(), "--parallel", "2"][..], more].concat(),
        )
    };
    let mut child = start(upload(&[]));
    wait_until(&mut child, "five parts were there", || {
        bundle_files(&store).len() >= 5
    });
    kill(child);
    let whole = bundle_files(&small_parts());
    let arrived = bundle_files(&store);
    assert!(arrived.len() < whole.len() && !arrived.contains_key("image.manifest.xml"));
    let (sent, _) = proxy.bytes();

    proxy.set_rules(Vec::new());
    let result = ok(upload(&["--resume"]));
    // Parts that were being transferred may have arrived since.
    let skipped = result.stdout.matches("Skipping image.part.").count();
    assert!(
        (arrived.len()..=arrived.len() + 2).contains(&skipped),
        "{skipped}"
    );
    assert_same_files(&bundle_files(&store), &whole);
    let (sent_again, _) = proxy.bytes();
    let size: u64 = whole.values().map(|bytes| bytes.len() as u64).sum();
    assert!(
        sent + sent_again <= size + 2 * 1800,
        "{sent} and {sent_again} of {size}"
    );
    let puts = proxy.requests();
    let again = puts.iter().filter(|put| {
        put.method == "PUT"
            && !put.path.contains("acl")
            && arrived.keys().any(|name| put.path.contains(name))
    });
    assert_eq!(again.count(), 0);
}

#[test]
fn a_part_in_s3_that_is_another_one_is_sent_again() {
    let mut moto = Moto::start();
    let upload = |moto: &Moto| {
        let result = for_moto(
            moto,
            "ec2-upload-bundle",
            BUCKET,
            &["-m", &manifest(), "--retry"],
        );
        assert_eq!(result.code, 0, "{result:?}");
        result.stdout
    };
    assert_eq!(upload(&moto).matches("Uploaded image.part.").count(), 12);
    let before = moto.call("state", &[]);
    let of_same_size = "x".repeat(1800);
    for (name, text) in [
        ("image.part.07", of_same_size.as_str()),
        ("image.part.09", "short"),
    ] {
        let _ = moto.call_with("put", &[BUCKET, name], json!({"text": text}));
    }
    let again = upload(&moto);
    let sent: Vec<&str> = again
        .lines()
        .filter(|line| line.starts_with("Uploaded image.part"))
        .collect();
    assert_eq!(sent, ["Uploaded image.part.07", "Uploaded image.part.09"]);
    assert_eq!(again.matches("Skipping image.part.").count(), 10);
    assert_eq!(moto.call("state", &[]), before);
}

#[test]
fn a_killed_download_goes_on_and_gets_nothing_twice_but_what_was_on_its_way() {
    let server = Server::start();
    let store = server.bucket(BUCKET);
    let whole = bundle_files(&small_parts());
    for (name, bytes) in &whole {
        fs::write(store.join(name), bytes).unwrap();
    }
    let slowness = Slowness {
        latency: Duration::from_millis(150),
        rate: 0,
    };
    let proxy = Proxy::start(server.address, slowness);
    let to = folder();
    let key = private_key();
    fs::write(to.path().join("image.manifest.xml"), "an older one").unwrap();
    let download = |more: &[&str]| {
        let more = [
            &[
                "-k",
                &key,
                "-d",
                to.path().to_str().unwrap(),
                "--parallel",
                "1",
            ][..],
            more,
        ]
        .concat();
        with_keys("ec2-download-bundle", &proxy.url(), &more)
    };
    let mut child = start(download(&["--retry"]));
    wait_until(&mut child, "two parts had come", || {
        proxy
            .requests()
            .iter()
            .filter(|request| request.answer == 1800)
            .count()
            >= 2
    });
    let meanwhile = outcome(&mut download(&["--resume"]));
    assert_eq!(meanwhile.code, 254, "{meanwhile:?}");
    assert!(
        meanwhile
            .stderr
            .contains("another command is downloading this bundle"),
        "{meanwhile:?}"
    );
    kill(child);
    let left = names(to.path());
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(
        fs::read_to_string(to.path().join("image.manifest.xml")).unwrap(),
        "an older one"
    );
    let (_, got) = proxy.bytes();

    proxy.set_rules(Vec::new());
    let result = ok(download(&["--resume"]));
    let skipped = result.stdout.matches("Skipping image.part.").count();
    assert!(skipped >= 1, "{skipped}");
    assert_same_files(&contents(to.path()), &whole);
    let (_, got_again) = proxy.bytes();
    let size: u64 = whole.values().map(|bytes| bytes.len() as u64).sum();
    let manifests = 3 * whole["image.manifest.xml"].len() as u64;
    assert!(
        got + got_again <= size + 2 * 1800 + manifests,
        "{got} and {got_again} of {size}"
    );

    proxy.set_rules(Vec::new());
    let _ = ok(download(&["--resume"]));
    assert_eq!(
        proxy.requests().len(),
        1,
        "only the manifest: the parts are there"
    );
}

#[test]
fn a_killed_download_without_resume_leaves_nothing() {
    let server = Server::start();
    let store = server.bucket(BUCKET);
    for (name, bytes) in bundle_files(&small_parts()) {
        fs::write(store.join(name), bytes).unwrap();
    }
    let slowness = Slowness {
        latency: Duration::from_millis(60),
        rate: 0,
    };
    let proxy = Proxy::start(server.address, slowness);
    let to = folder();
    let more = ["-k", &private_key(), "-d", to.path().to_str().unwrap()];
    let mut child = start(with_keys("ec2-download-bundle", &proxy.url(), &more));
    wait_until(&mut child, "it had begun", || {
        end_to_end::has_begun(to.path())
    });
    kill(child);
    end_to_end::traces::assert_no_trace(to.path());
    assert_eq!(names(to.path()), [""; 0]);
}

#[test]
fn two_downloads_to_one_folder_give_one_bundle_or_the_other() {
    let server = Server::start();
    let one = bundle_files(&small_parts());
    // Another bundle of that name. It is newly made, because the same parts in another order would not verify.
    let work = folder();
    let image = work.path().join("image");
    end_to_end::images::incompressible(&image, 21 << 20);
    let other = work.path().join("other");
    fs::create_dir(&other).unwrap();
    let _ = end_to_end::bundle(&image, &other, &["-p", "image"]);
    let other = bundle_files(&other);
    for (bucket, files) in [("one.test", &one), ("other.test", &other)] {
        for (name, bytes) in files {
            fs::write(server.bucket(bucket).join(name), bytes).unwrap();
        }
    }
    for _ in 0..10 {
        let to = folder();
        let download = |bucket: &str| {
            let key = private_key();
            let url = server.url();
            let arguments = [
                "-b",
                bucket,
                "--url",
                &url,
                "--batch",
                "-k",
                &key,
                "-d",
                to.path().to_str().unwrap(),
            ];
            let mut command = command("ec2-download-bundle", &arguments);
            let _ = command
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
            start(command)
        };
        for mut child in [download("one.test"), download("other.test")] {
            assert!(child.wait().unwrap().success());
        }
        let found = contents(to.path());
        let expected = if found["image.manifest.xml"] == one["image.manifest.xml"] {
            &one
        } else {
            &other
        };
        assert!(
            expected
                .iter()
                .all(|(name, bytes)| found.get(name) == Some(bytes))
        );
    }
}

#[test]
fn an_interruption_ends_it_within_a_moment() {
    let server = Server::start();
    let _ = server.bucket(BUCKET);
    let slowness = Slowness {
        latency: Duration::from_secs(3600),
        rate: 0,
    };
    let proxy = Proxy::start(server.address, slowness);
    let mut command = with_keys("ec2-upload-bundle", &proxy.url(), &["-m", &manifest()]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has got as far as it can, and is waiting for the answer.
    let is_connected = || {
        let files = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        let links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        links
            .into_iter()
            .any(|link| link.to_string_lossy().starts_with("socket:"))
    };
    while !is_connected() {}
    let _ = shell(&format!("kill -INT {}", child.id()), Path::new("/"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "ec2-upload-bundle interrupted.\n"
    );
}
