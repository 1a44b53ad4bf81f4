//! The status lines and warnings of the commands that use AWS.

use ami_cli::{Answer, Context, Failure, counted, one_line};
use ami_transfer::{Event, Question};

use crate::advice::advice;

/// The most files that are named in one warning.
const MOST_NAMES: usize = 20;

/// Prints the line for an event. Status lines are those of the older suite, which scripts read.
pub(crate) fn print(event: &Event, context: &Context) -> Result<(), Failure> {
    let say = |line: &str| context.say(line);
    match event {
        Event::Retrying { reason, .. } => {
            context.warn(reason);
            // The older suite's line, although neither waits exactly that long.
            say("Retrying in 5s ...")
        }
        Event::CreatingBucket => say("Creating bucket..."),
        Event::SendingParts { bucket } => say(&format!(
            "Uploading bundled image parts to the S3 bucket {bucket} ..."
        )),
        Event::Sent { part } => say(&format!("Uploaded {part}")),
        Event::Skipped { part } => say(&format!("Skipping {part}")),
        Event::ManifestLeftOut => say("Skipping manifest."),
        Event::SendingManifest => say("Uploading manifest ..."),
        Event::GettingManifest { bucket, key, path } => say(&format!(
            "Downloading manifest {key} from {bucket} to {} ...",
            path.display()
        )),
        Event::DecryptingManifest => say("Decrypting manifest ..."),
        Event::Getting { key, path } => {
            say(&format!("Downloading part {key} to {} ...", path.display()))
        }
        Event::Copying { part } => say(&format!("Copying '{part}'...")),
        Event::BackingUp => say("Backing up manifest..."),
        Event::GuessedRegion { region } => say(&format!(
            "Region not provided, guessing from S3 location: {}",
            region.as_deref().unwrap_or("unconstrained")
        )),
        Event::NothingToDelete => say("No files to delete."),
        Event::ToDelete { files } => {
            say("Deleting files:")?;
            print_list(files, context)
        }
        Event::Deleted { file } => say(&format!("Deleted {file}")),
        Event::DeletingBucket { bucket } => {
            say(&format!("Attempting to delete bucket {bucket}..."))
        }
        Event::Got { part, bucket } => say(&format!("Downloaded {part} from {bucket}")),
        event => {
            warn(event, context);
            Ok(())
        }
    }
}

fn print_list(names: &[String], context: &Context) -> Result<(), Failure> {
    names
        .iter()
        .try_for_each(|name| context.say(&format!("   - {name}")))
}

/// Asks the user.
pub(crate) fn ask(question: Question<'_>, context: &Context) -> Result<bool, Failure> {
    match question {
        Question::Delete => {
            let answer = context.confirm("Continue [y/N]: ")?;
            if answer == Answer::None {
                context.say("")?;
                context.say("No response given, skipping the files.")?;
            }
            Ok(answer == Answer::Yes)
        }
        // These are kept if nobody can be asked.
        Question::DeleteOthers(_) if context.is_batch() => Ok(false),
        Question::DeleteOthers(names) => {
            context.say("The manifest also names files that are not named like parts:")?;
            print_list(names, context)?;
            let answer = context.confirm("Delete these too [y/N]: ")?;
            if answer == Answer::None {
                context.say("")?;
            }
            Ok(answer == Answer::Yes)
        }
        Question::Continue => context.confirm_to_go_on().map(|()| true),
        _ => Ok(false),
    }
}

/// Prints the warning that an event is, if it is one.
pub fn warn(event: &Event, context: &Context) {
    let warn = |line: &str| context.warn(line);
    match event {
        Event::UnsafeBucketName { bucket } => warn(&format!(
            "The bucket name {bucket:?} is not DNS-safe: S3 takes 3 to 63 lower-case letters, digits, hyphens and dots (S3 user guide, \
             \"Bucket naming rules\")."
        )),
        Event::OtherRegion {
            here,
            region,
            kernel,
        } => warn(&format!(
            "This instance is in {here}, the bucket in {region}. The manifest names the kernel {kernel}, which {region} does not \
             have; ec2-migrate-manifest can give the one that it has instead."
        )),
        Event::OlderStays { location, error } => {
            let advice = advice(error, None).map(|advice| format!("; {advice}"));
            warn(&format!(
                "The manifest {location}, if there is an older one, stays beside parts that are not its own until this command \
                 has ended well: {error}{}",
                advice.unwrap_or_default()
            ));
        }
        Event::OlderDeleted { location } => warn(&format!(
            "The manifest {location} of an older bundle was deleted, because its parts were replaced."
        )),
        Event::FilesStay { files, error } => {
            let why = match error {
                Some(error) => one_line(error.as_ref()),
                None => "S3 took too long".to_owned(),
            };
            let count = counted(files.len() as u64, "file", "files");
            let (named, others) = files.split_at(files.len().min(MOST_NAMES));
            let more = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warn(&format!(
                "WARNING: {count} of the unfinished bundle could not be deleted, and may still be there: {}{more} ({why}).",
                named.join(", ")
            ));
        }
        Event::Incomplete { manifest, lack } => warn(&format!(
            "The manifest {} is incomplete: {}.",
            manifest.display(),
            one_line(lack)
        )),
        Event::NotDeleted { file } => warn(&format!(
            "Not deleted: {file}, which the manifest names, but which is not named like a part (NAME.part.NUMBER)."
        )),
        Event::BootImagesRemoved { ids } => warn(&format!(
            "The new manifest no longer names {}: the AMI may not start unless a kernel and a RAM disk are given at its launch.",
            ids.join(" and ")
        )),
        Event::UnknownBootImages { ids } => warn(&format!(
            "The following identifiers do not exist in the target region:\n  [{}]",
            ids.join(", ")
        )),
        Event::KeptDamaged { part } => warn(&format!(
            "WARNING: {part} is damaged: its SHA-1 is not the manifest's. It is kept because of --no-verify."
        )),
        Event::Saved { folder } => context.warn_of_saved(std::slice::from_ref(folder)),
        _ => {}
    }
}

/// Reports the state of the bucket after a story has failed: where the new manifest is, if the bundle is `complete`, or which manifests of
/// older bundles are `gone`.
pub fn warn_of_bucket(complete: Option<&str>, gone: &[String], context: &Context) {
    if let Some(location) = complete {
        context.warn(&format!(
            "The bundle is complete in S3, with its manifest at {location}."
        ));
        return;
    }
    for location in gone {
        context.warn(&format!(
            "The manifest {location} of an older bundle is deleted, or about to be, because its parts are replaced; a bundle is \
             there again when this command has ended well."
        ));
    }
}
