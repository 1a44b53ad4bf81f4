//! The problems that `--dry-run` finds.

use ami_cli::{Context, Failure};
use ami_lifecycle::Error;

use crate::outcome::failure;

/// Each as the failure that it would be.
pub fn of(problems: Vec<Error>) -> Vec<Failure> {
    problems.into_iter().map(failure).collect()
}

/// Each on one line, for `--json`.
pub fn told(problems: &[Failure], context: &Context) -> Vec<String> {
    problems.iter().map(|one| context.told(one)).collect()
}
