//! The regions of an account.

use serde::Deserialize;

use crate::query::{Action, Items};

/// `DescribeRegions`: those that the account can use.
#[derive(Debug, Clone, Copy)]
pub struct DescribeRegions;

impl Action for DescribeRegions {
    const NAME: &'static str = "DescribeRegions";

    const FAILED: &'static str = "Failed to list regions";

    const IS_REPEATABLE: bool = true;

    type Answer = DescribeRegionsAnswer;

    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What `DescribeRegions` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeRegionsAnswer {
    /// The regions.
    #[serde(default)]
    pub(crate) region_info: Items<Region>,
}

/// A region.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    /// Its name.
    pub(crate) region_name: Option<String>,
}
