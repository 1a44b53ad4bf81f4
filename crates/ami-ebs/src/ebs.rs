//! The client of the EBS direct APIs in one region: each operation as one function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ami_aws::{Aws, Ended, Policy, RequestError, Verdict};
use ami_pool::{Buffer, Buffers};
use aws_sdk_ebs::Client;
use aws_sdk_ebs::config::retry::RetryConfig;
use aws_sdk_ebs::config::{
    AppName, BehaviorVersion, Builder, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm, Tag};
use tracing::debug;

use crate::block::{self, BLOCK, BLOCK_SIZE, Block, Digest};
use crate::controller::Outcome;
use crate::error::Error;
use crate::gate::Gate;
use crate::journal::is_id;
use crate::request::Refusal;
use crate::token::Parameters;

/// How an operation is tried that carries no block: so often if EBS throttles, which begins 10 or 50 of them in a second.
const FEW: Policy = Policy {
    tries: 12,
    attempt: Duration::from_secs(30),
    total: Duration::from_secs(600),
    first_wait: Duration::from_millis(200),
    longest_wait: Duration::from_secs(20),
};

/// How often it is tried if something else is in the way.
const FEW_TRIES: u32 = 6;

/// The same of a block, whose tries have deadlines of their own: its end is the total deadline.
const BLOCKS: Policy = Policy {
    tries: 60,
    attempt: Duration::from_secs(60),
    total: Duration::from_secs(900),
    first_wait: Duration::from_millis(200),
    longest_wait: Duration::from_secs(10),
};

/// How many blocks a page of a list may have: with the longest tokens it stays below what is read of an answer.
const PAGE: i32 = 5000;

/// The longest token that is believed. Those of EBS have some hundred bytes.
const LONGEST_TOKEN: usize = 1024;

/// EBS in one region; cheap to clone.
#[derive(Clone)]
pub struct Ebs(Arc<Shared>);

struct Shared {
    aws: Aws,
    /// Answers are read as a whole, and limited.
    answers: Client,
    /// Blocks are taken piece by piece: any bytes may be in them.
    blocks: Client,
    region: String,
}

impl std::fmt::Debug for Ebs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ebs({})", self.0.region)
    }
}

/// A snapshot that was started, now or earlier with the same token.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its ID.
    pub(crate) snapshot: String,
    /// When, by EBS's clock: seconds since 1970.
    pub(crate) begun: Option<u64>,
}

/// Some blocks of a snapshot.
#[derive(Debug)]
pub(crate) struct Page {
    /// In the order of their indices, with the tokens by which they are read.
    pub(crate) blocks: Vec<(u64, String)>,
    /// The volume's size in GiB.
    pub(crate) volume_size: u64,
    /// By this the next page is asked for.
    pub(crate) next: Option<String>,
}

/// Where a page of a list begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// With the first block that is not before this one.
    Index(u64),
    /// Where an earlier page ended.
    Token(String),
}

