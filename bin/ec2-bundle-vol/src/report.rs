//! What the command prints: the older suite's status lines, warnings, and the result in JSON.

use std::path::{Path, PathBuf};

use ami_cli::{BundleReport, Context, Failure};
use ami_volume::{Event, Loader, Made, PartitionType, Plan};
use ami_volume_cli::warnings::{filtered, made_incompletely, other_file_system, secrets};
use serde::Serialize;

use crate::request::Shown;

/// What was made, for `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    image: Option<PathBuf>,
    file_system: &'static str,
    uuid: String,
    partition: &'static str,
    boot_loader: Option<&'static str>,
    copied_entries: u64,
    copied_bytes: u64,
    vanished: Vec<PathBuf>,
    changed: Vec<PathBuf>,
    unfit: Vec<PathBuf>,
    held: Vec<PathBuf>,
    filtered: Vec<PathBuf>,
    warnings: Vec<String>,
    bundle: Option<BundleReport>,
}

impl Report {
    pub fn new(
        plan: &Plan,
        made: &Made,
        bundle: Option<BundleReport>,
        image: Option<&Path>,
    ) -> Self {
        Self {
            image: image.map(Path::to_owned),
            file_system: plan.twin.name,
            uuid: made.uuid.clone(),
            partition: plan.partition.name(),
            boot_loader: plan.loader.as_ref().map(Loader::name),
            copied_entries: made.copied.entries,
            copied_bytes: made.copied.data,
            vanished: made.copied.vanished.clone(),
            changed: made.copied.changed.clone(),
            unfit: made.copied.unfit.clone(),
            held: made.copied.held.clone(),
            filtered: plan.contents.filtered.clone(),
            warnings: made.warnings.clone(),
            bundle,
        }
    }
}

/// Status lines and warnings before the copy.
pub fn say_beginning(plan: &Plan, shown: &Shown, context: &Context) -> Result<(), Failure> {
    if plan.request.partition != Some(PartitionType::None) {
        context.say(&format!(
            "Setting partition type to bundle \"{}\" with...",
            shown.volume
        ))?;
        if !plan.is_mount_point && plan.request.partition.is_none() {
            context.say(&format!(
                "Volume \"{}\" is not a mount point.",
                shown.volume
            ))?;
            context.say("Treating it as a file system root and using \"gpt\"...")?;
        }
        context.say(&format!(
            "Using partition type \"{}\"",
            plan.partition.name()
        ))?;
    }
    if plan.partition == PartitionType::None {
        context.say("Not partitioning boot device.")?;
    }
    context.say(&format!(
        "Copying {} into the image file {}...",
        shown.volume,
        shown.image.display()
    ))?;
    context.say("Excluding: ")?;
    for path in plan.excluded() {
        context.say(&format!("\t {path}"))?;
    }
    if plan.is_64bit && !matches!(plan.loader, Some(Loader::Grub2(_))) {
        context.say(&format!(
            "WARNING: 64bit filesystem flag detected on root device ({}), resulting image may not boot",
            plan.source.display()
        ))?;
    }
    if let Some(line) = other_file_system(plan) {
        context.warn(&line);
    }
    for line in filtered(&plan.contents, &plan.packaged) {
        context.warn(&line);
    }
    if let Some(text) = secrets(&plan.contents) {
        context.warn(&text);
    }
    Ok(())
}

/// Status lines while the image is made.
pub fn tell(event: &Event<'_>, context: &Context) {
    let say = |line: &str| {
        // If standard output cannot be written, the image is made all the same.
        let _ = context.say(line);
    };
    match event {
        // This command asks for none of the others.
        Event::Copied | Event::Frozen | Event::Snapshots(_) | Event::SecondPass => {}
        Event::Script {
            mount_point,
            script,
        } => say(&format!(
            "Customizing cloned volume mounted at {} with script {}",
            mount_point.display(),
            script.display()
        )),
        Event::ScriptOutput(text) => {
            for line in String::from_utf8_lossy(text).lines() {
                context.warn(line);
            }
        }
        Event::Fstab(text) => {
            say("/etc/fstab:");
            for line in text.lines() {
                say(&format!("\t {line}"));
            }
        }
    }
}

/// Status lines and warnings when the image is complete.
pub fn say_made(made: &Made, shown: &Shown, context: &Context) -> Result<(), Failure> {
    for warning in made_incompletely(made) {
        context.warn(&warning);
    }
    for warning in &made.warnings {
        context.warn(warning);
    }
    context.say(&format!("Image file created: {}", shown.image.display()))?;
    context.say("Volume cloning done.")
}
