//! What `ec2-ami bundle` says of its plan and of its result.

use ami_cli::{Context, Failure, PartReport, counted};
use ami_transfer::{BundledToS3, PlaceFound};
use serde::Serialize;

use crate::create_report::Again;
use crate::problems;
use crate::shell::quoted;

const MIB: u64 = 1 << 20;

/// The result, for `--json`.
#[derive(Serialize)]
struct Report {
    manifest: String,
    region: String,
    bucket_created: bool,
    parts: Vec<PartReport>,
    image_size: u64,
    bundled_size: u64,
    /// SHA-1 of the tar stream.
    digest: String,
    image: Option<String>,
    register: Option<String>,
    create: String,
}

/// Prints where the bundle is.
pub fn say_location(bundled: &BundledToS3, context: &Context) -> Result<(), Failure> {
    context.say(&format!("s3://{}", bundled.manifest))
}

/// Says how to go on; `image` is the AMI that was made of the bundle, if any.
pub fn finish(
    bundled: BundledToS3,
    image: Option<String>,
    again: &Again,
    context: &Context,
) -> Result<(), Failure> {
    let manifest = format!("s3://{}", bundled.manifest);
    let command = |verb: &str, key: &str| {
        let (manifest, region) = (quoted(&manifest), quoted(&bundled.region));
        let again = again.words();
        format!("ec2-ami {verb} {manifest}{key} --name NAME --region {region}{again}")
    };
    let register = image.is_none().then(|| command("register", ""));
    let create = command("create", " -k KEY");
    if !context.is_json() {
        context.warn("The bundle is complete. An AMI is made of it by:");
        for line in register.iter().chain([&create]) {
            context.warn(&format!("  {line}"));
        }
        return Ok(());
    }
    let made = bundled.bundled;
    context.print_json(&Report {
        manifest,
        region: bundled.region,
        bucket_created: bundled.bucket_created,
        parts: made.parts.into_iter().map(PartReport::from).collect(),
        image_size: made.size,
        bundled_size: made.bundled_size,
        digest: hex::encode(made.digest),
        image,
        register,
        create,
    })
}

/// What would be done.
pub struct Plan<'a> {
    /// Where the manifest would be.
    pub manifest: String,
    pub place: Option<&'a PlaceFound>,
    /// The image's size in bytes.
    pub size: Option<u64>,
    pub architecture: Option<&'a str>,
    /// How much would be copied from a volume, in bytes.
    pub copied: Option<u64>,
}

/// The plan, for `--json`.
#[derive(Serialize)]
struct PlanReport<'a> {
    manifest: &'a str,
    region: Option<&'a str>,
    bucket_exists: Option<bool>,
    replaced: Option<&'a [String]>,
    image_size: Option<u64>,
    architecture: Option<&'a str>,
    copied_bytes: Option<u64>,
    problems: Vec<String>,
}

/// Shows a plan, and fails with the problems.
pub fn show_plan(
    plan: &Plan<'_>,
    problems: Vec<Failure>,
    context: &Context,
) -> Result<(), Failure> {
    let place = plan.place;
    let older = place.and_then(|place| place.older.as_deref());
    if context.is_json() {
        context.print_json(&PlanReport {
            manifest: &plan.manifest,
            region: place.map(|place| &*place.region),
            bucket_exists: place.map(|place| place.exists),
            replaced: older,
            image_size: plan.size,
            architecture: plan.architecture,
            copied_bytes: plan.copied,
            problems: problems::told(&problems, context),
        })?;
        return Failure::all(problems);
    }
    context.say("This would be made:")?;
    let mib = |bytes: u64| format!("{} MiB", bytes / MIB);
    let bucket = place.map(|place| match place.exists {
        true => format!("in {}", place.region),
        false => format!("would be created in {}", place.region),
    });
    let there = place.map(|_| match older {
        Some([]) => "nothing".to_owned(),
        Some(files) => counted(files.len() as u64, "file", "files"),
        None => "these credentials cannot list it".to_owned(),
    });
    for (what, value) in [
        ("manifest", Some(plan.manifest.clone())),
        ("bucket", bucket),
        ("older bundles of this name", there),
        ("image", plan.size.map(mib)),
        ("to be copied", plan.copied.map(mib)),
        ("architecture", plan.architecture.map(str::to_owned)),
    ] {
        if let Some(value) = value {
            context.say(&format!("  {what}: {value}"))?;
        }
    }
    Failure::all(problems)
}
