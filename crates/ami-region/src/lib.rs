//! AWS's regions: how they are named, and which partition each belongs to.
//!
//! This crate has no dependencies, because commands that never talk to AWS need regions too.

mod partition;

pub use partition::Partition;

/// The region to use when none is known.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_distinguished_from_other_words() {
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
}
