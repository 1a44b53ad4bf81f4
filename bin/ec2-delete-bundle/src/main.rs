//! Deletes an EC2 bundle from S3.

mod args;
mod named;

use std::process::ExitCode;

use ami_cli::{Answer, Context, Failure};
use ami_s3::{Bucket, BucketPath};
use ami_s3_cli::{Session, failure, talk};
use serde::Serialize;

use crate::args::{Arguments, DEFINITION};
use crate::named::Named;

/// What was deleted, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    deleted: Vec<String>,
    /// What the manifest names and is no part by its name.
    kept: Vec<String>,
    bucket_deleted: bool,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, delete)
}

fn delete(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let settings = arguments.s3.settings(arguments.s3.region(), context)?;
    let path = arguments.s3.bucket.clone();
    if context.is_json() && !arguments.yes {
        return Err(Failure::usage("--json asks nothing: it needs --yes"));
    }
    let which = match (&arguments.manifest, &arguments.prefix) {
        (Some(_), Some(_)) => {
            return Err(Failure::not_both("prefix", "manifest"));
        }
        (None, None) => {
            return Err(Failure::missing("manifest or --prefix"));
        }
        (Some(manifest), None) => Which::Named(Named::of(manifest, context)?),
        (None, Some(prefix)) => Which::All(prefix.clone()),
    };
    talk(&settings, context, async |session| {
        run(&arguments, path, which, session).await
    })
}

/// Which files.
enum Which {
    /// Those that a manifest names.
    Named(Named),
    /// All that belong to bundles of this name.
    All(String),
}

async fn run(
    arguments: &Arguments,
    path: BucketPath,
    which: Which,
    session: &Session<'_>,
) -> Result<(), Failure> {
    let bucket = session.connection.bucket(path);
    let mut files = match which {
        Which::Named(files) => files,
        Which::All(prefix) => list(&bucket, &prefix).await?,
    };
    let mut report = Report {
        deleted: Vec::new(),
        kept: Vec::new(),
        bucket_deleted: false,
    };
    let goes_on = agree(arguments, &files.usual, session)?;
    if goes_on {
        report.kept = files.settle_odd(session)?;
        let files = files.usual;
        bucket
            .delete(&files, arguments.s3.parallel(), failure, |file| {
                report.deleted.push(file.to_owned());
                session.say(&format!("Deleted {file}"))
            })
            .await?;
    }
    if goes_on && arguments.clear {
        let name = &bucket.path().bucket;
        session.say(&format!("Attempting to delete bucket {name}..."))?;
        bucket.remove().await.map_err(failure)?;
        report.bucket_deleted = true;
    }
    if session.context.is_json() {
        return session.context.print_json(&report);
    }
    session.say("ec2-delete-bundle complete.")
}

/// Shows the files and asks.
fn agree(arguments: &Arguments, files: &[String], session: &Session<'_>) -> Result<bool, Failure> {
    if files.is_empty() {
        session.say("No files to delete.")?;
        return Ok(true);
    }
    session.say("Deleting files:")?;
    for file in files {
        session.say(&format!("   - {file}"))?;
    }
    if arguments.yes {
        return Ok(true);
    }
    match session.context.confirm("Continue [y/N]: ")? {
        Answer::Yes => Ok(true),
        Answer::No => Ok(false),
        Answer::None => {
            session.say("")?;
            session.say("No response given, skipping the files.")?;
            Ok(false)
        }
    }
}

/// The files of all bundles of this name, manifests first.
async fn list(bucket: &Bucket, prefix: &str) -> Result<Named, Failure> {
    let is_manifest = |file: &str| {
        let rest = file.strip_prefix(prefix);
        matches!(rest, Some(".manifest" | ".manifest.xml"))
    };
    let belongs = |file: &str| is_manifest(file) || ami_parts::is_part_of(prefix, file);
    let listed = bucket.list(&format!("{prefix}."), belongs).await;
    let mut files = listed.map_err(failure)?;
    files.sort_by_key(|file| !is_manifest(file));
    Ok(Named {
        usual: files,
        odd: Vec::new(),
    })
}
