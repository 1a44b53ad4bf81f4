//! `ec2-ami delete`.

use ami_cli::{Context, Failure};
use ami_lifecycle::{Delete, delete, plan_delete};
use clap::Args;
use serde::Serialize;

use crate::access::AccessOptions;
use crate::asking::{Asking, WHAT};
use crate::reporter::{Reporter, show_delete};
use crate::{problems, values};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The AMI: ami-…
    #[arg(value_name = "AMI", value_parser = values::image, help_heading = WHAT)]
    image: String,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    access: AccessOptions,
}

/// The plan, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    image: &'a str,
    name: Option<&'a str>,
    region: &'a str,
    snapshots: &'a [String],
    kept: &'a [(String, ami_lifecycle::Kept)],
    problems: Vec<String>,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let asks = arguments.asking.asks(context)?;
    let request = Delete {
        access: arguments.access.access(context)?,
        image: arguments.image,
        asks,
    };
    let flag = context.interrupted();
    if arguments.asking.dry_run {
        let plan = problems::looked_up(plan_delete(&request, flag))?;
        let problems = problems::of(plan.problems);
        let (snapshots, kept) = (&plan.snapshots, &plan.kept);
        if context.is_json() {
            context.print_json(&Report {
                image: &plan.image,
                name: plan.name.as_deref(),
                region: &plan.region,
                snapshots,
                kept,
                problems: problems::told(&problems, context),
            })?;
        } else {
            context.say("This would be deleted:")?;
            show_delete(
                &ami_lifecycle::DeletePlan {
                    problems: Vec::new(),
                    ..plan
                },
                context,
            )?;
        }
        return Failure::all(problems);
    }
    let reporter = Reporter::new(context);
    let deleted = reporter.run(delete(&request, &reporter, flag))?;
    if context.is_json() {
        context.print_json(&deleted)?;
    }
    reporter.finish()
}
