//! Copies of images in other regions.

use super::registration::ImageId;
use super::tags::{Tag, specifications};
use super::{optional, parameter};
use crate::query::Action;

/// `CopyImage`: copies an image into the region that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyImage {
    /// What makes it one and the same copy, where it is asked for again: up to 64 ASCII characters.
    pub client_token: String,
    /// The copy's name. EC2 does not see to it that it is unique.
    pub name: String,
    /// The copy's description.
    pub description: Option<String>,
    /// The image.
    pub source_image_id: String,
    /// Its region.
    pub source_region: String,
    /// Whether the copy's snapshots are encrypted, though the image's may not be.
    pub encrypted: bool,
    /// The KMS key for that, in the region of the copy; otherwise the region's default. A wrong one fails only after the answer.
    pub kms_key_id: Option<String>,
    /// The tags that the copy has besides those of the image.
    pub image_tags: Vec<Tag>,
    /// The tags of the copy's snapshots.
    pub snapshot_tags: Vec<Tag>,
}

impl Action for CopyImage {
    const NAME: &'static str = "CopyImage";

    const FAILED: &'static str = "Failed to copy the AMI";

    const IS_REPEATABLE: bool = true;

    type Answer = ImageId;

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![
            parameter("ClientToken", &self.client_token),
            parameter("Name", &self.name),
            parameter("SourceImageId", &self.source_image_id),
            parameter("SourceRegion", &self.source_region),
            parameter("CopyImageTags", true),
        ];
        parameters.extend(optional("Description", self.description.as_ref()));
        parameters.extend(self.encrypted.then(|| parameter("Encrypted", true)));
        parameters.extend(optional("KmsKeyId", self.kms_key_id.as_ref()));
        parameters.extend(specifications(&[
            ("image", &self.image_tags),
            ("snapshot", &self.snapshot_tags),
        ]));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_the_tags_along() {
        let action = CopyImage {
            client_token: "t".to_owned(),
            name: "n".to_owned(),
            description: None,
            source_image_id: "ami-1".to_owned(),
            source_region: "eu-west-1".to_owned(),
            encrypted: true,
            kms_key_id: Some("alias/k".to_owned()),
            image_tags: vec![Tag::new("i", "1")],
            snapshot_tags: vec![Tag::new("a", "b"), Tag::new("c", "d")],
        };
        let expected = [
            ("ClientToken", "t"),
            ("Name", "n"),
            ("SourceImageId", "ami-1"),
            ("SourceRegion", "eu-west-1"),
            ("CopyImageTags", "true"),
            ("Encrypted", "true"),
            ("KmsKeyId", "alias/k"),
            ("TagSpecification.1.ResourceType", "image"),
            ("TagSpecification.1.Tag.1.Key", "i"),
            ("TagSpecification.1.Tag.1.Value", "1"),
            ("TagSpecification.2.ResourceType", "snapshot"),
            ("TagSpecification.2.Tag.1.Key", "a"),
            ("TagSpecification.2.Tag.1.Value", "b"),
            ("TagSpecification.2.Tag.2.Key", "c"),
            ("TagSpecification.2.Tag.2.Value", "d"),
        ];
        assert_eq!(
            action.parameters(),
            expected.map(|(name, value)| parameter(name, value))
        );
    }
}
