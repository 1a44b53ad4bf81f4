//! ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::{Call, ends, index, internal, parameter, query, throttled};
use crate::answer::Answer;
use crate::blocks::BLOCK;
use crate::buckets::Need;
use crate::dates;
use crate::error::Refused;
use crate::snapshot::{Snapshot, State};
use crate::tokens;
use crate::world::{Caller, World};

/// A page of indices, and the token of the next.
struct Page {
    blocks: Vec<u32>,
    next: Option<String>,
}

impl World {
    /// The snapshot that the caller reads.
    fn read(&self, id: &str, caller: &Caller) -> Result<Arc<Snapshot>, Refused> {
        let found = self.things.lock().snapshot(&caller.region, id);
        let found = found
            .filter(|snapshot| snapshot.is_visible() && snapshot.is_readable_by(&caller.account));
        let found = found.ok_or_else(|| Refused::no_snapshot(id))?;
        if found.state() != State::Completed {
            let message = "The snapshot is not in the completed state.";
            return Err(Refused::invalid("INVALID_SNAPSHOT_ID", message));
        }
        Ok(found)
    }

    fn page(
        &self,
        name: &str,
        parameters: &BTreeMap<String, String>,
        all: &[u32],
    ) -> Result<Page, Refused> {
        let most = match parameters.get("maxResults") {
            None => 10_000,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|most| (100..=10_000).contains(most))
                .ok_or_else(|| parameter("maxResults must be 100 to 10000."))?,
        };
        let start = match (
            parameters.get("pageToken"),
            parameters.get("startingBlockIndex"),
        ) {
            (Some(token), _) => {
                tokens::read(&self.settings.secret_key, name, token).ok_or_else(|| {
                    let message = "The page token is not valid, or has expired.";
                    Refused::invalid("INVALID_PAGE_TOKEN", message)
                })?
            }
            (None, Some(text)) => text
                .parse()
                .map_err(|_| parameter("startingBlockIndex is no number."))?,
            (None, None) => 0,
        };
        let rest = &all[all.partition_point(|block| *block < start)..];
        // Which pages are short depends on the place only, so that a listing always ends.
        let most = match start % 3 {
            _ if !self.settings.short_pages => most,
            0 if !parameters.contains_key("pageToken") => 0,
            1 => most,
            _ => most / 2,
        };
        let token = |next: &u32| {
            let until = ends(self.settings.page_token_life);
            tokens::make(&self.settings.secret_key, name, *next, until)
        };
        Ok(Page {
            blocks: rest.iter().take(most).copied().collect(),
            next: rest.get(most).map(token),
        })
    }

    fn block_token(&self, snapshot: &str, block: u32) -> String {
        let until = ends(self.settings.block_token_life);
        let name = format!("block {snapshot}");
        tokens::make(&self.settings.secret_key, &name, block, until)
    }

    fn listed(&self, snapshot: &Snapshot, name: &str, blocks: Vec<Value>, page: Page) -> Answer {
        let mut answer = json!({
            name: blocks,
            "ExpiryTime": dates::epoch(ends(self.settings.block_token_life)),
            "VolumeSize": snapshot.volume_size,
            "BlockSize": BLOCK,
        });
        if let Some(next) = page.next {
            answer["NextToken"] = next.into();
        }
        Answer::json(200, answer.to_string())
    }

    /// Takes a token for an action that lists blocks.
    fn take_for_list(&self, action: &str, caller: &Caller) -> Result<(), Refused> {
        let rate = self.settings.quotas.list;
        let taken = self.take(&[self.account_bucket(caller, action, rate)]);
        taken.map_err(|_| Refused::throttled("ACCOUNT_THROTTLED"))
    }

    pub(super) fn list_blocks(
        &self,
        id: &str,
        parts: &Parts,
        caller: &Caller,
    ) -> Result<Answer, Refused> {
        self.take_for_list("ListSnapshotBlocks", caller)?;
        let snapshot = self.read(id, caller)?;
        let all: Vec<u32> = snapshot.blocks.all().into_keys().collect();
        let page = self.page(&format!("page {id}"), &query(parts), &all)?;
        let blocks = page
            .blocks
            .iter()
            .map(|block| json!({"BlockIndex": block, "BlockToken": self.block_token(id, *block)}))
            .collect();
        Ok(self.listed(&snapshot, "Blocks", blocks, page))
    }

    pub(super) fn changed_blocks(
        &self,
        id: &str,
        parts: &Parts,
        caller: &Caller,
    ) -> Result<Answer, Refused> {
        self.take_for_list("ListChangedBlocks", caller)?;
        let parameters = query(parts);
        let first = parameters
            .get("firstSnapshotId")
            .ok_or_else(|| parameter("firstSnapshotId is missing."))?;
        Call::check_id(first)?;
        let before = self.read(first, caller)?;
        let after = self.read(id, caller)?;
        if after.parent.as_ref() != Some(first) {
            let message = "The snapshots are not of the same lineage.";
            return Err(Refused::invalid("UNRELATED_SNAPSHOTS", message));
        }
        let (old, new) = (before.blocks.all(), after.blocks.all());
        let changed = new
            .iter()
            .filter(|(block, digest)| old.get(block) != Some(digest));
        let changed: Vec<u32> = changed.map(|(block, _)| *block).collect();
        let page = self.page(&format!("page {first} {id}"), &parameters, &changed)?;
        let blocks = page
            .blocks
            .iter()
            .map(|block| {
                let mut found =
                    json!({"BlockIndex": block, "SecondBlockToken": self.block_token(id, *block)});
                if old.contains_key(block) {
                    found["FirstBlockToken"] = self.block_token(first, *block).into();
                }
                found
            })
            .collect();
        Ok(self.listed(&after, "ChangedBlocks", blocks, page))
    }

    pub(super) fn get_block(
        &self,
        id: &str,
        block: &str,
        parts: &Parts,
        caller: &Caller,
    ) -> Result<Answer, Refused> {
        let quotas = &self.settings.quotas;
        let needs = [
            Need {
                name: format!("GetSnapshotBlock {id}"),
                rate: quotas.get_snapshot,
            },
            self.account_bucket(caller, "GetSnapshotBlock", quotas.get_account),
        ];
        self.take(&needs).map_err(throttled)?;
        let snapshot = self.read(id, caller)?;
        let block = index(block, &snapshot)?;
        let parameters = query(parts);
        let token = parameters.get("blockToken").map(String::as_str);
        let name = format!("block {id}");
        let said = tokens::read(&self.settings.secret_key, &name, token.unwrap_or_default());
        let found = match said {
            Some(said) if said == block => snapshot.blocks.get(block).map_err(|e| internal(&e))?,
            _ => None,
        };
        let (data, digest) = found.ok_or_else(|| {
            let message = "The block token is not valid, or has expired.";
            Refused::invalid("INVALID_BLOCK_TOKEN", message)
        })?;
        Ok(Answer::binary(Bytes::from(data))
            .with("x-amz-Data-Length", BLOCK.to_string())
            .with("x-amz-Checksum", BASE64.encode(&digest))
            .with("x-amz-Checksum-Algorithm", "SHA256".to_owned()))
    }
}
