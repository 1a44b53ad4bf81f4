//! Scenes of the commands that use S3.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::local::{source, two_parts, work, work_with_twin};
use super::scene::{BUNDLE, Promise, Scene, copy, element, has_only, verify};
use crate::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, with_keys};
use crate::{command, key, names};

impl Scene {
    /// The scene with this bucket as its target.
    fn with_bucket(self, server: Server, bucket: PathBuf) -> Self {
        self.with_target(bucket.clone(), move || {
            // It serves as long as the scene is there.
            let _ = &server;
            forget(&bucket);
        })
    }
}

/// Removes the server's metadata beside a bucket, which no longer matches the restored objects.
fn forget(bucket: &Path) {
    let store = bucket.parent().unwrap();
    for name in names(store).iter().filter(|name| name.starts_with('.')) {
        fs::remove_file(store.join(name)).unwrap();
    }
}

/// Fails unless a folder has exactly the files of a bundle of two parts.
fn is_copy(found: &Path, source: &Path) -> Result<(), String> {
    has_only(found, &two_parts())?;
    let is_other = |name: &&String| {
        fs::read(found.join(name)).unwrap() != fs::read(source.join(name)).unwrap()
    };
    match two_parts().iter().find(is_other) {
        Some(name) => Err(format!("{name} is another")),
        None => Ok(()),
    }
}

/// `ec2-upload-bundle` over an older bundle with as many parts, or to a bucket that has the first part already.
pub fn upload(resumes: bool) -> Scene {
    let work = if resumes { work() } else { work_with_twin() };
    let source = source(work.path());
    if resumes {
        let first = "image.part.0";
        let to = work.path().join("before").join(first);
        let _ = fs::copy(source.join(first), to).unwrap();
    }
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let manifest = source.join("image.manifest.xml");
    let (url, target) = (server.url(), bucket.clone());
    Scene::new(
        "ec2-upload-bundle",
        if resumes {
            "with --resume"
        } else {
            "over an older bundle"
        },
        work,
        Promise::ManifestMeansWhole,
        move || {
            let mut more = vec!["-m", manifest.to_str().unwrap()];
            more.extend(resumes.then_some("--resume"));
            with_keys("ec2-upload-bundle", &url, &more)
        },
        move || is_copy(&target, &source),
    )
    .with_bucket(server, bucket)
}

/// `ec2-download-bundle` to an empty folder, or over an older bundle with as many parts, with or without `--resume`.
pub fn download(older_bundle: bool, resumes: bool) -> Scene {
    let work = if older_bundle {
        work_with_twin()
    } else {
        work()
    };
    let source = source(work.path());
    let server = Server::start();
    copy(&source, &server.bucket(BUCKET));
    let target = work.path().join("target");
    let destination = target.clone();
    let url = server.url();
    let (state, promise) = match (older_bundle, resumes) {
        (_, true) => ("with --resume", Promise::Resumes),
        (true, _) => ("over an older bundle", Promise::AllOrNothing),
        _ => ("into an empty folder", Promise::AllOrNothing),
    };
    Scene::new(
        "ec2-download-bundle",
        state,
        work,
        promise,
        move || {
            // It serves as long as the scene is there.
            let _ = &server;
            let private_key = key("user2048.key");
            let mut more = vec![
                "-p",
                BUNDLE,
                "-k",
                private_key.to_str().unwrap(),
                "-d",
                destination.to_str().unwrap(),
            ];
            more.extend(resumes.then_some("--resume"));
            with_keys("ec2-download-bundle", &url, &more)
        },
        move || is_copy(&target, &source),
    )
}

/// `ec2-delete-bundle` by the bundle's name.
pub fn delete() -> Scene {
    let work = work_with_twin();
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let (url, target) = (server.url(), bucket.clone());
    Scene::new(
        "ec2-delete-bundle",
        "by its name",
        work,
        Promise::ManifestMeansWhole,
        move || with_keys("ec2-delete-bundle", &url, &["-p", BUNDLE, "-y"]),
        move || has_only(&target, &[]),
    )
    .with_bucket(server, bucket)
}

/// `ec2-migrate-bundle` to a bucket with an older bundle with as many parts.
pub fn migrate_bundle() -> Scene {
    const FROM: &str = "from.here";
    const TO: &str = "to.there";
    let work = work_with_twin();
    let source = source(work.path());
    let server = Server::start();
    copy(&source, &server.bucket(FROM));
    let (url, bucket) = (server.url(), server.bucket(TO));
    let target = bucket.clone();
    Scene::new(
        "ec2-migrate-bundle",
        "over an older bundle",
        work,
        Promise::ManifestMeansWhole,
        move || migration(&url, FROM, TO),
        move || {
            has_only(&target, &two_parts())?;
            let manifest = target.join("image.manifest.xml");
            verify(&manifest)?;
            let digest = |folder: &Path| element(&folder.join("image.manifest.xml"), "digest");
            let is_copy = digest(&target) == digest(&source);
            is_copy.then_some(()).ok_or("it is the older one".into())
        },
    )
    .with_bucket(server, bucket)
}

fn migration(url: &str, from: &str, to: &str) -> Command {
    let mut command = command::<&str>("ec2-migrate-bundle", &[]);
    let files = [
        ("-k", "user2048.key"),
        ("-c", "user2048.crt"),
        ("--ec2cert", "ec2.crt"),
    ];
    for (option, name) in files {
        let _ = command.arg(option).arg(key(name));
    }
    let _ = command
        .args(["-m", "image.manifest.xml", "-b", from, "-d", to])
        .args(["--no-mapping", "--region", "us-east-1", "--batch"])
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command
}
