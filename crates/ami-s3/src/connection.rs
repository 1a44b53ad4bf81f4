//! The connection to S3: who asks, where, how it is signed, tried again and followed to other regions.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ami_aws::{Clients, DEFAULT_REGION, Identity, Partition};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::debug;

use crate::address::{BucketPath, Endpoint};
use crate::error::Error;
use crate::redirect::{Redirect, Route};
use crate::sigv2::Version2;
use crate::watch::{Event, Tries, Watch};

/// As in the older suite, with `--retry`.
const MOST_TRIES: u32 = 5;

/// A bucket that is nowhere is not looked for for ever.
const MOST_REDIRECTS: u32 = 5;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nothing may move in the middle of a transfer.
const STALL: Duration = Duration::from_secs(20);

/// How long an answer may take, besides the time that its bytes need.
const ANSWER: Duration = Duration::from_secs(30);

/// The slowest transfer (bytes a second) that is waited for.
const SLOWEST: u64 = 100_000;

/// Besides the tries: the waits between them, which the SDK makes 20 s at most.
const WAITS: Duration = Duration::from_secs(60);

const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Errors that may pass, which the SDK takes for final: somebody else changes the bucket; bytes were lost or changed on their way.
const PASSING: [&str; 3] = ["OperationAborted", "BadDigest", "IncompleteBody"];

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    /// For old servers only.
    V2,
    /// What AWS asks for.
    #[default]
    V4,
}

/// How to reach S3.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who asks.
    pub identity: Identity,
    /// The region to begin in, if one was given.
    pub region: Option<String>,
    /// A server in place of AWS's.
    pub endpoint: Option<Endpoint>,
    /// How requests are signed.
    pub signature: Signature,
    /// Whether what fails is tried again.
    pub retry: bool,
}

/// The connection that a command has; cheap to clone.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    http: Clients,
    provider: SharedCredentialsProvider,
    can_be_renewed: bool,
    start: Route,
    signature: Signature,
    tries: u32,
    total: Arc<AtomicU64>,
    events: UnboundedSender<Event>,
}

impl Connection {
    /// Finds the credentials and prepares to ask; nothing is sent to S3 yet. What happens on the way comes from the receiver.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn open(settings: &Settings) -> Result<(Self, UnboundedReceiver<Event>), Error> {
        let http = ami_aws::clients()?;
        let found = ami_aws::resolve(&settings.identity, &http.answers).await?;
        let (url_region, server) = match &settings.endpoint {
            Some(Endpoint::Region(region)) => (Some(region.clone()), None),
            Some(Endpoint::Server(server)) => (None, Some(server.clone())),
            None => (None, None),
        };
        // Elsewhere the default region does not know these credentials.
        let foreign = found
            .region
            .filter(|region| Partition::of(region) != Partition::Commercial);
        let region = settings.region.clone().or(url_region).or(foreign);
        let start = Route {
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            server,
        };
        debug!(region = start.region, server = start.server, "S3");
        let (events, receiver) = unbounded_channel();
        let connection = Self(Arc::new(Shared {
            http,
            provider: found.provider,
            can_be_renewed: found.can_be_renewed,
            start,
            signature: settings.signature,
            tries: if settings.retry { MOST_TRIES } else { 1 },
            total: Arc::default(),
            events,
        }));
        Ok((connection, receiver))
    }

    /// The number of bytes of files that have been sent and received, without those of failed tries.
    pub fn bytes_moved(&self) -> Arc<AtomicU64> {
        self.0.total.clone()
    }

    /// Counts bytes that have moved in another way.
    pub(crate) fn count(&self, bytes: u64) {
        let _ = self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The region where it begins, and where buckets are made that were not given a region.
    pub fn region(&self) -> &str {
        &self.0.start.region
    }

    /// The HTTP client for objects, which are taken piece by piece.
    pub(crate) fn objects(&self) -> SharedHttpClient {
        self.0.http.objects.clone()
    }

    /// How often something is tried.
    pub(crate) fn tries(&self) -> u32 {
        self.0.tries
    }

    /// Tells that something is tried again.
    pub(crate) fn tell_retry(&self, reason: String) {
        self.tell(Event::Retrying { reason });
    }

    fn tell(&self, event: Event) {
        // Where nobody listens, nobody wants to know.
        let _ = self.0.events.send(event);
    }

    /// A bucket to work with; nothing is sent.
    pub fn bucket(&self, path: BucketPath) -> Bucket {
        let route = self.0.start.clone();
        Bucket(Arc::new(BucketShared {
            client: Mutex::new(RoutedClient {
                client: self.client(&route),
                route,
                generation: 0,
            }),
            path,
            connection: self.clone(),
        }))
    }

    fn client(&self, route: &Route) -> Client {
        let mut builder = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.0.http.answers.clone())
            .credentials_provider(self.0.provider.clone())
            .region(Region::new(route.region.clone()))
            // Many servers know no checksum but Content-MD5, which is always sent.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .upload_enabled(true)
                    .download_enabled(true)
                    .grace_period(STALL)
                    .build(),
            );
        let _ = builder.set_app_name(AppName::new(ami_aws::APP_NAME).ok());
        if let Some(server) = &route.server {
            builder = builder.endpoint_url(server).force_path_style(true);
        }
        if self.0.signature == Signature::V2 {
            builder = builder.push_auth_scheme(Version2).force_path_style(true);
        }
        Client::from_conf(builder.build())
    }
}

