//! The client token: by it a run finds the snapshot of an earlier one again, without having kept anything.
//!
//! The same token with the same parameters gives the same answer (EBS API reference, "StartSnapshot"), even for a snapshot that is in
//! error or deleted. So the token is a digest of everything that makes a snapshot another one, with a generation that is raised to
//! begin anew.

use sha2::{Digest as _, Sha256};

use crate::block::Digest;

/// What a snapshot is started with, besides its token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The volume's size in GiB, from 1 to [`LARGEST_VOLUME`](crate::LARGEST_VOLUME).
    pub volume_size: u64,
    /// The description; the API takes at most 255 characters.
    pub description: Option<String>,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
    /// Whether it is encrypted. `None`: as the account's settings say.
    pub encrypted: Option<bool>,
    /// The ARN of the key that encrypts it, if not the account's default.
    pub kms_key_arn: Option<String>,
    /// After how many minutes without a request the snapshot fails, from 10 to 4,320; the API's default is 60.
    pub timeout: Option<u32>,
}

impl Parameters {
    /// A digest of all of them; the order of the tags does not count.
    pub fn digest(&self) -> Digest {
        let mut fields = Fields::default();
        fields.add(&self.volume_size.to_be_bytes());
        fields.option(self.description.as_deref().map(str::as_bytes));
        let mut tags: Vec<_> = self.tags.iter().collect();
        tags.sort();
        fields.add(&(tags.len() as u64).to_be_bytes());
        for (key, value) in tags {
            fields.add(key.as_bytes());
            fields.add(value.as_bytes());
        }
        fields.option(
            self.encrypted
                .map(|yes| [u8::from(yes)])
                .as_ref()
                .map(|b| &b[..]),
        );
        fields.option(self.kms_key_arn.as_deref().map(str::as_bytes));
        fields.option(self.timeout.map(u32::to_be_bytes).as_ref().map(|b| &b[..]));
        fields.0.finalize().into()
    }
}

/// The token (64 ASCII characters) of a snapshot with these parameters of this source.
pub fn client_token(parameters: &Digest, source: &Digest, generation: u32) -> String {
    let mut fields = Fields::default();
    fields.add(parameters);
    fields.add(source);
    fields.add(&generation.to_be_bytes());
    hex::encode(fields.0.finalize())
}

/// Fields with their lengths, so that no two lists of fields have the same bytes.
#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
    }

    fn option(&mut self, field: Option<&[u8]>) {
        self.add(&[u8::from(field.is_some())]);
        self.add(field.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everything_that_differs_makes_another_token() {
        let plain = Parameters {
            volume_size: 8,
            ..Parameters::default()
        };
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let all = [
            plain.clone(),
            Parameters {
                volume_size: 9,
                ..plain.clone()
            },
            Parameters {
                description: Some(String::new()),
                ..plain.clone()
            },
            Parameters {
                description: Some("a".into()),
                ..plain.clone()
            },
            Parameters {
                tags: vec![tag("a", "bc")],
                ..plain.clone()
            },
            Parameters {
                tags: vec![tag("ab", "c")],
                ..plain.clone()
            },
            Parameters {
                tags: vec![tag("a", "b"), tag("c", "d")],
                ..plain.clone()
            },
            Parameters {
                encrypted: Some(false),
                ..plain.clone()
            },
            Parameters {
                encrypted: Some(true),
                ..plain.clone()
            },
            Parameters {
                kms_key_arn: Some("a".into()),
                ..plain.clone()
            },
            Parameters {
                timeout: Some(60),
                ..plain.clone()
            },
        ];
        let mut tokens = BTreeSet::new();
        for parameters in &all {
            for (source, generation) in [([1; 32], 0), ([2; 32], 0), ([1; 32], 1)] {
                let token = client_token(&parameters.digest(), &source, generation);
                assert!(token.len() == 64 && token.is_ascii());
                assert!(tokens.insert(token), "{parameters:?}");
            }
        }
        let swapped = Parameters {
            tags: vec![tag("c", "d"), tag("a", "b")],
            ..plain
        };
        assert_eq!(swapped.digest(), all[6].digest());
    }
}
