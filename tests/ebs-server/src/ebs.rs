//! The EBS direct APIs: what is asked, and writing. As in AWS's API model `ebs-2019-11-02`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use data_encoding::BASE64;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Received};
use crate::blocks::{BLOCK, Blocks};
use crate::dates;
use crate::error::Refused;
use crate::snapshot::{Inner, Phase, Snapshot, State, Tags};
use crate::world::{Caller, World};

/// The most GiB of a volume.
const LARGEST: i64 = 65_536;

/// A request of the EBS direct APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Start,
    Put { snapshot: String, block: String },
    Complete { snapshot: String },
    List { snapshot: String },
    Changed { snapshot: String },
    Get { snapshot: String, block: String },
}

impl Call {
    /// What a method and a path ask for.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let text = |text: &str| text.to_owned();
        match (method.as_str(), &names[..]) {
            ("POST", ["snapshots"]) => Some(Self::Start),
            ("POST", ["snapshots", "completion", snapshot]) => Some(Self::Complete {
                snapshot: text(snapshot),
            }),
            ("PUT", ["snapshots", snapshot, "blocks", block]) => Some(Self::Put {
                snapshot: text(snapshot),
                block: text(block),
            }),
            ("GET", ["snapshots", snapshot, "blocks", block]) => Some(Self::Get {
                snapshot: text(snapshot),
                block: text(block),
            }),
            ("GET", ["snapshots", snapshot, "blocks"]) => Some(Self::List {
                snapshot: text(snapshot),
            }),
            ("GET", ["snapshots", snapshot, "changedblocks"]) => Some(Self::Changed {
                snapshot: text(snapshot),
            }),
            _ => None,
        }
    }

    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Start => "StartSnapshot",
            Self::Put { .. } => "PutSnapshotBlock",
            Self::Complete { .. } => "CompleteSnapshot",
            Self::List { .. } => "ListSnapshotBlocks",
            Self::Changed { .. } => "ListChangedBlocks",
            Self::Get { .. } => "GetSnapshotBlock",
        }
    }

    pub(crate) fn snapshot(&self) -> Option<&str> {
        match self {
            Self::Start => None,
            Self::Put { snapshot, .. }
            | Self::Complete { snapshot }
            | Self::List { snapshot }
            | Self::Changed { snapshot }
            | Self::Get { snapshot, .. } => Some(snapshot),
        }
    }

    pub(crate) fn block(&self) -> Option<u32> {
        match self {
            Self::Put { block, .. } | Self::Get { block, .. } => block.parse().ok(),
            _ => None,
        }
    }

    /// What a snapshot's name in a path must look like: `^snap-[0-9a-f]+$`, at most 64 characters.
    pub(crate) fn check_id(id: &str) -> Result<(), Refused> {
        let digits = id.strip_prefix("snap-").unwrap_or_default();
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.is_empty() || id.len() > 64 || !digits.bytes().all(is_hex) {
            let message = format!("The snapshot ID '{id}' is not valid.");
            return Err(Refused::invalid("INVALID_SNAPSHOT_ID", message));
        }
        Ok(())
    }
}

