//! EC2's endpoint in each region.

use ami_aws::{EndpointKind, Partition};

/// Whether a region's name can stand in the name of a host (RFC 1123, section 2.1), as those of all regions do.
pub(crate) fn is_label(region: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !region.is_empty() && region.len() < 64 && region.bytes().all(is_fit)
}

/// The URL of EC2 in a region (EC2's endpoint rules in AWS's SDKs).
pub(crate) fn of_region(region: &str, kind: EndpointKind) -> String {
    let partition = Partition::of(region);
    // That partition's plain endpoints are FIPS endpoints already; only its dual-stack endpoints have separate ones.
    let is_validated = partition == Partition::Government && !kind.dual_stack;
    let service = if kind.fips && !is_validated {
        "ec2-fips"
    } else {
        "ec2"
    };
    let domain = if kind.dual_stack {
        partition.dual_stack_domain()
    } else {
        partition.domain()
    };
    format!("https://{service}.{region}.{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_those_that_the_sdks_find() {
        let all = |region: &str| {
            [(false, false), (true, false), (false, true), (true, true)]
                .map(|(fips, dual_stack)| of_region(region, EndpointKind { fips, dual_stack }))
        };
        for (region, expected) in [
            (
                "us-east-1",
                [
                    "https://ec2.us-east-1.amazonaws.com",
                    "https://ec2-fips.us-east-1.amazonaws.com",
                    "https://ec2.us-east-1.api.aws",
                    "https://ec2-fips.us-east-1.api.aws",
                ],
            ),
            (
                "us-gov-east-1",
                [
                    "https://ec2.us-gov-east-1.amazonaws.com",
                    "https://ec2.us-gov-east-1.amazonaws.com",
                    "https://ec2.us-gov-east-1.api.aws",
                    "https://ec2-fips.us-gov-east-1.api.aws",
                ],
            ),
            (
                "cn-north-1",
                [
                    "https://ec2.cn-north-1.amazonaws.com.cn",
                    "https://ec2-fips.cn-north-1.amazonaws.com.cn",
                    "https://ec2.cn-north-1.api.amazonwebservices.com.cn",
                    "https://ec2-fips.cn-north-1.api.amazonwebservices.com.cn",
                ],
            ),
        ] {
            assert_eq!(all(region), expected);
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
            assert_eq!(of_region(region, EndpointKind::default()), expected);
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
