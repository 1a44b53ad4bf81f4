//! `--dry-run`: examines everything, shows the plan, and lists every problem in it.

use ami_bundle::Problems;
use ami_cli::{Bundling, Context, Failure, InstanceMetadata, check_architecture, exit};
use ami_volume::Survey;

use crate::args::Arguments;
use crate::request::ImageRequest;
use crate::{inheritance, plan_report};

/// Fails with all problems that would end a run, in the order in which a run would find them.
pub fn dry_run(
    mut request: ImageRequest,
    arguments: &Arguments,
    context: &Context,
) -> Result<(), Failure> {
    let mut problems = std::mem::take(&mut request.idle_patterns);
    problems.extend(request.check_size().err());
    problems.extend(request.check_image().err());
    problems.extend(bundling_problems(&request, arguments, context)?);
    let survey = Survey::new(request.request, context.interrupted())
        .map_err(|error| crate::imaging(error, context))?;
    let of_imaging = survey.problems.into_iter();
    problems.extend(of_imaging.map(|error| Failure::new(exit::BUNDLING, error)));
    plan_report::say(survey.plan.as_ref(), &problems, context)?;
    Failure::all(problems)
}

/// Problems in bundling the image and in reading the instance's metadata. Without the certificate, the key and the account, which a dry
/// run does not need, only the image is planned.
fn bundling_problems(
    request: &ImageRequest,
    arguments: &Arguments,
    context: &Context,
) -> Result<Vec<Failure>, Failure> {
    let identity = arguments.identity.identity.as_ref();
    if identity.is_none() && !arguments.clone_only {
        return Ok(Vec::new());
    }
    // If none is given, a run may ask for it; any will do for the checks.
    let architecture = arguments
        .bundle
        .manifest
        .arch
        .as_deref()
        .unwrap_or("x86_64");
    let mut problems = Vec::new();
    problems.extend(check_architecture(architecture).err());
    let metadata = match inheritance::read(arguments, context) {
        Ok(metadata) => metadata,
        Err(failure) if failure.is_interruption() => return Err(failure),
        Err(failure) => {
            problems.push(failure);
            InstanceMetadata::default()
        }
    };
    if let Some(identity) = identity
        && !arguments.clone_only
    {
        let image = &request.request.image;
        let architecture = architecture.to_owned();
        let (options, compression) = (&arguments.bundle, &arguments.compression);
        let planned = Bundling::new(
            image,
            architecture,
            identity,
            options,
            compression,
            metadata,
        );
        let found = planned.err().into_iter().flatten();
        problems.extend(found.map(|problem| Failure::of_bundling(Problems::from(problem))));
    }
    Ok(problems)
}
