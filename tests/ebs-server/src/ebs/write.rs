//! PutSnapshotBlock and CompleteSnapshot.

use std::sync::Arc;
use std::time::Instant;

use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::http::request::Parts;
use serde_json::json;

use super::{index, internal, parameter, throttled};
use crate::answer::{Answer, Received};
use crate::blocks::BLOCK;
use crate::buckets::Need;
use crate::error::Refused;
use crate::snapshot::{Phase, Snapshot};
use crate::world::{Caller, World};

impl World {
    /// The snapshot that the caller writes to.
    fn written(&self, id: &str, caller: &Caller) -> Result<Arc<Snapshot>, Refused> {
        let found = self.things.lock().snapshot(&caller.region, id);
        let found =
            found.filter(|snapshot| snapshot.is_visible() && snapshot.owner == caller.account);
        found.ok_or_else(|| Refused::no_snapshot(id))
    }

    pub(super) fn put_block(
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
            Need {
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

    pub(super) fn complete(
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