impl Ebs {
    /// The client of a region. `server` is asked in place of AWS's; without one, what the environment and the profile name
    /// ([`Aws::endpoint`]).
    pub fn new(aws: &Aws, region: &str, server: Option<&str>) -> Self {
        let configured = || aws.endpoint("EBS").map(|endpoint| endpoint.url);
        let server = server.map(str::to_owned).or_else(configured);
        debug!(region, server, "EBS");
        let http = aws.http();
        Self(Arc::new(Shared {
            answers: client(aws, region, server.as_deref(), http.answers.clone()),
            blocks: client(aws, region, server.as_deref(), http.objects.clone()),
            aws: aws.clone(),
            region: region.to_owned(),
        }))
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Performs an operation that carries no block. `is_new`: the snapshot may not be known everywhere yet.
    async fn perform<T, F>(
        &self,
        operation: &str,
        retries: &AtomicU64,
        is_new: impl Fn() -> bool,
        try_once: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let (is_new, try_once) = (&is_new, &try_once);
        let attempt = |tries| async move {
            let tried = try_once().await;
            tried.map_err(|refusal| {
                let mut failed = refusal.failed(operation, tries, is_new());
                let is_waited_out = is_new() || failed.error.is_throttling();
                if tries >= FEW_TRIES && !is_waited_out {
                    failed.verdict = Verdict::Permanent;
                }
                failed
            })
        };
        let performing = self
            .0
            .aws
            .perform(&FEW, attempt, note_retry(operation, retries));
        Box::pin(performing)
            .await
            .map_err(|ended| explain(ended, operation))
    }

    /// Performs an operation on a block when it is its turn.
    async fn perform_block<T, F>(
        &self,
        operation: &str,
        gate: &Gate,
        retries: &AtomicU64,
        is_new: impl Fn() -> bool,
        try_once: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let (is_new, try_once) = (&is_new, &try_once);
        let attempt = |tries| async move {
            let pass = gate.pass(tries).await;
            let tried = tokio::time::timeout(pass.deadline, try_once()).await;
            let tried = tried.unwrap_or_else(|_| Err(Refusal::late()));
            pass.end(match &tried {
                Ok(_) => Outcome::Done,
                Err(refusal) => refusal.outcome(),
            });
            tried.map_err(|refusal| refusal.failed(operation, tries, is_new()))
        };
        let performing = self
            .0
            .aws
            .perform(&BLOCKS, attempt, note_retry(operation, retries));
        Box::pin(performing)
            .await
            .map_err(|ended| explain(ended, operation))
    }

    /// Starts a snapshot, or finds the one that was started with this token.
    pub(crate) async fn start_snapshot(
        &self,
        parameters: &Parameters,
        token: &str,
        retries: &AtomicU64,
    ) -> Result<Started, Error> {
        let operation = "StartSnapshot";
        let size = i64::try_from(parameters.volume_size).unwrap_or(i64::MAX);
        let tag = |(key, value): &(String, String)| Tag::builder().key(key).value(value).build();
        let tags: Vec<Tag> = parameters.tags.iter().map(tag).collect();
        let request = self
            .0
            .answers
            .start_snapshot()
            .volume_size(size)
            .client_token(token)
            .set_tags((!tags.is_empty()).then_some(tags))
            .set_description(parameters.description.clone())
            .set_encrypted(parameters.encrypted)
            .set_kms_key_arn(parameters.kms_key_arn.clone())
            .set_timeout(
                parameters
                    .timeout
                    .and_then(|minutes| i32::try_from(minutes).ok()),
            );
        let send = || async { Ok(request.clone().send().await?) };
        let answer = self.perform(operation, retries, || false, send).await?;
        let wrong = |what: &str| Error::Answer {
            operation: operation.to_owned(),
            reason: format!("the answer has {what}"),
        };
        if answer
            .block_size()
            .is_some_and(|size| u64::try_from(size) != Ok(BLOCK_SIZE))
        {
            return Err(wrong("blocks of another size than 524288 bytes"));
        }
        if answer.volume_size().is_some_and(|found| found != size) {
            return Err(wrong("a volume of another size"));
        }
        let begun = answer.start_time.map(|time| time.secs());
        let snapshot = answer.snapshot_id.filter(|id| is_id(id));
        Ok(Started {
            snapshot: snapshot.ok_or_else(|| wrong("no snapshot's ID"))?,
            begun: begun.and_then(|seconds| u64::try_from(seconds).ok()),
        })
    }

    /// Writes a block.
    pub(crate) async fn put_block(
        &self,
        snapshot: &str,
        block: &Block,
        gate: &Gate,
        retries: &AtomicU64,
        is_new: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let (index, data) = (block.index, &block.data);
        let operation = format!("PutSnapshotBlock of {snapshot}, block {index}");
        let (number, checksum) = (number(index, &operation)?, block::base64(&block.digest));
        let checksum = checksum.as_str();
        let send = || async move {
            let request = self
                .0
                .answers
                .put_snapshot_block()
                .snapshot_id(snapshot)
                .block_index(number)
                .data_length(BLOCK as i32)
                .checksum(checksum)
                .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                .block_data(ByteStream::from(data.clone()));
            let answer = request.send().await?;
            match answer.checksum() {
                Some(found) if found != checksum => Err(Refusal::Answer(
                    "EBS has another checksum than the block".to_owned(),
                )),
                _ => Ok(()),
            }
        };
        self.perform_block(&operation, gate, retries, is_new, send)
            .await
    }

    /// Says that so many blocks were written, whose digests have this digest.
    pub(crate) async fn complete_snapshot(
        &self,
        snapshot: &str,
        count: u64,
        digest: &Digest,
        retries: &AtomicU64,
        is_new: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let operation = format!("CompleteSnapshot of {snapshot}");
        let request = self
            .0
            .answers
            .complete_snapshot()
            .snapshot_id(snapshot)
            .changed_blocks_count(number(count, &operation)?)
            .checksum(block::base64(digest))
            .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
            .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear);
        let send = || async {
            let _ = request.clone().send().await?;
            Ok(())
        };
        self.perform(&operation, retries, is_new, send).await
    }

