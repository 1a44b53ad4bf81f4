//! Images, as EC2 describes them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::tags::{Tag, values_by_key};
use crate::query::{Action, Filter, Items, Listing, filters, list};

/// `DescribeImages`: one page of the images that all filters let through.
#[derive(Debug, Default)]
pub(crate) struct DescribeImages {
    /// Whose images: accounts, or names such as `amazon`. None: everybody's.
    pub(crate) owners: Vec<String>,
    /// What the images must have.
    pub(crate) filters: Vec<Filter>,
    /// Whether deprecated ones are listed too.
    pub(crate) include_deprecated: bool,
    /// Whether disabled ones are, which only their owner sees.
    pub(crate) include_disabled: bool,
    /// How many images a page has at most.
    pub(crate) max_results: u32,
    /// Where the page before this one ended.
    pub(crate) next_token: Option<String>,
}

impl Action for DescribeImages {
    const NAME: &'static str = "DescribeImages";

    const FAILED: &'static str = "Failed to look up images";

    const IS_REPEATABLE: bool = true;

    type Answer = DescribeImagesAnswer;

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![
            (
                "IncludeDeprecated".to_owned(),
                self.include_deprecated.to_string(),
            ),
            ("MaxResults".to_owned(), self.max_results.to_string()),
        ];
        if self.include_disabled {
            parameters.push(("IncludeDisabled".to_owned(), true.to_string()));
        }
        parameters.extend(filters(&self.filters));
        parameters.extend(list("Owner", &self.owners));
        let next = self.next_token.iter();
        parameters.extend(next.map(|token| ("NextToken".to_owned(), token.clone())));
        parameters
    }
}

impl Listing for DescribeImages {
    type Item = Image;

    fn open(page: DescribeImagesAnswer) -> (Items<Image>, Option<String>) {
        (page.images_set, page.next_token)
    }

    fn turn_to(&mut self, token: String) {
        self.next_token = Some(token);
    }
}

/// What `DescribeImages` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeImagesAnswer {
    /// The images.
    #[serde(default)]
    pub(crate) images_set: Items<Image>,
    /// Where this page ends, if others follow.
    pub(crate) next_token: Option<String>,
}

/// An image: a kernel, a RAM disk or a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its ID: `aki-`, `ari-` or `ami-` and a number in hex.
    pub image_id: Option<String>,
    /// Its manifest in S3: the bucket, a slash and the key. Of an EBS-backed one: the owner, a slash and the name.
    pub image_location: Option<String>,
    /// The account of its owner.
    pub image_owner_id: Option<String>,
    /// The name of its owner, such as `amazon`.
    pub image_owner_alias: Option<String>,
    /// `kernel`, `ramdisk` or `machine`.
    pub image_type: Option<String>,
    /// `pending`, `available`, `failed`, `error`, `invalid`, `transient`, `deregistered` or `disabled`.
    pub image_state: Option<String>,
    /// Why it is in that state, where that is a bad one.
    pub state_reason: Option<StateReason>,
    /// Its name, unique among the images of its owner in a region, copies excepted.
    pub name: Option<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// `i386`, `x86_64`, `arm64` …
    pub architecture: Option<String>,
    /// `ebs` or `instance-store`.
    pub root_device_type: Option<String>,
    /// `windows`; nothing of others.
    pub platform: Option<String>,
    /// What instances of it are billed as: `RunInstances`, with a number behind it if its software has a price (EC2 user guide, "AMI
    /// billing information").
    pub usage_operation: Option<String>,
    /// The product codes of the AWS Marketplace, without which its instances would not be billed for.
    #[serde(default)]
    pub product_codes: Items<ProductCode>,
    /// Whether everybody may start instances of it.
    pub is_public: Option<bool>,
    /// The device that it starts from, such as `/dev/xvda`.
    pub root_device_name: Option<String>,
    /// The devices that an instance of it gets.
    #[serde(default)]
    pub block_device_mapping: Items<Device>,
    /// Its tags.
    #[serde(default)]
    pub tag_set: Items<Tag>,
    /// From when on it is not listed for others, in ISO 8601.
    pub deprecation_time: Option<String>,
    /// `disabled`, `enabled-without-cooldown` or `enabled-with-cooldown`; with a cooldown it stays for a day after it was disabled.
    pub deregistration_protection: Option<String>,
}

impl Image {
    /// The snapshots of its devices, in the order of the devices.
    pub fn snapshots(&self) -> Vec<&str> {
        let devices = self.block_device_mapping.iter();
        let snapshots = devices.filter_map(|device| device.ebs.as_ref()?.snapshot_id.as_deref());
        snapshots.collect()
    }

    /// The snapshot of its root device.
    pub fn root_snapshot(&self) -> Option<&str> {
        let mut devices = self.block_device_mapping.iter();
        let root = devices.find(|device| device.device_name == self.root_device_name)?;
        root.ebs.as_ref()?.snapshot_id.as_deref()
    }

