//! Snapshots.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::tags::{Tag, values_by_key};
use super::{optional, parameter};
use crate::query::{Action, Done, Filter, Items, Listing, filters, list};

/// `DescribeSnapshots`: one page of the snapshots that all filters let through.
#[derive(Debug, Default)]
pub(crate) struct DescribeSnapshots {
    /// Whose snapshots: accounts, or `self`. None: all that these credentials can use.
    pub(crate) owners: Vec<String>,
    /// What the snapshots must have.
    pub(crate) filters: Vec<Filter>,
    /// How many snapshots a page has at most.
    pub(crate) max_results: u32,
    /// Where the page before this one ended.
    pub(crate) next_token: Option<String>,
}

impl Action for DescribeSnapshots {
    const NAME: &'static str = "DescribeSnapshots";

    const FAILED: &'static str = "Failed to look up snapshots";

    const IS_REPEATABLE: bool = true;

    type Answer = DescribeSnapshotsAnswer;

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![parameter("MaxResults", self.max_results)];
        parameters.extend(filters(&self.filters));
        parameters.extend(list("Owner", &self.owners));
        parameters.extend(optional("NextToken", self.next_token.as_ref()));
        parameters
    }
}

impl Listing for DescribeSnapshots {
    type Item = Snapshot;

    fn open(page: DescribeSnapshotsAnswer) -> (Items<Snapshot>, Option<String>) {
        (page.snapshot_set, page.next_token)
    }

    fn turn_to(&mut self, token: String) {
        self.next_token = Some(token);
    }
}

/// What `DescribeSnapshots` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeSnapshotsAnswer {
    /// The snapshots.
    #[serde(default)]
    pub(crate) snapshot_set: Items<Snapshot>,
    /// Where this page ends, if others follow.
    pub(crate) next_token: Option<String>,
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its ID: `snap-` and a number in hex.
    pub snapshot_id: Option<String>,
    /// `pending`, `completed`, `error`, `recoverable` or `recovering`.
    pub status: Option<String>,
    /// Why it is in error.
    pub status_message: Option<String>,
    /// When it was begun, in ISO 8601.
    pub start_time: Option<String>,
    /// How far its completion is, such as `73%`.
    pub progress: Option<String>,
    /// The account of its owner.
    pub owner_id: Option<String>,
    /// The size of its volume, in GiB.
    pub volume_size: Option<u64>,
    /// Its description.
    pub description: Option<String>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Its tags.
    #[serde(default)]
    pub tag_set: Items<Tag>,
}

impl Snapshot {
    /// Its tags, by their keys.
    pub fn tags(&self) -> BTreeMap<&str, &str> {
        values_by_key(&self.tag_set)
    }
}

/// `DeleteSnapshot`: deletes a snapshot that no image uses.
#[derive(Debug, Clone)]
pub struct DeleteSnapshot {
    /// Its ID.
    pub snapshot: String,
}

impl Action for DeleteSnapshot {
    const NAME: &'static str = "DeleteSnapshot";

    const FAILED: &'static str = "Failed to delete a snapshot";

    // The second time it is not found.
    const IS_REPEATABLE: bool = true;

    type Answer = Done;

    fn parameters(&self) -> Vec<(String, String)> {
        vec![parameter("SnapshotId", &self.snapshot)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer is shaped like the example in EC2's API reference, shortened.
    #[test]
    fn snapshots_are_read_from_an_answer() {
        let text = r#"<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
            <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
            <snapshotSet><item>
                <snapshotId>snap-1</snapshotId><volumeId>vol-ffffffff</volumeId><status>error</status>
                <statusMessage>timed out</statusMessage><startTime>2026-01-02T03:04:05.000Z</startTime>
                <progress>30%</progress><ownerId>123456789012</ownerId><volumeSize>15</volumeSize>
                <description>d</description><encrypted>true</encrypted>
                <tagSet><item><key>k</key><value>v</value></item></tagSet>
            </item></snapshotSet>
            <nextToken>t</nextToken>
        </DescribeSnapshotsResponse>"#;
        let answer: DescribeSnapshotsAnswer = quick_xml::de::from_str(text).unwrap();
        assert_eq!(answer.next_token.as_deref(), Some("t"));
        let snapshots: Vec<Snapshot> = answer.snapshot_set.into_iter().collect();
        let text = |text: &str| Some(text.to_owned());
        let expected = Snapshot {
            snapshot_id: text("snap-1"),
            status: text("error"),
            status_message: text("timed out"),
            start_time: text("2026-01-02T03:04:05.000Z"),
            progress: text("30%"),
            owner_id: text("123456789012"),
            volume_size: Some(15),
            description: text("d"),
            encrypted: true,
            tag_set: [Tag::new("k", "v")].into(),
        };
        assert_eq!(snapshots, [expected]);
    }
}
