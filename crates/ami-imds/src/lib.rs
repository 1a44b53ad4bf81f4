//! What EC2's instance metadata service says about this instance, as far as a bundle's manifest inherits it.
//!
//! The client is the AWS SDK's (IMDSv2, endpoint override, time-outs); below it, `fallback.rs` speaks IMDSv1 where version 2 is not
//! available. This is a crate of its own because the SDK takes long to compile.
//!
//! - [`InstanceMetadata::read`]: what a manifest inherits. [`region()`]: where the instance is.
//! - [`http_client()`]: for other clients of the service; [`refusal()`] finds the status in their errors.
//! - [`start()`]: starts a tokio runtime without panics, for callers that wait for a service.

mod fallback;
mod start;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ami_http::Limited;
use aws_config::imds::client::Client;
use aws_config::imds::client::error::{ImdsError, TokenError};
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use tracing::debug;

use crate::fallback::Fallback;

pub use crate::start::start;

/// EC2 user guide, "Instance metadata categories".
const ROOT: &str = "/latest/meta-data/";

/// The most bytes of an item. The longest are the credentials of a role, some thousand.
const MOST: u64 = 64 << 10;

/// How long all items together may take: the service is on the same machine.
const LONGEST: Duration = Duration::from_secs(60);

/// How often the interruption flag is checked.
const TICK: Duration = Duration::from_millis(50);

/// What images made on an instance inherit from its own image and its launch. `None`: the service does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceMetadata {
    /// The image that the instance was started from.
    pub ami_id: Option<String>,
    /// The images that this image was made from, oldest first.
    pub ancestor_ami_ids: Option<Vec<String>>,
    /// The kernel's ID.
    pub kernel_id: Option<String>,
    /// The RAM disk's ID.
    pub ramdisk_id: Option<String>,
    /// Product codes.
    pub product_codes: Option<Vec<String>>,
    /// The region that it runs in.
    pub region: Option<String>,
    /// Virtual names and devices; EBS volumes, which are not part of a bundle, are left out.
    pub block_device_mapping: Option<BTreeMap<String, String>>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This is no instance, or its metadata is switched off.
    #[error("the instance metadata service cannot be reached: {reason}")]
    Unreachable {
        /// The innermost reason.
        reason: String,
    },
    /// It answers, but refuses the request.
    #[error("the instance metadata service answers with status {0}")]
    Refused(u16),
    /// It takes too long to answer.
    #[error("the instance metadata service takes more than {} s", .0.as_secs())]
    Slow(Duration),
    /// The command was interrupted meanwhile.
    #[error("interrupted")]
    Interrupted,
    /// The network cannot be used at all, for example because the system refuses sockets.
    #[error("cannot use the network")]
    Network(#[source] std::io::Error),
}

impl InstanceMetadata {
    /// Asks the service, at its usual address or where `AWS_EC2_METADATA_SERVICE_ENDPOINT` or the SDK's profile says.
    ///
    /// # Errors
    /// [`Error::Unreachable`] within a few seconds if there is no such service; [`Error::Interrupted`] soon after `interrupted` is set;
    /// the others.
    pub fn read(interrupted: &AtomicBool) -> Result<Self, Error> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = start(|| builder.enable_all().build()).map_err(Error::Network)?;
        runtime.block_on(async {
            let mut reading = pin!(tokio::time::timeout(LONGEST, read_all()));
            loop {
                match tokio::time::timeout(TICK, &mut reading).await {
                    Ok(read) => return read.unwrap_or(Err(Error::Slow(LONGEST))),
                    Err(_) if interrupted.load(Ordering::Relaxed) => {
                        return Err(Error::Interrupted);
                    }
                    Err(_) => {}
                }
            }
        })
    }
}

/// An HTTP client for metadata only: it uses no proxy, and version 1 where version 2 is not available.
pub fn http_client() -> SharedHttpClient {
    let client = aws_smithy_http_client::Builder::new().build_http();
    SharedHttpClient::new(Fallback::new(Limited::answers(client, MOST)))
}

/// The status of the service's refusal, if that is what caused `error`. The SDK's own text would show the whole answer or, if a token was
/// refused, what that answer lacks.
pub fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<u16> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        let answer = match error.downcast_ref() {
            Some(ImdsError::ErrorResponse(refused)) => Some(refused.response()),
            _ => error
                .downcast_ref()
                .and_then(SdkError::<TokenError, HttpResponse>::raw_response),
        };
        let status = answer?.status();
        (!status.is_success()).then_some(status.as_u16())
    })
}

/// The region that this instance is in; `None` if its service does not say.
///
/// # Errors
/// [`Error::Unreachable`] within a few seconds where there is no such service.
pub async fn region() -> Result<Option<String>, Error> {
    region_by(&client()).await
}

async fn region_by(client: &Client) -> Result<Option<String>, Error> {
    if let Some(region) = get(client, "placement/region").await? {
        return Ok(Some(region));
    }
    // Older services know only the zone, which is the region and a letter.
    let zone = get(client, "placement/availability-zone").await?;
    Ok(zone.map(|zone| {
        zone.trim_end_matches(|c: char| c.is_ascii_lowercase())
            .to_owned()
    }))
}

fn client() -> Client {
    let configuration = ProviderConfig::default().with_http_client(http_client());
    Client::builder().configure(&configuration).build()
}

async fn read_all() -> Result<InstanceMetadata, Error> {
    let client = client();
    let _ = get(&client, "").await?;
    Ok(InstanceMetadata {
        ancestor_ami_ids: lines(get(&client, "ancestor-ami-ids").await?),
        ami_id: get(&client, "ami-id").await?,
        kernel_id: get(&client, "kernel-id").await?,
        ramdisk_id: get(&client, "ramdisk-id").await?,
        product_codes: lines(get(&client, "product-codes").await?),
        region: region_by(&client).await?,
        block_device_mapping: mapping(&client).await?,
    })
}

async fn mapping(client: &Client) -> Result<Option<BTreeMap<String, String>>, Error> {
    let Some(names) = lines(get(client, "block-device-mapping/").await?) else {
        return Ok(None);
    };
    let mut mapping = BTreeMap::new();
    for name in names.into_iter().filter(|name| !name.starts_with("ebs")) {
        if let Some(device) = get(client, &format!("block-device-mapping/{name}")).await? {
            let _ = mapping.insert(name, device);
        }
    }
    Ok(Some(mapping))
}

/// An item's text, trimmed; `None` if there is no such item or it is empty.
async fn get(client: &Client, item: &str) -> Result<Option<String>, Error> {
    match client.get(format!("{ROOT}{item}")).await {
        Ok(text) => {
            let text = text.as_ref().trim();
            Ok((!text.is_empty()).then(|| text.to_owned()))
        }
        Err(ImdsError::ErrorResponse(answer)) if !item.is_empty() => {
            debug!(
                item,
                status = answer.response().status().as_u16(),
                "no such metadata"
            );
            Ok(None)
        }
        Err(error) => Err(match refusal(&error) {
            Some(status) => Error::Refused(status),
            None => Error::Unreachable {
                reason: root_cause(&error),
            },
        }),
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn lines(text: Option<String>) -> Option<Vec<String>> {
    Some(
        text?
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect(),
    )
}
