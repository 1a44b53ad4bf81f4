//! Options of how the work is done.

use std::num::NonZeroUsize;

use clap::Args;

const RUNNING: &str = "Performance and output";

/// EBS takes 1,000 requests a second, each of some 100 ms (EBS user guide, "Quotas"); beyond this it does not get faster.
const MOST: usize = 512;

/// How many requests are in flight.
#[derive(Debug, Clone, Args)]
pub struct Parallel {
    /// The most requests in flight; how many are of use is found out
    #[arg(long, value_name = "N", default_value = "128", value_parser = number, help_heading = RUNNING)]
    parallel: NonZeroUsize,
}

fn number(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &NonZeroUsize| number.get() <= MOST)
        .ok_or_else(|| format!("a number from 1 to {MOST} is needed"))
}

impl Parallel {
    pub fn most(&self) -> usize {
        self.parallel.get()
    }
}
