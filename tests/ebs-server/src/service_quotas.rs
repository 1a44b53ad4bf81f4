//! Service Quotas: GetServiceQuota and GetAWSDefaultServiceQuota, of the quotas that snapshots and images have. They are told and not enforced;
//! what is enforced is in [`Quotas`](crate::Quotas). As in AWS's API model `service-quotas-2019-06-24`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Refused;
use crate::world::{Caller, World};

/// A quota, and AWS's default (EBS user guide, "Quotas for Amazon EBS"; EC2 user guide, "AMI quotas").
struct Quota {
    service: &'static str,
    code: &'static str,
    name: &'static str,
    default: f64,
    is_adjustable: bool,
}

const QUOTAS: [Quota; 5] = [
    Quota {
        service: "ebs",
        code: "L-309BACF6",
        name: "Snapshots per Region",
        default: 100_000.0,
        is_adjustable: true,
    },
    Quota {
        service: "ebs",
        code: "L-AFAE1BE8",
        name: "PutSnapshotBlock requests per account",
        default: 1000.0,
        is_adjustable: true,
    },
    Quota {
        service: "ebs",
        code: "L-1774F84A",
        name: "PutSnapshotBlock requests per snapshot",
        default: 1000.0,
        is_adjustable: false,
    },
    Quota {
        service: "ec2",
        code: "L-B665C33B",
        name: "AMIs",
        default: 50_000.0,
        is_adjustable: true,
    },
    Quota {
        service: "ec2",
        code: "L-0E3CBAB9",
        name: "Public AMIs",
        default: 5.0,
        is_adjustable: true,
    },
];

/// The parameters of both actions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Parameters {
    service_code: Option<String>,
    quota_code: Option<String>,
}

impl Parameters {
    fn quota(&self) -> Result<&'static Quota, Refused> {
        let (Some(service), Some(code)) = (&self.service_code, &self.quota_code) else {
            let message = "ServiceCode and QuotaCode are needed";
            return Err(Refused::new("IllegalArgumentException", message));
        };
        let mut quotas = QUOTAS.iter();
        let found = quotas.find(|quota| quota.service == service && quota.code == code);
        found.ok_or_else(|| {
            missing("The request failed because the specified quota does not exist.")
        })
    }
}

fn missing(message: &str) -> Refused {
    Refused::new("NoSuchResourceException", message)
}

fn told(quota: &Quota, value: f64, caller: &Caller) -> Value {
    let (region, account) = (&caller.region, &caller.account);
    let path = format!("{}/{}", quota.service, quota.code);
    json!({"Quota": {
        "ServiceCode": quota.service,
        "QuotaArn": format!("arn:aws:servicequotas:{region}:{account}:{path}"),
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Value": value,
        "Unit": "None",
        "Adjustable": quota.is_adjustable,
        "GlobalQuota": false,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }})
}

impl World {
    /// The value that was set for the account.
    pub(crate) fn service_quota(
        &self,
        parameters: &Parameters,
        caller: &Caller,
    ) -> Result<Value, Refused> {
        let quota = parameters.quota()?;
        let value = self.settings.service_quotas.get(quota.code);
        let value = value.ok_or_else(|| missing("No value was ever applied."))?;
        Ok(told(quota, *value, caller))
    }

    /// AWS's own.
    pub(crate) fn default_service_quota(
        &self,
        parameters: &Parameters,
        caller: &Caller,
    ) -> Result<Value, Refused> {
        let quota = parameters.quota()?;
        Ok(told(quota, quota.default, caller))
    }
}
