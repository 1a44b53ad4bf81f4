//! Makes the disk image of an EC2 bundle again.

mod args;

use std::path::PathBuf;
use std::process::ExitCode;

use ami_bundle::{Naming, Settings, StagedImage};
use ami_cli::{BundleFiles, Context, Failure, OrExit, Progress, exit};
use ami_manifest::{BundleContents, Certificate, PrivateKey};
use serde::Serialize;
use tracing::debug;

use crate::args::{Arguments, DEFINITION};

/// What was unbundled, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    image: PathBuf,
    image_size: u64,
    digest: String,
    signature_checked: bool,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, unbundle)
}

fn unbundle(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let manifest = arguments.manifest;
    let contents = BundleContents::load(&manifest).or_exit(exit::OTHER)?;
    if let Some(path) = &arguments.cert {
        context.warn_of_certificate(path);
        let certificate = Certificate::load(path).or_exit(exit::OTHER)?;
        contents.verify(&certificate).or_exit(exit::OTHER)?;
    }
    context.warn_of_lacks(&manifest, &contents);
    debug!(version = ?contents.version, name = contents.name, size = contents.size, "manifest read");
    let key_path = arguments.privatekey;
    let key = PrivateKey::load(&key_path).or_exit(exit::OTHER)?;
    let bundle_key = contents.user_key.unwrap_with(&key).or_exit(exit::OTHER)?;
    let files = BundleFiles::find(&contents, &arguments.source).or_exit(exit::OTHER)?;

    debug!(count = files.parts.len(), bytes = files.size, "parts found");

    let staging = context
        .staging(&arguments.destination)
        .or_exit(exit::OTHER)?;
    debug!(path = %staging.path().display(), "private folder made");
    let sources = [manifest.clone(), key_path].into_iter();
    let sources = sources.chain(arguments.cert.clone());
    let sources = sources.chain(files.parts.iter().map(|part| part.path.clone()));
    let sources = sources.collect();
    let naming = Naming::of_manifest(&manifest, sources);
    let image = StagedImage::new(staging, naming).map_err(Failure::of_unbundling)?;
    let progress = Progress::bytes(context, files.size);
    let settings = Settings {
        threads: arguments.running.threads(),
        progress: &|count| progress.add(count),
        interrupted: context.interrupted(),
    };
    let path = ami_bundle::unbundle(files.parts, &files.expected, &bundle_key, image, &settings)
        .map_err(Failure::of_unbundling)?;
    drop(progress);

    let said = if context.is_json() {
        let image_size = match contents.size {
            Some(size) => size,
            None => std::fs::metadata(&path).or_exit(exit::OTHER)?.len(),
        };
        context.print_json(&Report {
            image: path.clone(),
            image_size,
            digest: contents.digest.to_string(),
            signature_checked: arguments.cert.is_some(),
        })
    } else {
        context.say("Unbundle complete.")
    };
    said.map_err(|failure| failure.after(&path))
}