    /// Its tags, by their keys.
    pub fn tags(&self) -> BTreeMap<&str, &str> {
        values_by_key(&self.tag_set)
    }

    /// Whether it cannot be deregistered for now: a protection that was disabled may still last.
    pub fn is_protected(&self) -> bool {
        let protection = self.deregistration_protection.as_deref();
        protection.is_some_and(|state| !state.is_empty() && state != "disabled")
    }
}

/// A product code of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductCode {
    /// The code.
    pub product_code: Option<String>,
}

/// Why an image is in a state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StateReason {
    /// The reason, for people.
    pub message: Option<String>,
}

/// A device of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its name, such as `/dev/sdb`; of an instance store-backed one it may lack the folder.
    pub device_name: Option<String>,
    /// The instance store volume that it is, such as `ephemeral0`; of an instance store-backed one also `ami` and `root`.
    pub virtual_name: Option<String>,
    /// The EBS volume that it is.
    pub ebs: Option<Ebs>,
}

/// An EBS volume of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ebs {
    /// The snapshot that it is made from.
    pub snapshot_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ebs_backed_image_has_snapshots() {
        let text = r#"<DescribeImagesResponse><imagesSet><item><imageId>ami-1</imageId><imageState>failed</imageState>
            <stateReason><code>Client.InternalError</code><message>no key</message></stateReason>
            <name>n</name><rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping>
            <item><deviceName>/dev/sdb</deviceName><virtualName>ephemeral0</virtualName></item>
            <item><deviceName>/dev/sdc</deviceName><ebs><snapshotId>snap-2</snapshotId></ebs></item>
            <item><deviceName>/dev/xvda</deviceName><ebs><snapshotId>snap-1</snapshotId><volumeSize>8</volumeSize></ebs></item>
            </blockDeviceMapping><deregistrationProtection>enabled-with-cooldown</deregistrationProtection>
            </item></imagesSet></DescribeImagesResponse>"#;
        let answer: DescribeImagesAnswer = quick_xml::de::from_str(text).unwrap();
        let image = answer.images_set.into_iter().next().unwrap();
        assert_eq!(image.snapshots(), ["snap-2", "snap-1"]);
        assert_eq!(image.root_snapshot(), Some("snap-1"));
        assert_eq!(
            image.state_reason.as_ref().unwrap().message.as_deref(),
            Some("no key")
        );
        assert!(image.is_protected());
        assert!(!Image::default().is_protected());
    }

    #[test]
    fn the_first_page_has_no_token() {
        let action = DescribeImages {
            owners: vec!["amazon".to_owned()],
            filters: vec![
                Filter {
                    name: "image-id".to_owned(),
                    values: vec!["aki-*".to_owned(), "ari-1".to_owned()],
                },
                Filter {
                    name: "state".to_owned(),
                    values: vec!["available".to_owned()],
                },
            ],
            include_deprecated: true,
            include_disabled: false,
            max_results: 1000,
            next_token: None,
        };
        let expected = [
            ("IncludeDeprecated", "true"),
            ("MaxResults", "1000"),
            ("Filter.1.Name", "image-id"),
            ("Filter.1.Value.1", "aki-*"),
            ("Filter.1.Value.2", "ari-1"),
            ("Filter.2.Name", "state"),
            ("Filter.2.Value.1", "available"),
            ("Owner.1", "amazon"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(action.parameters(), expected);
        let next = DescribeImages {
            next_token: Some("t".to_owned()),
            ..action
        };
        assert_eq!(
            next.parameters().last(),
            Some(&("NextToken".to_owned(), "t".to_owned()))
        );
    }

    /// The answer is shaped like the example in EC2's API reference, shortened.
    #[test]
    fn images_are_read_from_an_answer() {
        let text = r#"<DescribeImagesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
            <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
            <imagesSet><item>
                <imageId>aki-1</imageId><imageLocation>b/k.manifest.xml</imageLocation><imageState>available</imageState>
                <imageOwnerId>123456789012</imageOwnerId><isPublic>true</isPublic><imageType>kernel</imageType>
                <imageOwnerAlias>amazon</imageOwnerAlias>
                <tagSet><item><key>a</key><value>b</value></item></tagSet>
            </item></imagesSet>
            <nextToken>t</nextToken>
        </DescribeImagesResponse>"#;
        let answer: DescribeImagesAnswer = quick_xml::de::from_str(text).unwrap();
        assert_eq!(answer.next_token.as_deref(), Some("t"));
        let expected = Image {
            image_id: Some("aki-1".to_owned()),
            image_location: Some("b/k.manifest.xml".to_owned()),
            image_owner_id: Some("123456789012".to_owned()),
            image_owner_alias: Some("amazon".to_owned()),
            image_type: Some("kernel".to_owned()),
            is_public: Some(true),
            image_state: Some("available".to_owned()),
            tag_set: [Tag::new("a", "b")].into(),
            ..Image::default()
        };
        assert_eq!(
            answer.images_set.into_iter().collect::<Vec<_>>(),
            [expected]
        );
    }
}
