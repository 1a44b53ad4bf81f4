//! StartSnapshot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, internal, parameter};
use crate::answer::{Answer, Received};
use crate::blocks::{BLOCK, Blocks};
use crate::dates;
use crate::error::Refused;
use crate::snapshot::{Inner, Phase, Snapshot, State, Tags};
use crate::world::{Caller, World};

/// The most GiB of a volume.
const LARGEST: i64 = 65_536;

/// StartSnapshot's body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    volume_size: Option<i64>,
    parent_snapshot_id: Option<String>,
    #[serde(default)]
    tags: Option<Vec<Tag>>,
    description: Option<String>,
    client_token: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<String>,
    value: Option<String>,
}

/// Tags as EC2 allows them: at most 50, keys of 1 to 127 characters that are not AWS's, values of at most 255.
fn tags(given: &[Tag]) -> Result<Tags, Refused> {
    let refused = |message: &str| Refused::invalid("INVALID_TAG", message);
    let mut tags = Tags::new();
    for tag in given {
        let key = tag.key.clone().unwrap_or_default();
        let value = tag.value.clone().unwrap_or_default();
        if key.is_empty() || key.chars().count() > 127 || value.chars().count() > 255 {
            return Err(refused(
                "A tag's key has 1 to 127 characters, its value at most 255.",
            ));
        }
        if key.starts_with("aws:") {
            return Err(refused("Tag keys that begin with aws: are reserved."));
        }
        if tags.insert(key, value).is_some() {
            return Err(refused("A tag key is there twice."));
        }
    }
    if tags.len() > 50 {
        return Err(refused("A snapshot has at most 50 tags."));
    }
    Ok(tags)
}

impl Start {
    fn check(&self) -> Result<u64, Refused> {
        let size = self
            .volume_size
            .filter(|size| (1..=LARGEST).contains(size))
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| {
                Refused::invalid("INVALID_VOLUME_SIZE", "VolumeSize must be 1 to 65536.")
            })?;
        if self
            .timeout
            .is_some_and(|minutes| !(10..=4320).contains(&minutes))
        {
            return Err(parameter("Timeout must be 10 to 4320 minutes."));
        }
        if let Some(token) = &self.client_token {
            let is_text = token.bytes().all(|byte| byte.is_ascii_graphic());
            if token.is_empty() || token.len() > 64 || !is_text {
                return Err(parameter("ClientToken must have 1 to 64 ASCII characters."));
            }
        }
        let length = self.description.as_ref().map(|text| text.chars().count());
        if length.is_some_and(|length| !(1..=255).contains(&length)) {
            return Err(parameter("Description must have 1 to 255 characters."));
        }
        let encryption = self.encrypted.is_some() || self.kms_key_arn.is_some();
        if self.parent_snapshot_id.is_some() && encryption {
            let message = "ParentSnapshotId cannot be specified with Encrypted or KmsKeyArn.";
            return Err(parameter(message));
        }
        if self.kms_key_arn.is_some() && self.encrypted != Some(true) {
            return Err(parameter("KmsKeyArn needs Encrypted."));
        }
        Ok(size)
    }
}

impl World {
    pub(super) fn start_snapshot(
        &self,
        received: &Received,
        caller: &Caller,
    ) -> Result<Answer, Refused> {
        let rate = self.settings.quotas.start;
        self.take(&[self.account_bucket(caller, "StartSnapshot", rate)])
            .map_err(|_| Refused::throttled("ACCOUNT_THROTTLED"))?;
        let body = received.bytes();
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| Refused::new("SerializationException", "The body is no JSON."))?;
        let start = Start::deserialize(&value)
            .map_err(|e| Refused::new("SerializationException", e.to_string()))?;
        let size = start.check()?;
        let tags = tags(start.tags.as_deref().unwrap_or_default())?;

