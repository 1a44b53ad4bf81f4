//! Partitions, and one table of what is known about each.

use crate::DEFAULT_REGION;

/// A group of regions with accounts and credentials of its own (AWS general reference, "Amazon Resource Names": partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// `aws`: every region that is in no other partition.
    Commercial,
    /// `aws-cn`: `cn-*`.
    China,
    /// `aws-us-gov`: `us-gov-*`.
    Government,
    /// `aws-iso`: `us-iso-*`.
    Iso,
    /// `aws-iso-b`: `us-isob-*`.
    IsoB,
    /// `aws-iso-e`: `eu-isoe-*`.
    IsoE,
    /// `aws-iso-f`: `us-isof-*`.
    IsoF,
    /// `aws-eusc`, the European sovereign cloud: `eusc-*`.
    EuropeanSovereign,
}

/// What is known about a partition.
struct Facts {
    partition: Partition,
    /// How the names of its regions begin.
    prefix: &'static str,
    /// The domain of its services' endpoints.
    domain: &'static str,
    /// The domain of its services' dual-stack endpoints (IPv4 and IPv6).
    dual_stack_domain: &'static str,
    /// A region that every account may use; `None` where that is not known.
    first_region: Option<&'static str>,
}

/// AWS general reference, "Service endpoints", and the `partitions.json` (version 1.1) that AWS's SDKs ship with.
///
/// The first entry whose prefix matches counts; the last one matches every name.
const TABLE: [Facts; 8] = [
    Facts {
        partition: Partition::IsoB,
        prefix: "us-isob-",
        domain: "sc2s.sgov.gov",
        dual_stack_domain: "api.aws.scloud",
        first_region: None,
    },
    Facts {
        partition: Partition::IsoF,
        prefix: "us-isof-",
        domain: "csp.hci.ic.gov",
        dual_stack_domain: "api.aws.hci.ic.gov",
        first_region: None,
    },
    Facts {
        partition: Partition::Iso,
        prefix: "us-iso-",
        domain: "c2s.ic.gov",
        dual_stack_domain: "api.aws.ic.gov",
        first_region: None,
    },
    Facts {
        partition: Partition::IsoE,
        prefix: "eu-isoe-",
        domain: "cloud.adc-e.uk",
        dual_stack_domain: "api.cloud-aws.adc-e.uk",
        first_region: None,
    },
    Facts {
        partition: Partition::EuropeanSovereign,
        prefix: "eusc-",
        domain: "amazonaws.eu",
        dual_stack_domain: "api.amazonwebservices.eu",
        first_region: None,
    },
    Facts {
        partition: Partition::China,
        prefix: "cn-",
        domain: "amazonaws.com.cn",
        dual_stack_domain: "api.amazonwebservices.com.cn",
        first_region: Some("cn-north-1"),
    },
    Facts {
        partition: Partition::Government,
        prefix: "us-gov-",
        domain: "amazonaws.com",
        dual_stack_domain: "api.aws",
        first_region: Some("us-gov-west-1"),
    },
    COMMERCIAL,
];

const COMMERCIAL: Facts = Facts {
    partition: Partition::Commercial,
    prefix: "",
    domain: "amazonaws.com",
    dual_stack_domain: "api.aws",
    first_region: Some(DEFAULT_REGION),
};

impl Partition {
    /// The partition of a region.
    pub fn of(region: &str) -> Self {
        let fits = |facts: &&Facts| region.starts_with(facts.prefix);
        let facts = TABLE.iter().find(fits);
        facts.map_or(Self::Commercial, |facts| facts.partition)
    }

    fn facts(self) -> &'static Facts {
        let is_own = |facts: &&Facts| facts.partition == self;
        TABLE.iter().find(is_own).unwrap_or(&COMMERCIAL)
    }

    /// A region that every account of the partition may use; `None` where that is not known.
    pub fn first_region(self) -> Option<&'static str> {
        self.facts().first_region
    }

    /// The domain of its services' endpoints, such as `amazonaws.com`.
    pub fn domain(self) -> &'static str {
        self.facts().domain
    }

    /// The domain of its services' dual-stack endpoints (IPv4 and IPv6), such as `api.aws`.
    pub fn dual_stack_domain(self) -> &'static str {
        self.facts().dual_stack_domain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_is_of_one_partition() {
        for (region, partition) in [
            ("eu-west-1", Partition::Commercial),
            ("us-east-2", Partition::Commercial),
            ("us-gov-east-1", Partition::Government),
            ("cn-northwest-1", Partition::China),
            ("us-iso-east-1", Partition::Iso),
            ("us-isob-east-1", Partition::IsoB),
            ("us-isof-south-1", Partition::IsoF),
            ("eu-isoe-west-1", Partition::IsoE),
            ("eusc-de-east-1", Partition::EuropeanSovereign),
        ] {
            assert_eq!(Partition::of(region), partition, "{region}");
        }
    }

    #[test]
    fn the_facts_are_those_of_the_partition() {
        for facts in &TABLE {
            assert_eq!(facts.partition.domain(), facts.domain);
        }
        assert_eq!(Partition::Iso.first_region(), None);
        assert_eq!(Partition::China.first_region(), Some("cn-north-1"));
        assert_eq!(Partition::Government.first_region(), Some("us-gov-west-1"));
        assert_eq!(Partition::IsoF.dual_stack_domain(), "api.aws.hci.ic.gov");
    }
}
