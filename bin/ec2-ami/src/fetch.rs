//! `ec2-ami fetch`.

use std::path::PathBuf;

use ami_cli::{Context, Failure, shown_path};
use ami_lifecycle::{Fetch, fetch, plan_fetch};
use clap::ArgAction::SetTrue;
use clap::Args;
use serde::Serialize;

use crate::access::AccessOptions;
use crate::reporter::Reporter;
use crate::running::Parallel;
use crate::{problems, values};

const WHAT: &str = "What is fetched";

#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, or an AMI, whose root device's it is: snap-… or ami-…
    #[arg(value_name = "SNAPSHOT|AMI", value_parser = values::snapshot_or_image, help_heading = WHAT)]
    from: String,
    /// The file
    #[arg(value_name = "FILE", help_heading = WHAT)]
    file: PathBuf,
    /// Replace a file of that name
    #[arg(long, action = SetTrue, help_heading = WHAT)]
    replace: bool,
    #[command(flatten)]
    parallel: Parallel,
    /// Show what would be fetched, and every problem, and do nothing
    #[arg(long, action = SetTrue, help_heading = WHAT)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessOptions,
}

/// The plan, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    snapshot: &'a str,
    region: &'a str,
    volume_size: Option<u64>,
    problems: Vec<String>,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let request = Fetch {
        access: arguments.access.access(context)?,
        from: arguments.from,
        file: arguments.file,
        may_replace: arguments.replace,
        parallel: arguments.parallel.most(),
    };
    let flag = context.interrupted();
    if arguments.dry_run {
        let plan = problems::looked_up(plan_fetch(&request, flag))?;
        let problems = problems::of(plan.problems);
        let (snapshot, region, volume_size) = (&plan.snapshot, &plan.region, plan.volume_size);
        if context.is_json() {
            let problems = problems::told(&problems, context);
            context.print_json(&Report {
                snapshot,
                region,
                volume_size,
                problems,
            })?;
        } else {
            let size = volume_size.map(|gib| format!(", {gib} GiB"));
            let size = size.unwrap_or_default();
            let file = shown_path(&request.file);
            context.say(&format!(
                "{snapshot} in {region}{size} would be fetched to {file}"
            ))?;
        }
        return Failure::all(problems);
    }
    let reporter = Reporter::new(context);
    let fetched = reporter.run(fetch(&request, &reporter, flag))?;
    let printed = match context.is_json() {
        true => context.print_json(&fetched),
        false => context.say(&shown_path(&fetched.file)),
    };
    printed
        .and_then(|()| reporter.finish())
        .map_err(|failure| failure.after(&fetched.file))
}
