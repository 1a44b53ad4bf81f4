//! The connection to S3: credentials, where requests for a bucket are sent, and how they are signed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ami_aws::{Aws, DEFAULT_REGION, Identity, Partition};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::debug;

use crate::address::{BucketPath, Endpoint};
use crate::error::Error;
use crate::event::Event;
use crate::redirect::{Redirect, Route};
use crate::sigv2::Version2;

/// How many times an operation is tried if failures are retried, as in the older suite.
const MOST_TRIES: u32 = 5;

/// How long a transfer may stall.
const STALL: Duration = Duration::from_secs(20);

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    /// For old servers only.
    V2,
    /// What AWS requires.
    #[default]
    V4,
}

/// How to reach S3.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose credentials are used.
    pub identity: Identity,
    /// The region for the first request, if one was given.
    pub region: Option<String>,
    /// A server in place of AWS's.
    pub endpoint: Option<Endpoint>,
    /// How requests are signed.
    pub signature: Signature,
    /// Whether failed requests are retried.
    pub retry: bool,
    /// Whether whoever asks pays for requests, in buckets whose owner does not (S3 user guide, "Requester Pays").
    pub requester_pays: bool,
}

/// A connection to S3; cheap to clone.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    aws: Aws,
    start: Route,
    signature: Signature,
    tries: u32,
    requester_pays: bool,
    total: Arc<AtomicU64>,
    events: UnboundedSender<Event>,
}

impl Connection {
    /// Finds the credentials; sends nothing to S3 yet. Events arrive at the receiver.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn open(settings: &Settings) -> Result<(Self, UnboundedReceiver<Event>), Error> {
        let aws = Aws::open(&settings.identity).await?;
        let (url_region, server) = match &settings.endpoint {
            Some(Endpoint::Region(region)) => (Some(region.clone()), None),
            Some(Endpoint::Server(server)) => (None, Some(server.clone())),
            None => (None, None),
        };
        // In another partition, the default region does not know these credentials.
        let foreign = aws
            .region()
            .filter(|region| Partition::of(region) != Partition::Commercial)
            .map(str::to_owned);
        let region = settings.region.clone().or(url_region).or(foreign);
        let start = Route {
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            server,
        };
        debug!(region = start.region, server = start.server, "S3");
        let (events, receiver) = unbounded_channel();
        let connection = Self(Arc::new(Shared {
            aws,
            start,
            signature: settings.signature,
            tries: if settings.retry { MOST_TRIES } else { 1 },
            requester_pays: settings.requester_pays,
            total: Arc::default(),
            events,
        }));
        Ok((connection, receiver))
    }

    /// The number of bytes of files sent and received, without those of failed tries.
    pub fn bytes_moved(&self) -> Arc<AtomicU64> {
        self.0.total.clone()
    }

    /// Counts bytes that were transferred in another way.
    pub(crate) fn count(&self, bytes: u64) {
        let _ = self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The region of the first request, and of new buckets without a location.
    pub fn region(&self) -> &str {
        &self.0.start.region
    }

    /// The HTTP client for objects, which are streamed.
    pub(crate) fn objects(&self) -> SharedHttpClient {
        self.0.aws.http().objects.clone()
    }

    /// Whether every request says that whoever sends it pays.
    pub(crate) fn requester_pays(&self) -> bool {
        self.0.requester_pays
    }

    /// How many times an operation is tried.
    pub(crate) fn tries(&self) -> u32 {
        self.0.tries
    }

    /// Credentials and retries.
    pub(crate) fn aws(&self) -> &Aws {
        &self.0.aws
    }

    /// Sends an event to the receiver.
    pub(crate) fn tell(&self, event: Event) {
        // The receiver may have been dropped.
        let _ = self.0.events.send(event);
    }

    /// A bucket. Sends nothing.
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
            .http_client(self.0.aws.http().answers.clone())
            .identity_cache(self.0.aws.identity_cache())
            .region(Region::new(route.region.clone()))
            // Many servers know only Content-MD5, which is always sent.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .upload_enabled(true)
                    .download_enabled(true)
                    .grace_period(STALL)
                    .build(),
            );
        let _ = builder
            .set_credentials_provider(Some(self.0.aws.credentials()))
            .set_app_name(AppName::new(ami_aws::APP_NAME).ok());
        match &route.server {
            Some(server) => builder = builder.endpoint_url(server).force_path_style(true),
            None => {
                let kind = self.0.aws.endpoint_kind();
                builder = builder.use_fips(kind.fips).use_dual_stack(kind.dual_stack);
            }
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

/// Where requests for the bucket are sent. It changes when an answer redirects.
#[derive(Clone)]
pub(crate) struct RoutedClient {
    pub(crate) client: Client,
    route: Route,
    generation: u32,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({:?})", self.0.path)
    }
}

impl Bucket {
    /// The bucket's name, and the folder.
    pub fn path(&self) -> &BucketPath {
        &self.0.path
    }

    /// How many times an operation is tried.
    pub fn tries(&self) -> u32 {
        self.connection().tries()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Where requests for the bucket are sent at present.
    pub(crate) fn routed(&self) -> RoutedClient {
        self.0
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends requests to this region from now on. Has no effect if a server was given.
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

    /// If several operations are redirected at once, only the first call has an effect.
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

    /// Follows a redirect, for all further requests.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] if it leads to a host that must not get these credentials.
    pub(crate) fn follow(
        &self,
        operation: &str,
        routed: &RoutedClient,
        redirect: Redirect,
    ) -> Result<(), Error> {
        let route = redirect.route(&routed.route, &self.path().bucket);
        let route = route.map_err(|host| Error::Elsewhere {
            operation: operation.to_owned(),
            host,
            server: routed.route.server.clone(),
        })?;
        self.change(routed.generation, route);
        Ok(())
    }
}