/// A bucket, and the folder in it where a bundle is; cheap to clone.
#[derive(Clone)]
pub struct Bucket(Arc<BucketShared>);

struct BucketShared {
    path: BucketPath,
    connection: Connection,
    client: Mutex<RoutedClient>,
}

/// Where the bucket is asked for; it changes when an answer says so.
#[derive(Clone)]
struct RoutedClient {
    client: Client,
    route: Route,
    generation: u32,
}

/// One call of the SDK within an operation.
pub(crate) struct Attempt {
    pub(crate) client: Client,
    pub(crate) tries: Arc<Tries>,
    operation: String,
    left: u32,
    answer_time: Duration,
}

/// Why an attempt failed.
pub(crate) struct AttemptError {
    error: Error,
    /// The reason, if it is worth another try, which the SDK has not made itself.
    again: Option<String>,
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> Self {
        Self { error, again: None }
    }
}

impl AttemptError {
    pub(crate) fn of(error: Error, again: Option<String>) -> Self {
        Self { error, again }
    }

    pub(crate) fn told(&self) -> &Error {
        &self.error
    }

    /// Something that the SDK cannot see; worth another try.
    pub(crate) fn again(operation: &str, reason: String) -> Self {
        Self {
            error: Error::Content {
                operation: operation.to_owned(),
                reason: reason.clone(),
            },
            again: Some(reason),
        }
    }
}

impl Attempt {
    /// What this operation has of its own in the client's configuration.
    pub(crate) fn config(&self) -> Builder {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(self.answer_time)
            .build();
        Builder::new()
            .timeout_config(timeouts)
            .retry_config(RetryConfig::adaptive().with_max_attempts(self.left))
    }

    /// Watches an operation whose error is `E`.
    pub(crate) fn watch<E>(&self) -> Watch<E> {
        Watch {
            tries: self.tries.clone(),
            error: PhantomData,
        }
    }

    pub(crate) fn explain<E>(&self, error: SdkError<E, HttpResponse>) -> AttemptError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let error = Error::of(&self.operation, error.into());
        let again = match &error {
            Error::Service {
                code,
                status,
                message,
                ..
            } if PASSING.contains(&code.as_str()) => {
                Some(format!("Server.{code}({status}): {message}"))
            }
            _ => None,
        };
        AttemptError { error, again }
    }

    pub(crate) fn operation(&self) -> &str {
        &self.operation
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({:?})", self.0.path)
    }
}