        let mut things = self.things.lock();
        let token = start.client_token.clone();
        let token = token.map(|token| (caller.account.clone(), caller.region.clone(), token));
        if let Some(token) = &token {
            match things.start_tokens.get(token) {
                Some((request, answer)) if *request == value => {
                    return Ok(Answer::json(201, answer.clone()));
                }
                Some(_) => {
                    let message = "The client token was used with other parameters.";
                    return Err(Refused::new("ConflictException", message).with_status(409));
                }
                None => {}
            }
        }
        let parent = start.parent_snapshot_id.as_deref();
        let parent = parent.map(|id| {
            Call::check_id(id)?;
            let found = things.snapshot(&caller.region, id);
            let found = found.filter(|parent| {
                parent.state() == State::Completed && parent.is_readable_by(&caller.account)
            });
            let found = found.ok_or_else(|| Refused::no_snapshot(id))?;
            if found.volume_size > size {
                let message = "VolumeSize must not be below that of the parent.";
                return Err(Refused::invalid("INVALID_VOLUME_SIZE", message));
            }
            Ok(found)
        });
        let parent = parent.transpose()?;
        let unusable = || Refused::invalid("INVALID_CUSTOMER_KEY", "The key cannot be used.");
        let key = match (&parent, &start.kms_key_arn) {
            (Some(parent), _) => parent.kms_key.clone(),
            (None, Some(key)) => {
                let found = self.ebs_key(caller, Some(key));
                Some(found.filter(|arn| arn == key).ok_or_else(unusable)?)
            }
            (None, None)
                if start.encrypted == Some(true) || self.settings.encryption_by_default =>
            {
                Some(self.ebs_key(caller, None).ok_or_else(unusable)?)
            }
            (None, None) => None,
        };
        let pending = things.snapshots.values().filter(|snapshot| {
            snapshot.region == caller.region
                && snapshot.owner == caller.account
                && !snapshot.is_copy
                && snapshot.state() == State::Pending
        });
        if pending.count() >= self.settings.quotas.pending {
            let message = "The limit of pending snapshots is reached.";
            return Err(Refused::new("ConcurrentLimitExceededException", message));
        }

        let id = things.id("snap");
        let minutes = u32::try_from(start.timeout.unwrap_or(60)).unwrap_or(60);
        let parent_blocks = parent.as_ref().map(|parent| parent.blocks.clone());
        let blocks = Blocks::create(&self.folder, parent_blocks).map_err(|e| internal(&e))?;
        let snapshot = Snapshot {
            id: id.clone(),
            region: caller.region.clone(),
            owner: caller.account.clone(),
            volume_size: size,
            description: start.description.clone().unwrap_or_default(),
            created: SystemTime::now(),
            visible: Instant::now() + self.settings.snapshot_visible_after,
            timeout: self.settings.minute * minutes,
            kms_key: key.clone(),
            is_copy: false,
            parent: parent.map(|parent| parent.id.clone()),
            blocks: Arc::new(blocks),
            inner: Mutex::new(Inner {
                phase: Phase::Open {
                    used: Instant::now(),
                },
                tags: tags.clone(),
                shared_with: BTreeSet::new(),
                in_flight: BTreeSet::new(),
            }),
        };
        let mut answer = json!({
            "SnapshotId": id,
            "OwnerId": caller.account,
            "Status": "pending",
            "StartTime": dates::epoch(snapshot.created),
            "VolumeSize": size,
            "BlockSize": BLOCK,
        });
        let tags: Vec<Value> = tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        let optional = [
            ("Description", start.description.map(Value::from)),
            ("ParentSnapshotId", snapshot.parent.clone().map(Value::from)),
            ("KmsKeyArn", key.map(Value::from)),
            ("Tags", (!tags.is_empty()).then_some(Value::from(tags))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                answer[name] = value;
            }
        }
        let answer = answer.to_string();
        if let Some(token) = token {
            let _ = things.start_tokens.insert(token, (value, answer.clone()));
        }
        let place = (caller.region.clone(), id);
        let _ = things.snapshots.insert(place, Arc::new(snapshot));
        Ok(Answer::json(201, answer))
    }
}
