//! The options of what deletes.

use ami_cli::{Context, Failure};
use clap::ArgAction::SetTrue;
use clap::Args;

/// The heading of all options that say what is deleted.
pub const WHAT: &str = "What is deleted";

/// Whether the user is asked, or nothing is done.
#[derive(Debug, Args)]
pub struct Asking {
    /// Do not ask
    #[arg(short = 'y', long, action = SetTrue, help_heading = WHAT)]
    yes: bool,
    /// Show what would be deleted, and every problem, and do nothing
    #[arg(long, action = SetTrue, help_heading = WHAT)]
    pub dry_run: bool,
}

impl Asking {
    /// Whether the user is asked before anything is deleted.
    pub fn asks(&self, context: &Context) -> Result<bool, Failure> {
        if context.is_json() && !self.yes && !self.dry_run {
            return Err(Failure::usage("--json asks nothing: it needs --yes"));
        }
        Ok(!self.yes)
    }
}
