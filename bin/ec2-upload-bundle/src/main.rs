//! Uploads an EC2 bundle to S3.

mod args;
mod bundle;

use std::process::ExitCode;
use std::sync::Arc;

use ami_aws::{DEFAULT_REGION, is_region};
use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::ParsedManifest;
use ami_s3::{Bucket, BucketPath, Content, Location, in_order};
use ami_s3_cli::{OlderManifests, Session, failure, talk, warn_of_name};
use serde::Serialize;
use tracing::debug;

use crate::args::{Arguments, DEFINITION};
use crate::bundle::{Bundle, Sent};

/// What was uploaded, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    /// BUCKET/KEY, which EC2's RegisterImage takes; none with `--skipmanifest`.
    manifest: Option<String>,
    region: String,
    bucket_created: bool,
    uploaded: Vec<String>,
    skipped: Vec<String>,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, upload)
}

fn upload(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let asked = arguments.place.location().map(Location::region);
    let settings = arguments
        .s3
        .settings(arguments.s3.region().or(asked), context)?;
    let path = arguments.s3.bucket.clone();
    if warn_of_name(&path, context) {
        context.confirm_to_go_on()?;
    }
    talk(&settings, context, async |session| {
        run(&arguments, path, session).await
    })
}

async fn run(
    arguments: &Arguments,
    path: BucketPath,
    session: &Session<'_>,
) -> Result<(), Failure> {
    let bucket = session.connection.bucket(path);
    let asked = asked(arguments);
    let found = bucket.locate_at(asked.as_ref()).await.map_err(failure)?;
    let region = match found.as_ref().or(asked.as_ref()) {
        Some(location) => location.region().to_owned(),
        None => session.connection.region().to_owned(),
    };
    let manifest = arguments.manifest.clone();
    let (parsed, bytes) = ParsedManifest::load_bytes(&manifest).or_exit(exit::OTHER)?;
    if let Some(kernel) = &parsed.manifest.machine.kernel_id {
        warn_of_other_region(kernel, &region, session).await?;
    }
    let folder = arguments.directory.as_deref();
    let bundle = Bundle::check(
        &parsed.manifest.image,
        bytes,
        manifest,
        folder,
        session.context,
    )?;

    let (file, doing) = bundle.manifest_name();
    let older = if found.is_some() {
        let image = &parsed.manifest.image;
        let found = OlderManifests::find(&bucket, &file, image).await;
        found.map_err(failure)?
    } else {
        session.say("Creating bucket...")?;
        let _ = bucket.create(asked.as_ref()).await.map_err(failure)?;
        OlderManifests::none(&bucket)
    };
    let older = Arc::new(older);
    let BucketPath { bucket: name, .. } = bucket.path();
    session.say(&format!(
        "Uploading bundled image parts to the S3 bucket {name} ..."
    ))?;
    let may_have_some = found.is_some();
    let sent = send_parts(arguments, &bundle, &bucket, may_have_some, &older, session).await?;
    let manifest = if arguments.skipmanifest {
        session.say("Skipping manifest.")?;
        for location in older.deleted() {
            session.warn(&format!(
                "The manifest {location} of an older bundle was deleted, because its parts were replaced."
            ));
        }
        None
    } else {
        session.say("Uploading manifest ...")?;
        let content = Content::Bytes(bundle.manifest.clone());
        let put = bucket.put(
            &doing,
            &file,
            &content,
            &bundle.manifest_print,
            arguments.place.acl,
        );
        put.await.map_err(failure)?;
        let location = bucket.path().location(&file);
        session.set_complete(&location);
        session.say("Uploaded manifest.")?;
        session.say(&format!("Manifest uploaded to: {location}"))?;
        Some(location)
    };
    if session.context.is_json() {
        let names = |which| {
            sent.iter()
                .filter(|(_, sent)| *sent == which)
                .map(|(name, _)| name.clone())
                .collect()
        };
        return session.context.print_json(&Report {
            manifest,
            region,
            bucket_created: found.is_none(),
            uploaded: names(Sent::Now),
            skipped: names(Sent::Skipped),
        });
    }
    session.say("Bundle upload completed.")
}

/// Where the bucket is to be: us-east-1 as a region takes a bucket that is elsewhere, as a location it does not. What is the name of no
/// region of AWS's is one of a server of somebody's own, which need not call the place of its buckets by it.
fn asked(arguments: &Arguments) -> Option<Location> {
    let region = arguments.s3.region();
    let region = region.filter(|region| is_region(region) && *region != DEFAULT_REGION);
    let of_region = || region.map(|region| Location::of_answer(Some(region)));
    arguments.place.location().cloned().or_else(of_region)
}

/// A kernel is of one region: an image that names one can be started there alone.
async fn warn_of_other_region(
    kernel: &str,
    region: &str,
    session: &Session<'_>,
) -> Result<(), Failure> {
    if session.context.is_batch() {
        return Ok(());
    }
    match ami_imds::region().await {
        Ok(Some(here)) if here != region => {
            session.context.warn(&format!(
                "This instance is in {here}, the bucket in {region}. The manifest names the kernel {kernel}, which {region} does not \
                 have; ec2-migrate-manifest can give the one that it has instead."
            ));
            session.context.confirm_to_go_on()
        }
        Ok(_) => Ok(()),
        Err(error) => {
            debug!("{error}: where this instance is stays unknown");
            Ok(())
        }
    }
}

async fn send_parts(
    arguments: &Arguments,
    bundle: &Bundle,
    bucket: &Bucket,
    may_have_some: bool,
    older: &Arc<OlderManifests>,
    session: &Session<'_>,
) -> Result<Vec<(String, Sent)>, Failure> {
    let first = arguments.part.unwrap_or(0);
    let is_left_out =
        |index: usize| i64::try_from(bundle.parts[index].index).is_ok_and(|index| index < first);
    let bytes = (0..bundle.parts.len())
        .filter(|index| !is_left_out(*index))
        .map(|index| bundle.parts[index].print.size)
        .sum();
    session.begin(bytes, bundle.parts.len());
    let resumes = arguments.resumes() && may_have_some;
    let mut all = Vec::new();
    in_order(
        bundle.parts.len(),
        arguments.s3.parallel(),
        |index| {
            let (part, bucket, acl) = (
                bundle.parts[index].clone(),
                bucket.clone(),
                arguments.place.acl,
            );
            let (is_left_out, older) = (is_left_out(index), older.clone());
            async move {
                if is_left_out {
                    return Ok(Sent::Skipped);
                }
                let sent = part.send(&bucket, acl, resumes, &older).await;
                sent.map_err(failure)
            }
        },
        |index, sent| {
            let name = bundle.parts[index].name.clone();
            session.set_files(index + 1);
            session.say(&match sent {
                Sent::Now => format!("Uploaded {name}"),
                Sent::Skipped => format!("Skipping {name}"),
            })?;
            all.push((name, sent));
            Ok(())
        },
    )
    .await?;
    session.end();
    Ok(all)
}
