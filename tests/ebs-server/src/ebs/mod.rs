//! The EBS direct APIs: what is asked, and what the answers share. As in AWS's API model `ebs-2019-11-02`.

mod read;
mod start;
mod write;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hyper::Method;
use hyper::http::request::Parts;

use crate::answer::{Answer, Received};
use crate::error::Refused;
use crate::snapshot::Snapshot;
use crate::world::{Caller, World};

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
    fn check_id(id: &str) -> Result<(), Refused> {
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
fn parameter(message: impl Into<String>) -> Refused {
    Refused::invalid("INVALID_PARAMETER_VALUE", message)
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
}

/// Which of a snapshot's and an account's buckets is empty.
fn throttled(place: usize) -> Refused {
    Refused::throttled(["RESOURCE_LEVEL_THROTTLE", "ACCOUNT_THROTTLED"][place])
}

/// A block's index, if the volume has it.
fn index(block: &str, snapshot: &Snapshot) -> Result<u32, Refused> {
    let index = block.parse::<u32>().ok();
    let index = index.filter(|index| u64::from(*index) < snapshot.block_count());
    index.ok_or_else(|| {
        let message = format!("The block index '{block}' is not in the volume.");
        Refused::invalid("INVALID_BLOCK", message)
    })
}

/// Something that is the double's fault.
fn internal(error: &std::io::Error) -> Refused {
    Refused::new("InternalServerException", error.to_string()).with_status(500)
}

/// A query's parameters.
pub(crate) fn query(parts: &Parts) -> BTreeMap<String, String> {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

/// When a token given now ends.
fn ends(life: Duration) -> SystemTime {
    SystemTime::now() + life
}
