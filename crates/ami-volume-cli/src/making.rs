//! Making an image, with a progress bar.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ami_cli::{Context, Progress};
use ami_volume::{Error, Event, Made, Making, Plan};

/// Makes the image in the file `staged`. `tell` is called while the bar is out of the way.
///
/// # Errors
/// The imager's.
pub fn make(
    plan: &Plan,
    staged: &Path,
    context: &Context,
    tell: impl Fn(&Event<'_>) + Sync,
) -> Result<Made, Error> {
    let progress = Progress::files(context, plan.contents.data, plan.contents.entries);
    let files = AtomicU64::new(0);
    ami_volume::make(
        plan,
        staged,
        &Making {
            progress: &|entries, bytes| {
                if entries > 0 {
                    progress.set_files(files.fetch_add(entries, Ordering::Relaxed) + entries);
                }
                progress.add(bytes);
            },
            event: &|event| {
                if matches!(event, Event::Copied) {
                    progress.clear();
                }
                progress.suspend(|| tell(&event));
            },
            interrupted: context.interrupted(),
        },
    )
}
