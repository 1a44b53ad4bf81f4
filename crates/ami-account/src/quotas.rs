//! Service quotas.

use std::fmt;
use std::time::Duration;

use ami_aws::{Policy, Service};
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::error::Error;
use crate::json::Action;

/// Service Quotas (AWS general reference, "Service endpoints").
const SERVICE_QUOTAS: Service = Service {
    id: "SERVICE_QUOTAS",
    name: "servicequotas",
    government_is_fips: true,
};

/// Service Quotas API reference, "GetServiceQuota": there is no such quota, or no value but the default one.
const MISSING: &str = "NoSuchResourceException";

/// Nothing depends on a quota, so it is not waited for long: from networks without a way to the internet the service is often not reached.
const POLICY: Policy = Policy {
    tries: 2,
    attempt: Duration::from_secs(5),
    total: Duration::from_secs(10),
    first_wait: Duration::from_millis(500),
    longest_wait: Duration::from_secs(2),
};

/// A quota of an account in a region (EBS user guide, "Quotas for Amazon EBS"; EC2 user guide, "AMI quotas"). Its name in text is AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quota {
    /// Snapshots.
    Snapshots,
    /// AMIs: those that are pending, available, disabled, or in the recycle bin.
    Images,
    /// Those of them that everybody may use.
    PublicImages,
    /// PutSnapshotBlock, requests a second.
    PutBlocksOfAccount,
    /// The same for one snapshot.
    PutBlocksOfSnapshot,
}

impl Quota {
    /// The code of the service that it is of.
    pub fn service_code(self) -> &'static str {
        match self {
            Self::Images | Self::PublicImages => "ec2",
            Self::Snapshots | Self::PutBlocksOfAccount | Self::PutBlocksOfSnapshot => "ebs",
        }
    }

    /// Its own code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Snapshots => "L-309BACF6",
            Self::Images => "L-B665C33B",
            Self::PublicImages => "L-0E3CBAB9",
            Self::PutBlocksOfAccount => "L-AFAE1BE8",
            Self::PutBlocksOfSnapshot => "L-1774F84A",
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshots => "Snapshots per Region",
            Self::Images => "AMIs",
            Self::PublicImages => "Public AMIs",
            Self::PutBlocksOfAccount => "PutSnapshotBlock requests per account",
            Self::PutBlocksOfSnapshot => "PutSnapshotBlock requests per snapshot",
        })
    }
}

/// `GetServiceQuota`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetServiceQuota {
    service_code: &'static str,
    quota_code: &'static str,
}

impl Action for GetServiceQuota {
    const SERVICE: Service = SERVICE_QUOTAS;

    const NAME: &'static str = "GetServiceQuota";

    const TARGET: &'static str = "ServiceQuotasV20190624.GetServiceQuota";

    const POLICY: Policy = POLICY;

    type Answer = QuotaAnswer;
}

/// `GetAWSDefaultServiceQuota`: what a quota is that nobody has changed.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct GetAwsDefaultServiceQuota(GetServiceQuota);

impl Action for GetAwsDefaultServiceQuota {
    const SERVICE: Service = SERVICE_QUOTAS;

    const NAME: &'static str = "GetAWSDefaultServiceQuota";

    const TARGET: &'static str = "ServiceQuotasV20190624.GetAWSDefaultServiceQuota";

    const POLICY: Policy = POLICY;

    type Answer = QuotaAnswer;
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QuotaAnswer {
    quota: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Value {
    value: Option<f64>,
}

impl QuotaAnswer {
    /// The value in whole things.
    fn whole(&self) -> Option<u64> {
        // What is negative or too large becomes the nearest whole number that there is.
        self.quota.value.map(|value| value as u64)
    }
}

impl Account<'_> {
    /// The value of a quota; AWS's default where no other was ever set. `None`: the service has none.
    ///
    /// # Errors
    /// Service Quotas cannot be asked, or these credentials may not ask it.
    pub async fn quota(&self, quota: Quota) -> Result<Option<u64>, Error> {
        let action = GetServiceQuota {
            service_code: quota.service_code(),
            quota_code: quota.code(),
        };
        let failed = |error| Error {
            what: format!("the quota {quota}"),
            region: self.region.to_owned(),
            error,
        };
        let is_missing = |error: &Error| error.code() == Some(MISSING);
        match self.perform(&action).await.map_err(failed) {
            Err(error) if is_missing(&error) => {}
            answer => return Ok(answer?.whole()),
        }
        let default = GetAwsDefaultServiceQuota(action);
        match self.perform(&default).await.map_err(failed) {
            Err(error) if is_missing(&error) => Ok(None),
            answer => Ok(answer?.whole()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_becomes_an_object() {
        let action = || GetServiceQuota {
            service_code: Quota::Snapshots.service_code(),
            quota_code: Quota::Snapshots.code(),
        };
        let expected = r#"{"ServiceCode":"ebs","QuotaCode":"L-309BACF6"}"#;
        assert_eq!(serde_json::to_string(&action()).unwrap(), expected);
        let default = GetAwsDefaultServiceQuota(action());
        assert_eq!(serde_json::to_string(&default).unwrap(), expected);
    }

    /// The answer is shaped like the example in AWS's guide to its command line, shortened.
    #[test]
    fn a_quota_is_read_from_an_answer() {
        let whole = |text: &str| {
            let answer = serde_json::from_str::<QuotaAnswer>(text);
            answer.unwrap().whole()
        };
        let text = r#"{"Quota": {"ServiceCode": "ebs", "QuotaCode": "L-309BACF6", "QuotaName": "Snapshots per Region", "Value": 100000.0,
            "Unit": "None", "Adjustable": true, "GlobalQuota": false}}"#;
        assert_eq!(whole(text), Some(100_000));
        assert_eq!(whole(r#"{"Quota": {"Value": -1}}"#), Some(0));
        assert_eq!(whole(r#"{"Quota": {"Value": 1e300}}"#), Some(u64::MAX));
        assert_eq!(whole(r#"{"Quota": {}}"#), None);
    }
}
