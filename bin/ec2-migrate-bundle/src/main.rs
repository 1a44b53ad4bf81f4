//! Copies an EC2 bundle in S3 for another region.

mod args;
mod bundle;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ami_aws::{DEFAULT_REGION, Identity};
use ami_cli::{Context, Failure, exit};
use ami_s3::{Bucket, BucketPath, Content, Error, Fingerprint, Location, in_order};
use ami_s3_cli::{OlderManifests, Session, failure, talk, warn_of_name};
use serde::Serialize;

use crate::args::{Arguments, DEFINITION};
use crate::bundle::Bundle;

/// What was copied, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    /// BUCKET/KEY, which EC2's RegisterImage takes.
    manifest: String,
    region: String,
    bucket_created: bool,
    copied: Vec<String>,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, migrate)
}

fn migrate(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    // Who asks EC2 for a region that AWS does not have still asks S3 in one that it has.
    let region = arguments.s3.region_of_s3()?;
    let region = region.or(arguments.location().map(Location::region));
    let settings = arguments.s3.settings(region, context)?;
    let source = arguments.s3.bucket.clone();
    let destination = arguments.destination_bucket.clone();
    let _ = warn_of_name(&destination, context);
    let identity = &settings.identity;
    talk(&settings, context, async |session| {
        run(&arguments, identity, source, destination, session).await
    })
}

async fn run(
    arguments: &Arguments,
    identity: &Identity,
    source: BucketPath,
    destination: BucketPath,
    session: &Session<'_>,
) -> Result<(), Failure> {
    let source = session.connection.bucket(source);
    let destination = session.connection.bucket(destination);
    let name = &arguments.manifest;
    let found = destination.locate_at(arguments.location()).await;
    let found = found.map_err(asking_failed)?;
    let region = region(arguments, found.as_ref(), session);
    let older = format!("/tmp/ami-migration-{name}");
    let is_in_the_way = Path::new(&older).exists();

    // No bucket is made for a bundle that cannot be copied; but what is said has the older suite's order.
    let bundle = match is_in_the_way {
        true => Err(Failure::new(
            exit::ALREADY_THERE,
            format!(
                "Temporary directory '{older}' already exists. Please delete or rename it and try again."
            ),
        )),
        false => Bundle::read(arguments, identity, &source, name, &region, session.context).await,
    };
    if found.is_none() && bundle.is_ok() {
        session.say("Creating bucket...")?;
        let created = destination.create(arguments.location()).await;
        let _ = created.map_err(asking_failed)?;
    }
    if arguments.s3.region().is_none() {
        let said = match &found {
            Some(location) if location.region() == DEFAULT_REGION => "unconstrained",
            _ => &region,
        };
        session.say(&format!(
            "Region not provided, guessing from S3 location: {said}"
        ))?;
    }
    if !is_in_the_way {
        let (key, bucket) = (source.path().key(name), &source.path().bucket);
        session.say(&format!(
            "Downloading manifest {key} from {bucket} to {older}/temp-migration.manifest.xml ..."
        ))?;
    }
    let bundle = bundle?;
    let older = match &found {
        Some(_) => OlderManifests::find(&destination, name, &bundle.image).await,
        None => Ok(OlderManifests::none(&destination)),
    };
    let older = Arc::new(older.map_err(failure)?);
    copy_parts(arguments, &bundle, &source, &destination, &older, session).await?;
    let print = Fingerprint::of(&bundle.manifest);
    let content = Content::Bytes(bundle.manifest);
    let doing = format!("Failed to upload {name:?}");
    let put = destination.put(&doing, name, &content, &print, arguments.acl());
    put.await.map_err(failure)?;

    let location = destination.path().location(name);
    session.set_complete(&location);
    if session.context.is_json() {
        return session.context.print_json(&Report {
            manifest: location,
            region,
            bucket_created: found.is_none(),
            copied: bundle.parts.into_iter().map(|part| part.name).collect(),
        });
    }
    session.say("")?;
    session.say("Your new bundle is in S3 at the following location:")?;
    session.say(&location)?;
    session.say("Please register it using your favorite EC2 client.")
}

/// Where the new bundle is to be used.
fn region(arguments: &Arguments, found: Option<&Location>, session: &Session<'_>) -> String {
    let of_bucket = || match found.or(arguments.location()) {
        Some(location) => location.region(),
        None => session.connection.region(),
    };
    let region = arguments.s3.region();
    region.unwrap_or_else(of_bucket).to_owned()
}

/// As in the older suite, it is another kind of failure when the destination cannot even be asked.
fn asking_failed(error: Error) -> Failure {
    match error {
        Error::Service { .. } | Error::Network { .. } => Failure::new(exit::OTHER, error),
        error => failure(error),
    }
}

async fn copy_parts(
    arguments: &Arguments,
    bundle: &Bundle,
    source: &Bucket,
    destination: &Bucket,
    older: &Arc<OlderManifests>,
    session: &Session<'_>,
) -> Result<(), Failure> {
    let bytes = bundle.parts.iter().map(|part| part.held.size).sum();
    session.begin(bytes, bundle.parts.len());
    in_order(
        bundle.parts.len(),
        arguments.s3.parallel(),
        |index| {
            let part = bundle.parts[index].clone();
            let said = session.say(&format!("Copying '{}'...", part.name));
            let (source, destination) = (source.clone(), destination.clone());
            let (acl, older) = (arguments.acl(), older.clone());
            async move {
                said?;
                let make_way = older.make_way(&part.name, part.digest);
                make_way.await.map_err(failure)?;
                let doing = part.doing();
                let copy = destination.copy_from(&doing, &source, &part.name, &part.held, acl);
                copy.await.map_err(failure)
            }
        },
        |index, ()| {
            session.set_files(index + 1);
            Ok(())
        },
    )
    .await?;
    session.end();
    Ok(())
}
