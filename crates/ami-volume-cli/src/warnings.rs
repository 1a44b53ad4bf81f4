//! What is worth knowing of a volume's image.

use std::path::PathBuf;

use ami_cli::{counted, shown_path};
use ami_volume::{Contents, Made, Plan};

/// The most paths that are named in one message.
const MOST_NAMES: usize = 20;

/// The image gets another file system than the volume has.
pub fn other_file_system(plan: &Plan) -> Option<String> {
    if plan.has_superblock {
        return None;
    }

    let why = if matches!(
        plan.fs_type.as_str(),
        "ext2" | "ext3" | "ext4" | "xfs" | "btrfs"
    ) {
        "The volume's device cannot be read"
    } else {
        "The volume's file system is not one that can be made again"
    };
    Some(format!(
        "{why} ({} on {}): the image gets a new {}, without its label and UUID.",
        plan.fs_type,
        plan.source.display(),
        plan.twin.name
    ))
}

/// What of the volume is not in the image as it was.
pub fn made_incompletely(made: &Made) -> Vec<String> {
    let mut lines = Vec::new();
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
            lines.push(format!("{count}: {}", named(names)));
        }
    }
    lines
}

/// Where the private key lies on the volume.
pub fn secrets(contents: &Contents) -> Option<String> {
    let names = contents.secrets.iter().map(|path| shown_path(path));
    (names.len() > 0).then(|| {
        format!(
            "Left out the private key, which is never copied into an image: {}",
            named(names)
        )
    })
}

/// What the list of secrets and leftovers took out.
pub fn filtered(contents: &Contents, packaged: &[(PathBuf, String)]) -> Vec<String> {
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
