//! The actions of EC2 that this suite uses, under the names and with the elements that EC2's API reference gives them.

use serde::Deserialize;

use crate::query::{Action, Items, list};

/// `DescribeRegions`: those that the account can use.
pub(crate) struct DescribeRegions;

impl Action for DescribeRegions {
    const NAME: &'static str = "DescribeRegions";

    const IS_REPEATABLE: bool = true;

    type Answer = DescribeRegionsAnswer;

    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What `DescribeRegions` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DescribeRegionsAnswer {
    /// The regions.
    #[serde(default)]
    pub(crate) region_info: Items<Region>,
}

/// A region.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Region {
    /// Its name.
    pub(crate) region_name: Option<String>,
}

/// `DescribeImages`: one page of the images that all filters let through.
#[derive(Debug, Default)]
pub(crate) struct DescribeImages {
    /// Whose images: accounts, or names such as `amazon`. None: everybody's.
    pub(crate) owners: Vec<String>,
    /// What the images must have.
    pub(crate) filters: Vec<Filter>,
    /// Whether deprecated ones are listed too.
    pub(crate) include_deprecated: bool,
    /// How many images a page has at most.
    pub(crate) max_results: u32,
    /// Where the page before this one ended.
    pub(crate) next_token: Option<String>,
}

/// A filter of a listing.
#[derive(Debug)]
pub(crate) struct Filter {
    /// What is compared, such as `image-id`.
    pub(crate) name: &'static str,
    /// One of these must fit; `*` stands for any text.
    pub(crate) values: Vec<String>,
}

impl Action for DescribeImages {
    const NAME: &'static str = "DescribeImages";

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
        for (filter, number) in self.filters.iter().zip(1..) {
            let name = format!("Filter.{number}");
            parameters.push((format!("{name}.Name"), filter.name.to_owned()));
            parameters.extend(list(&format!("{name}.Value"), &filter.values));
        }
        parameters.extend(list("Owner", &self.owners));
        let next = self.next_token.iter();
        parameters.extend(next.map(|token| ("NextToken".to_owned(), token.clone())));
        parameters
    }
}

/// What `DescribeImages` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DescribeImagesAnswer {
    /// The images.
    #[serde(default)]
    pub(crate) images_set: Items<Image>,
    /// Where this page ends, if others follow.
    pub(crate) next_token: Option<String>,
}

/// An image: a kernel, a RAM disk or a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Image {
    /// Its ID: `aki-`, `ari-` or `ami-` and a number in hex.
    pub(crate) image_id: Option<String>,
    /// Its manifest in S3: the bucket, a slash and the key.
    pub(crate) image_location: Option<String>,
    /// The account of its owner.
    pub(crate) image_owner_id: Option<String>,
    /// The name of its owner, such as `amazon`.
    pub(crate) image_owner_alias: Option<String>,
    /// `kernel`, `ramdisk` or `machine`.
    pub(crate) image_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_has_no_token() {
        let action = DescribeImages {
            owners: vec!["amazon".to_owned()],
            filters: vec![
                Filter {
                    name: "image-id",
                    values: vec!["aki-*".to_owned(), "ari-1".to_owned()],
                },
                Filter {
                    name: "state",
                    values: vec!["available".to_owned()],
                },
            ],
            include_deprecated: true,
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
        };
        assert_eq!(
            answer.images_set.into_iter().collect::<Vec<_>>(),
            [expected]
        );
    }
}
