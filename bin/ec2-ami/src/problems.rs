//! What is looked up before anything is done, and the problems that come of it.

use ami_cli::{Context, Failure};
use ami_lifecycle::Error;
use ami_remote_cli::block_on;

use crate::outcome::failure;

/// A plan, without anything being shown meanwhile.
pub fn looked_up<T>(plan: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    block_on(async { plan.await.map_err(failure) })
}

/// Each as the failure that it would be.
pub fn of(problems: Vec<Error>) -> Vec<Failure> {
    problems.into_iter().map(failure).collect()
}

/// Each on one line, for `--json`.
pub fn told(problems: &[Failure], context: &Context) -> Vec<String> {
    problems.iter().map(|one| context.told(one)).collect()
}
