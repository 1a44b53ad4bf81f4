//! Names of AWS's regions, and what they are part of. A crate of its own, because what does not talk to AWS knows regions too.

/// Where AWS begins: the region that is asked when none is known.
pub const DEFAULT_REGION: &str = "us-east-1";

/// Whether a text looks like the name of a region of any partition, known today or not: `eu-west-1`, `us-gov-east-1`.
pub fn is_region(text: &str) -> bool {
    let words: Vec<&str> = text.split('-').collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    match words.split_last() {
        Some((number, names)) => names.len() >= 2 && names.iter().all(is_word) && is_number(number),
        None => false,
    }
}

/// A group of regions with accounts and credentials of its own (AWS general reference, "Amazon Resource Names": partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// All that is in no other.
    Commercial,
    /// China: `cn-*`.
    China,
    /// The US government's: `us-gov-*`.
    Government,
    /// What the public does not reach, or only by arrangement: the isolated ones, the European sovereign cloud. The name is how its
    /// regions' names begin.
    Apart(&'static str),
}

impl Partition {
    /// That of a region.
    pub fn of(region: &str) -> Self {
        let apart = ["us-iso", "eu-iso", "eusc-"];
        match region {
            _ if region.starts_with("cn-") => Self::China,
            _ if region.starts_with("us-gov-") => Self::Government,
            _ => apart
                .into_iter()
                .find(|begin| region.starts_with(begin))
                .map_or(Self::Commercial, Self::Apart),
        }
    }

    /// A region that everybody there may ask; `None` where that is not known.
    pub fn first_region(self) -> Option<&'static str> {
        match self {
            Self::Commercial => Some(DEFAULT_REGION),
            Self::China => Some("cn-north-1"),
            Self::Government => Some("us-gov-west-1"),
            Self::Apart(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_from_other_words() {
        for region in [
            "us-east-1",
            "ap-southeast-12",
            "us-gov-west-1",
            "cn-north-1",
            "us-isob-east-1",
        ] {
            assert!(is_region(region), "{region}");
        }
        for text in [
            "",
            "moon-1",
            "us-east",
            "us-east-1a",
            "US-EAST-1",
            "us--1",
            "us-east-",
        ] {
            assert!(!is_region(text), "{text}");
        }
    }

    #[test]
    fn each_region_is_of_one_partition() {
        assert_eq!(Partition::of("eu-west-1"), Partition::Commercial);
        assert_eq!(Partition::of("us-east-2"), Partition::Commercial);
        assert_eq!(Partition::of("us-gov-east-1"), Partition::Government);
        assert_eq!(Partition::of("cn-northwest-1"), Partition::China);
        assert_eq!(Partition::of("us-isob-east-1"), Partition::Apart("us-iso"));
        assert_eq!(Partition::of("eusc-de-east-1"), Partition::Apart("eusc-"));
        assert_eq!(Partition::of("us-iso-east-1").first_region(), None);
        assert_eq!(Partition::China.first_region(), Some("cn-north-1"));
    }
}
