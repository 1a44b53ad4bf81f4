//! What the command prints: the older suite's status lines, warnings, and the result in JSON.

use std::path::{Path, PathBuf};

use ami_cli::{BundleReport, Context, Failure, counted, shown_path};
use ami_volume::{Contents, Event, Loader, Made, PartitionType, Plan};
use serde::Serialize;

use crate::request::Shown;

/// The most paths in one message.
const MOST_NAMES: usize = 20;

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
    if !plan.has_superblock {
        let why = if matches!(
            plan.fs_type.as_str(),
            "ext2" | "ext3" | "ext4" | "xfs" | "btrfs"
        ) {
            "The volume's device cannot be read"
        } else {
            "The volume's file system is not one that can be made again"
        };
        context.warn(&format!(
            "{why} ({} on {}): the image gets a new {}, without its label and UUID.",
            plan.fs_type,
            plan.source.display(),
            plan.twin.name
        ));
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
    let copied = &made.copied;
    for (paths, one, more) in [
        (
            &copied.vanished,
            "file vanished before it could be copied",
            "files vanished before they could be copied",
        ),
        (
            &copied.changed,
            "file changed while it was copied: the image may have a mixture of old and new",
            "files changed while they were copied: the image may have a mixture of old and new",
        ),
        (
            &copied.without_attributes,
            "file has extended attributes that the image's file system does not take, or more than can be listed",
            "files have extended attributes that the image's file system does not take, or more than can be listed",
        ),
        (
            &copied.unfit,
            "file was left out, because the image's file system cannot hold such a file (its size, its name or its number of links)",
            "files were left out, because the image's file system cannot hold such files (their size, their names or their number of links)",
        ),
        (
            &copied.held,
            "file was left out, because another process held a lease on it all the time",
            "files were left out, because other processes held leases on them all the time",
        ),
    ] {
        if !paths.is_empty() {
            let names = paths.iter().map(|path| shown_path(path));
            let count = counted(paths.len(), one, more);
            context.warn(&format!("{count}: {}", named(names)));
        }
    }
    for warning in &made.warnings {
        context.warn(warning);
    }
    context.say(&format!("Image file created: {}", shown.image.display()))?;
    context.say("Volume cloning done.")
}

/// A message about the private key, if it is on the volume.
pub fn secrets(contents: &Contents) -> Option<String> {
    let names = contents.secrets.iter().map(|path| shown_path(path));
    (names.len() > 0).then(|| {
        format!(
            "Left out the private key, which is never copied into an image: {}",
            named(names)
        )
    })
}

/// Messages about the files that the filter of secrets and leftovers left out.
fn filtered(contents: &Contents, packaged: &[(PathBuf, String)]) -> Vec<String> {
    let count = contents.filtered.len();
    if count == 0 {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "Left out {} (--dry-run lists them; --include brings back, --no-filter keeps all).",
        counted(
            count,
            "file that looks like a secret or leftover",
            "files that look like secrets or leftovers"
        )
    )];
    if !packaged.is_empty() {
        let owned = packaged
            .iter()
            .map(|(path, package)| format!("{} ({package})", shown_path(path)));
        lines.push(format!(
            "WARNING: {}: {}",
            counted(
                packaged.len(),
                "of them belongs to an installed package, which may need it",
                "of them belong to installed packages, which may need them"
            ),
            named(owned)
        ));
    }
    lines
}

/// A list in a message: the first names, and how many more there are.
fn named(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMES);
    let shown = names.take(MOST_NAMES).collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}
