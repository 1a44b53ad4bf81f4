//! `ec2-ami clean`.

use std::path::PathBuf;

use ami_cli::{Context, Failure};
use ami_lifecycle::{Clean, Cleaned, clean, plan_clean};
use clap::Args;
use serde::Serialize;

use crate::access::AccessOptions;
use crate::asking::{Asking, WHAT};
use crate::reporter::{Reporter, show_strays};
use crate::{problems, state};

#[derive(Debug, Args)]
pub struct Arguments {
    /// A journal that is not in the usual place: its snapshot stays; may be repeated
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    journal: Vec<PathBuf>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    access: AccessOptions,
}

/// What was found, for `--json --dry-run`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    cleaned: &'a Cleaned,
    problems: Vec<String>,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let asks = arguments.asking.asks(context)?;
    let claimed = state::claimed(&arguments.journal);
    let request = Clean {
        access: arguments.access.access(context)?,
        is_claimed: &|snapshot| claimed.contains(snapshot),
        asks,
    };
    let flag = context.interrupted();
    if arguments.asking.dry_run {
        let (cleaned, problems) = problems::looked_up(plan_clean(&request, flag))?;
        let problems = problems::of(problems);
        if context.is_json() {
            context.print_json(&Report {
                cleaned: &cleaned,
                problems: problems::told(&problems, context),
            })?;
        } else {
            show(&cleaned, context)?;
        }
        return Failure::all(problems);
    }
    let reporter = Reporter::new(context);
    let cleaned = reporter.run(clean(&request, &reporter, flag))?;
    if context.is_json() {
        context.print_json(&cleaned)?;
    } else if cleaned.found.is_empty() {
        show(&cleaned, context)?;
    }
    reporter.finish()
}

fn show(cleaned: &Cleaned, context: &Context) -> Result<(), Failure> {
    for snapshot in &cleaned.claimed {
        context.say(&format!(
            "{snapshot} is pending and stays: the command that began it goes on with it."
        ))?;
    }
    match &cleaned.found[..] {
        [] => {
            let more = if cleaned.claimed.is_empty() {
                ""
            } else {
                " else"
            };
            let region = &cleaned.region;
            context.say(&format!("No run has left anything{more} in {region}."))
        }
        found => show_strays(found, context),
    }
}
