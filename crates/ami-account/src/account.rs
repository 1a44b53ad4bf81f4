//! An account in a region.

use ami_aws::Aws;

/// An account in a region; cheap to make.
pub struct Account<'a> {
    pub(crate) aws: &'a Aws,
    pub(crate) region: &'a str,
    pub(crate) server: Option<&'a str>,
}

impl<'a> Account<'a> {
    /// The account of these credentials. `region` is one that [`ami_aws::is_label`] accepts. `server` is asked in place of AWS's; without
    /// one, what the environment and the profile name ([`Aws::endpoint`]).
    pub fn new(aws: &'a Aws, region: &'a str, server: Option<&'a str>) -> Self {
        Self {
            aws,
            region,
            server,
        }
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.region
    }
}
