//! Copies a volume into a bootable image, and makes an EC2 bundle of it.

mod advice;
mod args;
mod dry_run;
mod inheritance;
mod plan_report;
mod report;
mod request;

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use ami_cli::{BundleReport, Bundling, Context, Failure, OrExit, Source, exit};
use ami_volume::{Error, Event, Made, Plan};

use crate::args::{Arguments, DEFINITION};
use crate::request::ImageRequest;

/// The image's name in the private folder.
const STAGED: &str = "image";

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, bundle_volume)
}

fn bundle_volume(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let mut request = ImageRequest::new(&arguments)?;
    if arguments.dry_run {
        return dry_run::dry_run(request, &arguments, context);
    }
    if let Some(failure) = request.idle_patterns.drain(..).next() {
        return Err(failure);
    }
    request.check_root()?;
    request.check_size()?;
    let architecture = context.architecture(arguments.bundle.manifest.arch.as_deref())?;
    request.check_image()?;
    let metadata = inheritance::read(&arguments, context)?;
    let (shown, request) = request.shown_and_request(&architecture);
    let image = shown.image.clone();
    let bundling = match &arguments.identity.identity {
        Some(identity) if !arguments.clone_only => {
            context.warn_of_certificate(&identity.keys.cert);
            let bundling = Bundling::new(
                &image,
                architecture,
                identity,
                &arguments.bundle,
                &arguments.compression,
                metadata,
            );
            Some(bundling.map_err(Failure::of_bundling)?)
        }
        _ => None,
    };
    let plan =
        Plan::new(request, context.interrupted()).map_err(|error| imaging(error, context))?;
    report::say_beginning(&plan, &shown, context)?;

    let staging = context
        .staging(&arguments.bundle.destination)
        .or_exit(exit::BUNDLING)?;
    let staged = staging.path().join(STAGED);
    let tell = |event: &Event<'_>| report::tell(event, context);
    let made = ami_volume_cli::make(&plan, &staged, context, tell)
        .map_err(|error| imaging(error, context))?;
    report::say_made(&made, &shown, context)?;
    let name = image
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();

    let bundled = match bundling {
        None => {
            context.say("Not bundling image file since \"--clone-only\" flag was specified.")?;
            let file = File::open(staging.own_path(STAGED)).or_exit(exit::BUNDLING)?;
            file.sync_all().or_exit(exit::BUNDLING)?;
            let _ = staging.give_name(STAGED, name).or_exit(exit::BUNDLING)?;
            None
        }
        Some(bundling) => {
            context.say("Bundling image file...")?;
            let source = Source::Made {
                staging,
                file: STAGED,
                name: (!arguments.no_keep_image).then_some(name),
            };
            Some(bundling.run(source, &arguments.running, context)?)
        }
    };
    let complete = bundled
        .as_ref()
        .map_or(&*image, BundleReport::manifest)
        .to_owned();
    finish(&plan, &made, bundled, &arguments, &image, context)
        .map_err(|failure| failure.after(&complete))
}

fn finish(
    plan: &Plan,
    made: &Made,
    bundled: Option<BundleReport>,
    arguments: &Arguments,
    image: &Path,
    context: &Context,
) -> Result<(), Failure> {
    if context.is_json() {
        let is_kept = arguments.clone_only || !arguments.no_keep_image;
        return context.print_json(&report::Report::new(
            plan,
            made,
            bundled,
            is_kept.then_some(image),
        ));
    }
    context.say("ec2-bundle-vol complete.")
}

/// A failure to make the image. As in the older suite, a step that fails exits with 1.
fn imaging(error: Error, context: &Context) -> Failure {
    // Ctrl-C also ends the child process that is running, which causes an error of its own.
    if matches!(error, Error::Interrupted) || context.interrupted().load(Ordering::Relaxed) {
        return Failure::interrupted();
    }
    Failure::new(exit::BUNDLING, error)
}
