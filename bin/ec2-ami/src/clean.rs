//! `ec2-ami clean`.

use std::path::PathBuf;

use ami_cli::{Context, Failure};
use ami_lifecycle::{Clean, Cleaned, clean, plan_clean};
use ami_remote_cli::block_on;
use clap::ArgAction::SetTrue;
use clap::Args;
use serde::Serialize;

use crate::access::AccessOptions;
use crate::outcome::failure;
use crate::reporter::{Reporter, show_strays};
use crate::{problems, state};

const WHAT: &str = "What is deleted";

#[derive(Debug, Args)]
pub struct Arguments {
    /// A journal that is not in the usual place: its snapshot stays; may be repeated
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    journal: Vec<PathBuf>,
    /// Do not ask
    #[arg(short = 'y', long, action = SetTrue, help_heading = WHAT)]
    yes: bool,
    /// Show what would be deleted, and every problem, and do nothing
    #[arg(long, action = SetTrue, help_heading = WHAT)]
    dry_run: bool,
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
    if context.is_json() && !arguments.yes && !arguments.dry_run {
        return Err(Failure::usage("--json asks nothing: it needs --yes"));
    }
    let claimed = state::claimed(&arguments.journal);
    let request = Clean {
        access: arguments.access.access(context)?,
        is_claimed: &|snapshot| claimed.contains(snapshot),
        asks: !arguments.yes,
    };
    let flag = context.interrupted();
    if arguments.dry_run {
        let found = block_on(async { plan_clean(&request, flag).await.map_err(failure) })?;
        let (cleaned, problems) = found;
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
