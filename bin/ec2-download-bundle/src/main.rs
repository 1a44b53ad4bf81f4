//! Downloads an EC2 bundle from S3.

mod args;
mod landing;
mod names;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::{Image, LARGEST_MANIFEST, ParsedManifest, PrivateKey, Sha1Digest};
use ami_parts::PART_SIZE;
use ami_s3::{Arrived, Bucket, BucketPath, Expected, in_order};
use ami_s3_cli::{Session, failure, talk};
use serde::Serialize;
use tracing::debug;

use crate::args::{Arguments, DEFINITION};
use crate::landing::{Landing, Part};

/// What was downloaded, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    manifest: PathBuf,
    downloaded: Vec<String>,
    skipped: Vec<String>,
    /// Parts whose digest is not the manifest's; only with `--no-verify`.
    damaged: Vec<String>,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, download)
}

fn download(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let settings = arguments.s3.settings(arguments.s3.region(), context)?;
    let path = arguments.s3.bucket.clone();
    let (option, file) = match (&arguments.manifest, &arguments.prefix) {
        (Some(_), Some(_)) => {
            return Err(Failure::not_both("prefix", "manifest"));
        }
        (Some(manifest), None) => ("manifest", manifest.clone()),
        (None, prefix) => {
            let name = prefix.as_deref().unwrap_or("image");
            ("prefix", ami_parts::manifest_file_name(name))
        }
    };
    names::check_manifest_name(option, &file)?;
    let folder = match &arguments.directory {
        Some(folder) => folder.clone(),
        None => std::env::current_dir().or_exit(exit::OTHER)?,
    };
    talk(&settings, context, async |session| {
        run(&arguments, path, &file, &folder, session).await
    })
}

async fn run(
    arguments: &Arguments,
    path: BucketPath,
    file: &str,
    folder: &Path,
    session: &Session<'_>,
) -> Result<(), Failure> {
    let bucket = session.connection.bucket(path);
    let key = &arguments.privatekey;
    let target = names::manifest_target(folder, file, key)?;
    let manifest = get_manifest(arguments, &bucket, file, &target, session).await?;
    let parsed = ParsedManifest::parse(&manifest).map_err(|source| ami_manifest::Error::Manifest {
        path: bucket.path().location(file).into(),
        source: Box::new(source),
    });
    let image = parsed.or_exit(exit::OTHER)?.manifest.image;
    debug!(
        name = image.name,
        parts = image.parts.len(),
        "manifest read"
    );
    let check_names = || names::check_parts(&image.parts, folder, file, key);
    check_names()?;

    let landing = Landing::prepare(
        &manifest,
        &image,
        folder,
        arguments.resumes(),
        session.context,
    )?;
    let damaged = get_parts(arguments, &image, &bucket, &landing, folder, session).await?;
    for name in &damaged {
        session.context.warn(&format!(
            "WARNING: {name} is damaged: its SHA-1 is not the manifest's. It is kept because of --no-verify."
        ));
    }
    let names = |was_there| {
        let parts = landing
            .parts
            .iter()
            .filter(|part| part.is_there == was_there);
        parts.map(|part| part.name.clone()).collect()
    };
    let report = Report {
        manifest: target,
        downloaded: names(false),
        skipped: names(true),
        damaged,
    };
    // Once more: something may have got a name meanwhile.
    check_names()?;
    landing.publish(file, &manifest, session.context)?;
    if session.context.is_json() {
        let printed = session.context.print_json(&report);
        printed.map_err(|failure| failure.after(&report.manifest))?;
    }
    Ok(())
}

async fn get_manifest(
    arguments: &Arguments,
    bucket: &Bucket,
    file: &str,
    target: &Path,
    session: &Session<'_>,
) -> Result<Vec<u8>, Failure> {
    let (name, key) = (&bucket.path().bucket, bucket.path().key(file));
    session.say(&format!(
        "Downloading manifest {key} from {name} to {} ...",
        target.display()
    ))?;
    let bytes = bucket
        .get(&doing(&key), file, LARGEST_MANIFEST)
        .await
        .map_err(failure)?;
    if !ami_manifest::is_encrypted(&bytes) {
        return Ok(bytes);
    }
    session.say("Decrypting manifest ...")?;
    let key = PrivateKey::load(&arguments.privatekey).or_exit(exit::OTHER)?;
    ami_manifest::decrypt(&bytes, &key).or_exit(exit::OTHER)
}

/// Downloads what is not there, and gives the names of the damaged parts, if these are to be kept.
async fn get_parts(
    arguments: &Arguments,
    image: &Image,
    bucket: &Bucket,
    landing: &Landing,
    folder: &Path,
    session: &Session<'_>,
) -> Result<Vec<String>, Failure> {
    session.begin(image.bundled_size, landing.parts.len());
    // The next that is to be told is announced as soon as those before it are.
    let announce = |index: usize| match landing.parts.get(index) {
        Some(Part {
            name,
            is_there: true,
            ..
        }) => session.say(&format!("Skipping {name}")),
        Some(Part { name, .. }) => session.say(&format!(
            "Downloading part {} to {} ...",
            bucket.path().key(name),
            folder.join(name).display()
        )),
        None => Ok(()),
    };
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    announce(0)?;
    in_order(
        landing.parts.len(),
        arguments.s3.parallel(),
        |index| {
            let (part, bucket) = (landing.parts[index].clone(), bucket.clone());
            let expected = Expected {
                most: image.bundled_size,
                usual: usual_size(image, &part.name),
                // All but the last are of one size.
                patience: image.bundled_size / image.parts.len().saturating_sub(1).max(1) as u64,
                sha1: (!arguments.no_verify).then_some(part.digest),
            };
            async move {
                if part.is_there {
                    return Ok(None);
                }
                let doing = doing(&bucket.path().key(&part.name));
                let got = bucket
                    .get_file(&doing, &part.name, &expected, &part.path)
                    .await;
                got.map(Some).map_err(failure)
            }
        },
        |index, arrived: Option<Arrived>| {
            let part = &landing.parts[index];
            session.set_files(index + 1);
            if let Some(arrived) = arrived {
                if arrived.sha1 != part.digest {
                    debug!(part = part.name, found = %Sha1Digest(arrived.sha1), "damaged");
                    damaged.push(part.name.clone());
                }
                let name = &bucket.path().bucket;
                session.say(&format!("Downloaded {} from {name}", part.name))?;
                all.push(arrived);
            }
            announce(index + 1)
        },
    )
    .await?;
    session.end();
    for arrived in all {
        arrived.synced().await.map_err(failure)?;
    }
    Ok(damaged)
}

/// About how many bytes a part has; of the last one of a bundle with parts of another size than usual nothing is known.
fn usual_size(image: &Image, part: &str) -> u64 {
    let (count, usual) = (image.parts.len().max(1) as u64, PART_SIZE.get());
    let before = usual.saturating_mul(count - 1);
    let last = image.bundled_size.checked_sub(before);
    let last = last.filter(|size| (1..=usual).contains(size));
    let is_last = image.parts.last().is_some_and(|last| last.filename == part);
    match (last, is_last) {
        (Some(size), true) => size,
        (Some(_), false) => usual,
        (None, true) => 0,
        (None, false) => image.bundled_size / count,
    }
}

fn doing(key: &str) -> String {
    format!("Failed to download \"{key}\"")
}
