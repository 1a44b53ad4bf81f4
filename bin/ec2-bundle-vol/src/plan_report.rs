//! What `--dry-run` prints: the plan, as text or in JSON.

use std::path::{Path, PathBuf};

use ami_cli::{Context, Failure, counted, shown_path};
use ami_volume::{Loader, Origin, PartitionType, Plan};
use serde::Serialize;

use ami_volume_cli::warnings::secrets;

/// What would be done, and every problem with it, for `--dry-run --json`.
#[derive(Debug, Serialize)]
struct SurveyReport<'a> {
    #[serde(flatten)]
    plan: Option<PlanReport<'a>>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlanReport<'a> {
    volume: &'a Path,
    file_system: &'static str,
    label: &'a str,
    uuid: Option<&'a str>,
    partition: &'static str,
    boot_loader: Option<&'static str>,
    image_size: u64,
    entries: u64,
    bytes: u64,
    along: &'a [PathBuf],
    excluded: Vec<String>,
    left_out: Vec<LeftOut<'a>>,
    filtered: &'a [PathBuf],
    packaged: Vec<Packaged<'a>>,
    unreadable: &'a [PathBuf],
    too_large: &'a [PathBuf],
    secrets: &'a [PathBuf],
    needed: u64,
    free: u64,
}

#[derive(Debug, Serialize)]
struct LeftOut<'a> {
    pattern: &'a str,
    entries: u64,
}

#[derive(Debug, Serialize)]
struct Packaged<'a> {
    path: &'a Path,
    package: &'a str,
}

/// Prints the plan, as far as it is known. The problems are printed as the command's failure; in JSON, they are listed here too.
pub fn say(plan: Option<&Plan>, problems: &[Failure], context: &Context) -> Result<(), Failure> {
    if context.is_json() {
        return context.print_json(&SurveyReport {
            plan: plan.map(plan_report),
            problems: problems
                .iter()
                .map(|problem| context.told(problem))
                .collect(),
        });
    }
    let lines = plan.map(lines).unwrap_or_default();
    lines.iter().try_for_each(|line| context.say(line))
}

fn lines(plan: &Plan) -> Vec<String> {
    let mut lines = summary(plan);
    lines.push("Contents left out:".to_owned());
    let always = ami_volume::ALWAYS_EMPTY.iter();
    lines.extend(always.map(|path| format!("  {path}")));
    let mounts = plan.left_out_mounts.iter();
    lines.extend(mounts.map(|mount| format!("  {} ({})", shown_path(&mount.path), mount.fs_type)));
    lines.extend(left_out_by_patterns(plan));
    let contents = &plan.contents;
    for (paths, what) in [
        (
            &contents.unreadable,
            "Not looked into, for want of root's rights",
        ),
        (
            &contents.too_large,
            "Too large for the image's file system, and left out",
        ),
    ] {
        let paths = paths.iter();
        lines.extend(paths.map(|path| format!("{what}: {}", shown_path(path))));
    }
    lines.extend(secrets(contents));
    lines
}

fn left_out_by_patterns(plan: &Plan) -> Vec<String> {
    let mut lines = vec!["Left out by patterns:".to_owned()];
    for (rule, count) in &plan.contents.left_out {
        let by = if rule.origin == Origin::Exclude {
            "--exclude"
        } else {
            "secrets and leftovers"
        };
        lines.push(format!("  {count} by {} ({by})", rule.pattern));
    }
    for path in &plan.contents.filtered {
        let owner = plan.packaged.iter().find(|(owned, _)| owned == path);
        let owner = owner
            .map(|(_, package)| format!("  (of the package {package})"))
            .unwrap_or_default();
        lines.push(format!("  {}{owner}", shown_path(path)));
    }
    lines
}

fn boot_loader(plan: &Plan) -> &'static str {
    match (&plan.loader, plan.partition) {
        (Some(loader), _) => loader.name(),
        (None, PartitionType::None) => "none: for paravirtual instances",
        (None, _) => "none was found",
    }
}

/// What will be made, and from what.
fn summary(plan: &Plan) -> Vec<String> {
    let twin = &plan.twin;
    let mega = |bytes: u64| bytes.div_ceil(1 << 20);
    let or_none = |text: &str| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text.to_owned()
        }
    };
    let uuid = twin.uuid.clone().unwrap_or_else(|| "a new one".to_owned());
    let mut lines = vec![
        format!(
            "Volume:       {} ({} on {})",
            plan.volume.display(),
            plan.fs_type,
            plan.source.display()
        ),
        format!(
            "Image:        {}, {} MB",
            plan.request.image.display(),
            mega(plan.request.size)
        ),
        format!(
            "File system:  {}, label {}, UUID {uuid}",
            twin.name,
            or_none(&twin.label)
        ),
        format!("Partition:    {}", plan.partition.name()),
        format!("Boot loader:  {}", boot_loader(plan)),
        format!(
            "To copy:      {}, {} MB",
            counted(plan.contents.entries, "file or folder", "files and folders"),
            mega(plan.contents.data)
        ),
        format!(
            "Space:        up to {} MB needed, {} MB free in {}",
            mega(plan.needed),
            mega(plan.free),
            plan.request.destination.display()
        ),
    ];
    if !twin.subvolume.as_os_str().is_empty() {
        lines.insert(3, format!("Subvolume:    {}", twin.subvolume.display()));
    }
    if !plan.along.is_empty() {
        lines.push("Mounts copied too:".to_owned());
        lines.extend(
            plan.along
                .iter()
                .map(|path| format!("  /{}", shown_path(path))),
        );
    }
    lines
}

fn plan_report(plan: &Plan) -> PlanReport<'_> {
    PlanReport {
        volume: &plan.volume,
        file_system: plan.twin.name,
        label: &plan.twin.label,
        uuid: plan.twin.uuid.as_deref(),
        partition: plan.partition.name(),
        boot_loader: plan.loader.as_ref().map(Loader::name),
        image_size: plan.request.size,
        entries: plan.contents.entries,
        bytes: plan.contents.data,
        along: &plan.along,
        excluded: plan.excluded(),
        left_out: plan
            .contents
            .left_out
            .iter()
            .map(|(rule, entries)| LeftOut {
                pattern: &rule.pattern,
                entries: *entries,
            })
            .collect(),
        filtered: &plan.contents.filtered,
        packaged: plan
            .packaged
            .iter()
            .map(|(path, package)| Packaged { path, package })
            .collect(),
        unreadable: &plan.contents.unreadable,
        too_large: &plan.contents.too_large,
        secrets: &plan.contents.secrets,
        needed: plan.needed,
        free: plan.free,
    }
}
