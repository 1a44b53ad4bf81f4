//! Tags of images and snapshots.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::parameter;
use crate::query::{Action, Done, Items, list};

/// A tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Tag {
    /// Its key, up to 127 characters; one that begins with `aws:` is reserved.
    pub key: String,
    /// Its value, up to 255 characters.
    #[serde(default)]
    pub value: String,
}

impl Tag {
    /// A tag of this key and value.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

pub(super) fn values_by_key(tags: &Items<Tag>) -> BTreeMap<&str, &str> {
    let tags = tags.iter();
    tags.map(|tag| (tag.key.as_str(), tag.value.as_str()))
        .collect()
}

/// The parameters of tags: `Tag.1.Key`, `Tag.1.Value` …
fn parameters_of(begin: &str, tags: &[Tag]) -> Vec<(String, String)> {
    let numbered = tags.iter().zip(1..);
    numbered
        .flat_map(|(tag, number)| {
            [("Key", &tag.key), ("Value", &tag.value)]
                .map(|(part, text)| parameter(&format!("{begin}Tag.{number}.{part}"), text))
        })
        .collect()
}

/// The parameters of the tags that a resource of this type gets when it is made.
pub(super) fn specification(resource: &str, tags: &[Tag]) -> Vec<(String, String)> {
    specifications(&[(resource, tags)])
}

/// The same for resources of several types that are made at once.
pub(super) fn specifications(resources: &[(&str, &[Tag])]) -> Vec<(String, String)> {
    let tagged = resources.iter().filter(|(_, tags)| !tags.is_empty());
    tagged
        .zip(1..)
        .flat_map(|((resource, tags), number)| {
            let begin = format!("TagSpecification.{number}.");
            let kind = parameter(&format!("{begin}ResourceType"), resource);
            std::iter::once(kind).chain(parameters_of(&begin, tags))
        })
        .collect()
}

/// `CreateTags`: gives resources tags, in place of those that have the same keys.
#[derive(Debug, Clone)]
pub struct CreateTags {
    /// The resources' IDs.
    pub resources: Vec<String>,
    /// The tags.
    pub tags: Vec<Tag>,
}

impl Action for CreateTags {
    const NAME: &'static str = "CreateTags";

    const FAILED: &'static str = "Failed to tag";

    const IS_REPEATABLE: bool = true;

    type Answer = Done;

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = list("ResourceId", &self.resources);
        parameters.extend(parameters_of("", &self.tags));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_numbered() {
        let action = CreateTags {
            resources: vec!["ami-1".to_owned(), "snap-1".to_owned()],
            tags: vec![Tag::new("a", "1"), Tag::new("b", "")],
        };
        let expected = [
            ("ResourceId.1", "ami-1"),
            ("ResourceId.2", "snap-1"),
            ("Tag.1.Key", "a"),
            ("Tag.1.Value", "1"),
            ("Tag.2.Key", "b"),
            ("Tag.2.Value", ""),
        ];
        assert_eq!(
            action.parameters(),
            expected.map(|(name, value)| parameter(name, value))
        );
        assert_eq!(specification("image", &[]), []);
    }
}
