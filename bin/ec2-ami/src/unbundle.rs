//! `ec2-ami unbundle`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use ami_bundle::{BundleFiles, UnbundleRequest, describe};
use ami_cli::{Context, Failure, counted, shown_path, values};
use ami_image::Description;
use ami_manifest::{BundleContents, Certificate, PrivateKey};
use ami_parts::PartFiles;
use ami_transfer::{Error, OpenBundle, RemoteBundle};
use clap::ArgAction::SetTrue;
use clap::Args;
use serde::Serialize;

use crate::bundle_outcome::failure;
use crate::bundles::{self, BUNDLE, From, Reading};
use crate::problems;
use crate::target::{self, Kind, Target};

const IMAGE: &str = "The image";

#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundle's manifest: s3://BUCKET/FOLDER/NAME.manifest.xml, or a file
    #[arg(value_name = "FROM", value_parser = bundles::from, help_heading = BUNDLE)]
    from: From,
    /// A file, a block device, or - for standard output
    #[arg(value_name = "TO", help_heading = IMAGE)]
    to: PathBuf,
    /// The private key that belongs to the bundle's certificate
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, help_heading = BUNDLE)]
    privatekey: PathBuf,
    /// Replace a file of that name
    #[arg(long, action = SetTrue, help_heading = IMAGE)]
    replace: bool,
    /// Do not ask before a device is overwritten
    #[arg(short = 'y', long, action = SetTrue, help_heading = IMAGE)]
    yes: bool,
    /// Show what would be unbundled, and every problem, and write nothing
    #[arg(long, action = SetTrue, help_heading = IMAGE)]
    dry_run: bool,
    #[command(flatten)]
    reading: Reading,
}

/// What was unbundled, for `--json`.
#[derive(Serialize)]
struct Report {
    image: PathBuf,
    image_size: u64,
    signature_checked: bool,
}

/// What would be unbundled, for `--json`.
#[derive(Serialize)]
struct Plan {
    name: String,
    image_size: u64,
    parts: usize,
    problems: Vec<String>,
}

/// What is known of a bundle before it is unbundled.
struct Known {
    description: Description,
    parts: usize,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    if let Some(path) = &arguments.reading.cert {
        context.warn_of_certificate(path);
    }
    let kind = Kind::of(&arguments.to);
    if kind == Kind::Stream && context.is_json() {
        return Err(Failure::usage(
            "--json and - may not both be given: both use standard output",
        ));
    }
    match arguments.dry_run {
        true => plan(&arguments, context),
        false => unbundle(&arguments, kind, context),
    }
}

impl Arguments {
    fn in_s3(
        &self,
        manifest: &crate::in_s3::Manifest,
        context: &Context,
    ) -> Result<OpenBundle, Failure> {
        Ok(OpenBundle {
            s3: self.reading.s3(context)?,
            bucket: manifest.bucket.clone(),
            manifest: manifest.file.clone(),
            private_key: self.privatekey.clone(),
            certificate: self.reading.cert.clone(),
        })
    }
}

fn unbundle(arguments: &Arguments, kind: Kind, context: &Context) -> Result<(), Failure> {
    let to = arguments.to.as_path();
    let (target, ended) = Target::open(to, arguments.replace, arguments.yes, context)?;
    let is_begun = target.is_begun();
    let threads = arguments.reading.running.threads();
    let finish = |size| report(arguments, kind, size, context);
    let unbundled = match &arguments.from {
        From::S3(manifest) => {
            let request = arguments.in_s3(manifest, context)?;
            let keys = [Some(&request.private_key), request.certificate.as_ref()];
            let keys: Vec<PathBuf> = keys.into_iter().flatten().cloned().collect();
            target.spare(&keys).map_err(|error| failure(error.into()))?;
            bundles::run(
                context,
                async |reporter| ami_transfer::unbundle(&request, target, threads, reporter).await,
                finish,
            )
        }
        From::Disk(manifest) => {
            let request = UnbundleRequest {
                manifest: manifest.clone(),
                parts: arguments.reading.folder(manifest),
                key: arguments.privatekey.clone(),
                certificate: arguments.reading.cert.clone(),
            };
            let open = |naming: ami_bundle::Naming| {
                target.spare(&naming.sources)?;
                Ok(target)
            };
            bundles::run(
                context,
                async |reporter| {
                    ami_transfer::unbundle_files(request, open, threads, reporter).await
                },
                finish,
            )
        }
    };
    // After an interruption, the pipeline takes a moment to end on its own threads, and to remove its private folder.
    if kind == Kind::File {
        ended.wait();
    }
    if unbundled.is_err() && is_begun.load(Ordering::Relaxed) {
        let place = place(to, kind);
        context.warn(&format!(
            "What was written to {place} is not the whole image, or not verified: do not use it."
        ));
    }
    unbundled
}

fn place(to: &Path, kind: Kind) -> String {
    match kind {
        Kind::Stream => "standard output".to_owned(),
        _ => shown_path(to),
    }
}

fn report(
    arguments: &Arguments,
    kind: Kind,
    image_size: u64,
    context: &Context,
) -> Result<(), Failure> {
    let to = &arguments.to;
    let printed = if kind == Kind::Stream {
        context.warn(&format!("All {image_size} bytes are written and verified."));
        Ok(())
    } else if context.is_json() {
        context.print_json(&Report {
            image: to.clone(),
            image_size,
            signature_checked: arguments.reading.cert.is_some(),
        })
    } else {
        context.say(&shown_path(to))
    };
    printed.map_err(|failure| failure.after(to))
}

fn plan(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let show = |known| show(arguments, &known, context);
    match &arguments.from {
        From::S3(manifest) => {
            let request = arguments.in_s3(manifest, context)?;
            bundles::run(context, async |_| look_up(&request).await, show)
        }
        From::Disk(manifest) => {
            let known = look_at(arguments, manifest, context);
            show(known.map_err(failure)?)
        }
    }
}

async fn look_up(request: &OpenBundle) -> Result<Known, Error> {
    let bundle = RemoteBundle::open(request).await?;
    Ok(Known {
        description: bundle.description().await?,
        parts: bundle.part_count(),
    })
}

fn look_at(arguments: &Arguments, manifest: &Path, context: &Context) -> Result<Known, Error> {
    let contents = BundleContents::load(manifest)?;
    if let Some(path) = &arguments.reading.cert {
        contents.verify(&Certificate::load(path)?)?;
    }
    let key = PrivateKey::load(&arguments.privatekey)?;
    let key = contents.user_key.unwrap_with(&key)?;
    let files = BundleFiles::find(&contents, &arguments.reading.folder(manifest))?;
    let BundleFiles { parts, expected } = files;
    let count = parts.len();
    let source = PartFiles::new(parts);
    Ok(Known {
        description: describe(source, &expected, &key, context.interrupted())?,
        parts: count,
    })
}

fn show(arguments: &Arguments, known: &Known, context: &Context) -> Result<(), Failure> {
    let Known { description, parts } = known;
    let (to, size) = (&arguments.to, description.size);
    let problem = target::check(to, arguments.replace, Some(size)).err();
    let problems: Vec<Failure> = problem.into_iter().collect();
    if context.is_json() {
        context.print_json(&Plan {
            name: description.name.clone(),
            image_size: size,
            parts: *parts,
            problems: problems::told(&problems, context),
        })?;
    } else {
        let (name, parts) = (&description.name, counted(*parts, "part", "parts"));
        let place = place(to, Kind::of(to));
        context.say(&format!(
            "{name}, {size} bytes in {parts}, would be unbundled to {place}"
        ))?;
    }
    Failure::all(problems)
}