/// A refusal of a value that is none of the others.
pub(crate) fn parameter(message: impl Into<String>) -> Refused {
    Refused::invalid("INVALID_PARAMETER_VALUE", message)
}

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
    /// Answers a request of the EBS direct APIs.
    pub(crate) fn ebs(
        &self,
        call: &Call,
        parts: &Parts,
        received: &Received,
        caller: &Caller,
        is_alone: bool,
    ) -> Result<Answer, Refused> {
        if let Some(snapshot) = call.snapshot() {
            Call::check_id(snapshot)?;
        }
        if self
            .settings
            .denied
            .iter()
            .any(|denied| denied == call.action())
        {
            let message = format!(
                "{} is not authorized to perform: ebs:{}",
                caller.arn,
                call.action()
            );
            return Err(Refused::denied(message));
        }
        match call {
            Call::Start => self.start_snapshot(received, caller),
            Call::Put { snapshot, block } => {
                self.put_block(snapshot, block, parts, received, caller, is_alone)
            }
            Call::Complete { snapshot } => self.complete(snapshot, parts, received, caller),
            Call::List { snapshot } => self.list_blocks(snapshot, parts, caller),
            Call::Changed { snapshot } => self.changed_blocks(snapshot, parts, caller),
            Call::Get { snapshot, block } => self.get_block(snapshot, block, parts, caller),
        }
    }

    fn start_snapshot(&self, received: &Received, caller: &Caller) -> Result<Answer, Refused> {
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

    /// The snapshot that the caller writes to.
    fn written(&self, id: &str, caller: &Caller) -> Result<Arc<Snapshot>, Refused> {
        let found = self.things.lock().snapshot(&caller.region, id);
        let found =
            found.filter(|snapshot| snapshot.is_visible() && snapshot.owner == caller.account);
        found.ok_or_else(|| Refused::no_snapshot(id))
    }

    fn put_block(
        &self,
        id: &str,
        block: &str,
        parts: &Parts,
        received: &Received,
        caller: &Caller,
        is_alone: bool,
    ) -> Result<Answer, Refused> {
        let snapshot = self.written(id, caller)?;
        let quotas = &self.settings.quotas;
        let needs = [
            crate::buckets::Need {
                name: format!("PutSnapshotBlock {id}"),
                rate: quotas.put_snapshot,
            },
            self.account_bucket(caller, "PutSnapshotBlock", quotas.put_account),
        ];
        self.take(&needs).map_err(throttled)?;
        if !snapshot.is_open() {
            let message = "The snapshot is not in the pending state.";
            return Err(Refused::invalid("INVALID_SNAPSHOT_ID", message));
        }
        let block = index(block, &snapshot)?;
        let headers = Headers(&parts.headers);
        if headers.number("x-amz-data-length")? != Some(BLOCK as u64) {
            return Err(parameter("x-amz-Data-Length must be 524288."));
        }
        if headers
            .number("x-amz-progress")?
            .is_some_and(|progress| progress > 100)
        {
            return Err(parameter("x-amz-Progress must be 0 to 100."));
        }
        headers.check_algorithm()?;
        if received.length != BLOCK {
            let message = "The block must have 524288 bytes.";
            return Err(Refused::invalid("INVALID_BLOCK", message));
        }
        let checksum = BASE64.encode(&received.digest);
        match headers.text("x-amz-checksum") {
            Some(said) if said == checksum => {}
            Some(_) => {
                let message = "The checksum is not that of the block.";
                return Err(Refused::invalid("INVALID_BLOCK", message));
            }
            None => return Err(parameter("x-amz-Checksum is missing.")),
        }
        if !is_alone {
            let message = "The block is being written by another request.";
            return Err(Refused::invalid("CONFLICTING_BLOCK_UPDATE", message));
        }
        let stored = snapshot
            .blocks
            .put(block, &received.pieces, received.digest);
        stored.map_err(|e| internal(&e))?;
        if let Phase::Open { used } = &mut snapshot.inner.lock().phase {
            *used = Instant::now();
        }
        Ok(Answer::json(201, "{}".to_owned())
            .with("x-amz-Checksum", checksum)
            .with("x-amz-Checksum-Algorithm", "SHA256".to_owned()))
    }

    fn complete(
        &self,
        id: &str,
        parts: &Parts,
        received: &Received,
        caller: &Caller,
    ) -> Result<Answer, Refused> {
        let rate = self.settings.quotas.complete;
        self.take(&[self.account_bucket(caller, "CompleteSnapshot", rate)])
            .map_err(|_| Refused::throttled("ACCOUNT_THROTTLED"))?;
        let snapshot = self.written(id, caller)?;
        if received.length > 0 && received.bytes().as_ref() != b"{}" {
            return Err(parameter("CompleteSnapshot has no body."));
        }
        let headers = Headers(&parts.headers);
        let count = headers
            .number("x-amz-changedblockscount")?
            .ok_or_else(|| parameter("x-amz-ChangedBlocksCount is missing."))?;
        let checksum = headers.text("x-amz-checksum");
        let method = headers.text("x-amz-checksum-aggregation-method");
        if checksum.is_some() {
            headers.check_algorithm()?;
            if method != Some("LINEAR") {
                return Err(parameter(
                    "x-amz-Checksum-Aggregation-Method must be LINEAR.",
                ));
            }
        } else if method.is_some_and(|method| method != "LINEAR") {
            return Err(parameter(
                "x-amz-Checksum-Aggregation-Method must be LINEAR.",
            ));
        }
        if !snapshot.is_open() {
            let message = "The snapshot is not in the pending state.";
            return Err(Refused::invalid("INVALID_SNAPSHOT_ID", message));
        }
        let mut inner = snapshot.inner.lock();
        if count != snapshot.blocks.own_count() as u64 {
            let message = "ChangedBlocksCount is not the number of blocks that were written.";
            return Err(parameter(message));
        }
        let right = BASE64.encode(&snapshot.blocks.linear_digest());
        if checksum.is_some_and(|checksum| checksum != right) {
            return Err(parameter("The checksum is not that of the blocks."));
        }
        inner.phase = Phase::Sealed {
            until: Instant::now() + self.settings.completes_after,
            fails: false,
        };
        Ok(Answer::json(202, json!({"Status": "pending"}).to_string()))
    }
}

/// Which of a snapshot's and an account's buckets is empty.
pub(crate) fn throttled(place: usize) -> Refused {
    Refused::throttled(["RESOURCE_LEVEL_THROTTLE", "ACCOUNT_THROTTLED"][place])
}

/// A block's index, if the volume has it.
pub(crate) fn index(block: &str, snapshot: &Snapshot) -> Result<u32, Refused> {
    let index = block.parse::<u32>().ok();
    let index = index.filter(|index| u64::from(*index) < snapshot.block_count());
    index.ok_or_else(|| {
        let message = format!("The block index '{block}' is not in the volume.");
        Refused::invalid("INVALID_BLOCK", message)
    })
}

/// Something that is the double's fault.
pub(crate) fn internal(error: &std::io::Error) -> Refused {
    Refused::new("InternalServerException", error.to_string()).with_status(500)
}

struct Headers<'a>(&'a HeaderMap);

impl<'a> Headers<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let number = self.text(name).map(str::parse::<u64>).transpose();
        number.map_err(|_| parameter(format!("{name} is no number.")))
    }

    fn check_algorithm(&self) -> Result<(), Refused> {
        match self.text("x-amz-checksum-algorithm") {
            Some("SHA256") => Ok(()),
            _ => Err(parameter("x-amz-Checksum-Algorithm must be SHA256.")),
        }
    }
}

/// A query's parameters.
pub(crate) fn query(parts: &Parts) -> BTreeMap<String, String> {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

/// When a token given now ends.
pub(crate) fn ends(life: Duration) -> SystemTime {
    SystemTime::now() + life
}