    /// A page of the list of a snapshot's blocks. Its blocks are in order and in the volume.
    pub(crate) async fn list_blocks(
        &self,
        snapshot: &str,
        from: &From,
        retries: &AtomicU64,
    ) -> Result<Page, Error> {
        let operation = format!("ListSnapshotBlocks of {snapshot}");
        let request = self
            .0
            .answers
            .list_snapshot_blocks()
            .snapshot_id(snapshot)
            .max_results(PAGE);
        let request = match from {
            From::Index(index) => request.starting_block_index(number(*index, &operation)?),
            From::Token(token) => request.next_token(token),
        };
        let send = || async { Ok(request.clone().send().await?) };
        let answer = self.perform(&operation, retries, || false, send).await?;
        let wrong = |reason: &str| Error::Answer {
            operation: operation.clone(),
            reason: reason.to_owned(),
        };
        if answer
            .block_size()
            .and_then(|size| u64::try_from(size).ok())
            != Some(BLOCK_SIZE)
        {
            return Err(wrong(
                "the answer has blocks of another size than 524288 bytes",
            ));
        }
        let volume_size = answer
            .volume_size()
            .and_then(|size| u64::try_from(size).ok());
        let most = volume_size.and_then(block::blocks_of);
        let (Some(volume_size), Some(most)) = (volume_size, most) else {
            return Err(wrong("the answer has no size that a volume can have"));
        };
        let mut blocks: Vec<(u64, String)> = Vec::with_capacity(answer.blocks().len());
        for block in answer.blocks.unwrap_or_default() {
            let index = block
                .block_index
                .and_then(|index| u64::try_from(index).ok());
            let token = block.block_token;
            let token = token.filter(|token| (1..=LONGEST_TOKEN).contains(&token.len()));
            let (Some(index), Some(token)) = (index, token) else {
                return Err(wrong("a block has no index or no token"));
            };
            let after = blocks.last().map(|(last, _)| *last);
            if index >= most || after.is_some_and(|last| index <= last) {
                return Err(wrong("the blocks are not in order, or not in the volume"));
            }
            blocks.push((index, token));
        }
        let next = answer.next_token.filter(|token| !token.is_empty());
        Ok(Page {
            blocks,
            volume_size,
            next,
        })
    }

    /// Reads a block, and checks it.
    pub(crate) async fn get_block(
        &self,
        snapshot: &str,
        index: u64,
        token: &str,
        gate: &Gate,
        buffers: &Buffers,
        retries: &AtomicU64,
    ) -> Result<(Buffer, Digest), Error> {
        let operation = format!("GetSnapshotBlock of {snapshot}, block {index}");
        let number = number(index, &operation)?;
        let send = || async move {
            let request = self
                .0
                .blocks
                .get_snapshot_block()
                .snapshot_id(snapshot)
                .block_index(number)
                .block_token(token);
            let answer = request.send().await?;
            let wrong = |reason: &str| Refusal::Answer(reason.to_owned());
            if answer.data_length() != Some(BLOCK as i32) {
                return Err(wrong("the block has another length than 524288 bytes"));
            }
            if answer.checksum_algorithm() != Some(&ChecksumAlgorithm::ChecksumAlgorithmSha256) {
                return Err(wrong("the block has no SHA-256"));
            }
            let expected = answer.checksum().and_then(block::from_base64);
            let expected = expected.ok_or_else(|| wrong("the block has no SHA-256"))?;
            let mut buffer = buffers.filled(BLOCK);
            receive(answer.block_data, &mut buffer).await?;
            let digest = block::digest(buffer.as_ref());
            if digest != expected {
                return Err(wrong("the block's SHA-256 is another than EBS says"));
            }
            Ok((buffer, digest))
        };
        self.perform_block(&operation, gate, retries, || false, send)
            .await
    }
}

/// Fills the block with exactly what comes.
async fn receive(mut body: ByteStream, block: &mut [u8]) -> Result<(), Refusal> {
    let mut received = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| {
            let reason = ami_aws::root_cause(&error);
            Refusal::Request {
                error: RequestError::Lost(format!(
                    "the block broke off after {received} bytes ({reason})"
                )),
                reason: None,
            }
        })?;
        let place = block.get_mut(received..received + piece.len());
        let place = place
            .ok_or_else(|| Refusal::Answer("the block has more than 524288 bytes".to_owned()))?;
        place.copy_from_slice(&piece);
        received += piece.len();
    }
    match received == block.len() {
        true => Ok(()),
        false => Err(Refusal::Answer(format!("{received} bytes of a block came"))),
    }
}

/// A number as the API has it.
fn number(number: u64, operation: &str) -> Result<i32, Error> {
    i32::try_from(number).map_err(|_| Error::Answer {
        operation: operation.to_owned(),
        reason: format!("{number} is more than the API can say"),
    })
}

fn note_retry<'a>(operation: &'a str, retries: &'a AtomicU64) -> impl Fn(&Error, Duration) + 'a {
    move |error, wait| {
        debug!(operation, %error, ?wait, "tried again");
        let _ = retries.fetch_add(1, Ordering::Relaxed);
    }
}

fn explain(ended: Ended<Error>, operation: &str) -> Error {
    match ended {
        Ended::Failed(error) => error,
        Ended::Late(total) => Error::Request {
            operation: operation.to_owned(),
            reason: None,
            error: RequestError::Deadline(total),
        },
    }
}

fn client(aws: &Aws, region: &str, server: Option<&str>, http: SharedHttpClient) -> Client {
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .identity_cache(aws.identity_cache())
        .region(Region::new(region.to_owned()))
        // Where EBS throttles, the gate keeps to its rate.
        .retry_config(RetryConfig::disabled())
        .timeout_config(BLOCKS.timeouts())
        // Each try has a deadline.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let _ = builder
        .set_credentials_provider(Some(aws.credentials()))
        .set_app_name(AppName::new(ami_aws::APP_NAME).ok());
    match server {
        Some(server) => builder = builder.endpoint_url(server),
        None => {
            let kind = aws.endpoint_kind();
            builder = builder.use_fips(kind.fips).use_dual_stack(kind.dual_stack);
        }
    }
    Client::from_conf(builder.build())
}