impl Bucket {
    /// Its name, and the folder.
    pub fn path(&self) -> &BucketPath {
        &self.0.path
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    fn routed(&self) -> RoutedClient {
        self.0
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks in this region from now on; on a server that was given, this changes nothing.
    pub(crate) fn go_to(&self, region: &str) {
        let routed = self.routed();
        if routed.route.server.is_none() && routed.route.region != region {
            let route = Route {
                region: region.to_owned(),
                server: None,
            };
            self.change(routed.generation, route);
        }
    }

    /// Several operations may find out the same at once: only the first changes anything.
    fn change(&self, generation: u32, route: Route) {
        let client = self.0.connection.client(&route);
        let mut routed = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
        if routed.generation == generation {
            debug!(region = route.region, server = route.server, "S3");
            *routed = RoutedClient {
                client,
                route,
                generation: generation + 1,
            };
        }
    }

    fn follow(
        &self,
        operation: &str,
        routed: &RoutedClient,
        redirect: Redirect,
    ) -> Result<(), Error> {
        let route = redirect.route(&routed.route, &self.path().bucket);
        let route = route.map_err(|elsewhere| Error::Network {
            operation: operation.to_owned(),
            reason: format!(
                "the answer leads to {elsewhere}, which is not part of {}",
                routed.route.server.as_deref().unwrap_or("S3 there")
            ),
            hint: "; credentials are sent there only if --url or --region names it",
        })?;
        self.change(routed.generation, route);
        Ok(())
    }

    /// Performs one operation: up to five tries with `--retry`, to wherever the bucket turns out to be, within one deadline.
    ///
    /// `operation` begins the error's line. `size` (bytes) is what it has to send or receive.
    pub(crate) async fn perform<T, F>(
        &self,
        operation: &str,
        size: u64,
        try_once: impl Fn(Attempt) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        let connection = &self.0.connection.0;
        // Rounded, because connections are shared only among requests with the same time-outs.
        let answer_time =
            ANSWER + Duration::from_secs((size / SLOWEST).checked_next_power_of_two().unwrap_or(0));
        let deadline = answer_time * connection.tries + WAITS;
        let tries = Tries::new(
            operation,
            connection.total.clone(),
            connection.events.clone(),
        );
        let (mut redirects, mut renewed) = (0, false);
        let work = async {
            loop {
                let routed = self.routed();
                let attempt = Attempt {
                    client: routed.client.clone(),
                    tries: tries.clone(),
                    operation: operation.to_owned(),
                    left: connection.tries.saturating_sub(tries.made()).max(1),
                    answer_time,
                };
                let failed = match try_once(attempt).await {
                    Ok(value) => return Ok(value),
                    Err(failed) => failed,
                };
                if let Some(redirect) = tries.redirect()
                    && redirects < MOST_REDIRECTS
                {
                    redirects += 1;
                    self.follow(operation, &routed, redirect)?;
                    continue;
                }
                let is_expired =
                    matches!(&failed.error, Error::Service { code, .. } if code == "ExpiredToken");
                if is_expired && connection.can_be_renewed && !renewed {
                    debug!("the credentials have expired: asking for new ones");
                    renewed = true;
                    tries.forget_last();
                    // A new client has an empty cache of credentials.
                    self.change(routed.generation, routed.route.clone());
                    continue;
                }
                match failed.again {
                    Some(reason) if tries.made() < connection.tries => {
                        tries.failed(reason);
                        let doublings = tries.made().saturating_sub(1);
                        tokio::time::sleep(FIRST_WAIT * 2u32.saturating_pow(doublings)).await;
                    }
                    _ => return Err(failed.error),
                }
            }
        };
        let result = tokio::time::timeout(deadline, work).await;
        result.unwrap_or_else(|_| {
            Err(Error::Network {
                operation: operation.to_owned(),
                reason: format!("not done within {} s", deadline.as_secs()),
                hint: "; check the network",
            })
        })
    }
}
