//! Services with an endpoint in each region.

use ami_region::Partition;

use crate::aws::Aws;
use crate::endpoint::EndpointKind;

/// A service with an endpoint in each region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its ID, as settings of endpoints have it: `SERVICE_QUOTAS`, of `AWS_ENDPOINT_URL_SERVICE_QUOTAS`.
    pub id: &'static str,
    /// Its name in signatures and in hosts: `servicequotas`.
    pub name: &'static str,
    /// Whether its plain endpoints of the partition `aws-us-gov` are FIPS endpoints already; only its dual-stack endpoints have separate
    /// ones there.
    pub government_is_fips: bool,
}

impl Service {
    /// Where it is asked in a region: `server`, in place of AWS's; else what the environment and the profile name ([`Aws::endpoint`]); else
    /// AWS's own endpoint. `region` is one that [`is_label`] accepts.
    pub fn url(&self, aws: &Aws, region: &str, server: Option<&str>) -> String {
        let configured = || aws.endpoint(self.id).map(|endpoint| endpoint.url);
        let server = server.map(str::to_owned).or_else(configured);
        server.unwrap_or_else(|| self.of_aws(region, aws.endpoint_kind()))
    }

    /// AWS's own endpoint (the services' endpoint rules in AWS's SDKs).
    fn of_aws(&self, region: &str, kind: EndpointKind) -> String {
        let partition = Partition::of(region);
        let is_fips_already =
            self.government_is_fips && partition == Partition::Government && !kind.dual_stack;
        let fips = if kind.fips && !is_fips_already {
            "-fips"
        } else {
            ""
        };
        let domain = if kind.dual_stack {
            partition.dual_stack_domain()
        } else {
            partition.domain()
        };
        format!("https://{}{fips}.{region}.{domain}", self.name)
    }
}

/// Whether a region's name can stand in the name of a host (RFC 1123, section 2.1), as those of all regions do: another could lead to
/// another host.
pub fn is_label(region: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !region.is_empty() && region.len() < 64 && region.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC2: Service = Service {
        id: "EC2",
        name: "ec2",
        government_is_fips: true,
    };

    const KMS: Service = Service {
        id: "KMS",
        name: "kms",
        government_is_fips: false,
    };

    #[test]
    fn endpoints_are_those_that_the_sdks_find() {
        let all = |service: Service, region: &str| {
            [(false, false), (true, false), (false, true), (true, true)]
                .map(|(fips, dual_stack)| service.of_aws(region, EndpointKind { fips, dual_stack }))
        };
        for (service, region, expected) in [
            (
                EC2,
                "us-east-1",
                [
                    "https://ec2.us-east-1.amazonaws.com",
                    "https://ec2-fips.us-east-1.amazonaws.com",
                    "https://ec2.us-east-1.api.aws",
                    "https://ec2-fips.us-east-1.api.aws",
                ],
            ),
            (
                EC2,
                "us-gov-east-1",
                [
                    "https://ec2.us-gov-east-1.amazonaws.com",
                    "https://ec2.us-gov-east-1.amazonaws.com",
                    "https://ec2.us-gov-east-1.api.aws",
                    "https://ec2-fips.us-gov-east-1.api.aws",
                ],
            ),
            (
                KMS,
                "us-gov-east-1",
                [
                    "https://kms.us-gov-east-1.amazonaws.com",
                    "https://kms-fips.us-gov-east-1.amazonaws.com",
                    "https://kms.us-gov-east-1.api.aws",
                    "https://kms-fips.us-gov-east-1.api.aws",
                ],
            ),
            (
                EC2,
                "cn-north-1",
                [
                    "https://ec2.cn-north-1.amazonaws.com.cn",
                    "https://ec2-fips.cn-north-1.amazonaws.com.cn",
                    "https://ec2.cn-north-1.api.amazonwebservices.com.cn",
                    "https://ec2-fips.cn-north-1.api.amazonwebservices.com.cn",
                ],
            ),
        ] {
            assert_eq!(all(service, region), expected);
        }
        for (region, expected) in [
            ("us-iso-east-1", "https://ec2.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "https://ec2.us-isob-east-1.sc2s.sgov.gov"),
            (
                "us-isof-south-1",
                "https://ec2.us-isof-south-1.csp.hci.ic.gov",
            ),
            (
                "eu-isoe-west-1",
                "https://ec2.eu-isoe-west-1.cloud.adc-e.uk",
            ),
            ("eusc-de-east-1", "https://ec2.eusc-de-east-1.amazonaws.eu"),
            ("mx-central-1", "https://ec2.mx-central-1.amazonaws.com"),
        ] {
            assert_eq!(EC2.of_aws(region, EndpointKind::default()), expected);
        }
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        assert!(is_label("us-gov-west-1"));
        for region in ["", "a/b", "a.b", "a@b", "a b", &"a".repeat(64)] {
            assert!(!is_label(region), "{region}");
        }
    }
}
