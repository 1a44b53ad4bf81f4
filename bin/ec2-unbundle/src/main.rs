//! Restores the disk image of an EC2 bundle.

mod args;

use std::path::PathBuf;
use std::process::ExitCode;

use ami_bundle::{Running, StagedImage, UnbundleRequest, unbundle_image};
use ami_cli::{Context, Failure, OrExit, Story, exit};
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
    let signature_checked = arguments.cert.is_some();
    if let Some(path) = &arguments.cert {
        context.warn_of_certificate(path);
    }
    let story = Story::of_manifest(&arguments.manifest, context);
    let request = UnbundleRequest {
        manifest: arguments.manifest.clone(),
        parts: arguments.source,
        key: arguments.privatekey,
        certificate: arguments.cert,
    };
    let running = Running {
        threads: arguments.running.threads(),
        events: &|event| story.tell(&event),
        interrupted: context.interrupted(),
    };
    let open = |naming| {
        let staging = context.staging(&arguments.destination)?;
        debug!(path = %staging.path().display(), "private folder made");
        StagedImage::new(staging, naming)
    };
    let unbundled = unbundle_image(request, open, &running).map_err(Failure::of_unbundling)?;
    let (path, contents) = (unbundled.image, unbundled.contents);

    let said = if context.is_json() {
        let image_size = match contents.size {
            Some(size) => size,
            None => std::fs::metadata(&path).or_exit(exit::OTHER)?.len(),
        };
        context.print_json(&Report {
            image: path.clone(),
            image_size,
            digest: contents.digest.to_string(),
            signature_checked,
        })
    } else {
        context.say("Unbundle complete.")
    };
    said.map_err(|failure| failure.after(&path))
}
