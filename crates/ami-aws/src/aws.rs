//! What the clients of all services share.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::identity::SharedIdentityCache;

use crate::credentials::{Identity, Resolved, resolve};
use crate::endpoint::{ConfiguredEndpoint, EndpointKind, EndpointSettings};
use crate::error::Error;
use crate::http::{Clients, clients};
use crate::identity_cache::RenewableCache;
use crate::retry::{Ended, Failed, Policy, retry};

/// Credentials, HTTP, endpoints and retries for all services; cheap to clone.
#[derive(Clone)]
pub struct Aws(Arc<Shared>);

struct Shared {
    http: Clients,
    credentials: Resolved,
    cache: RenewableCache,
    endpoints: EndpointSettings,
}

impl Aws {
    /// Finds the credentials. Sends no other requests.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(identity: &Identity) -> Result<Self, Error> {
        let http = clients()?;
        let credentials = resolve(identity, &http.answers).await?;
        Ok(Self(Arc::new(Shared {
            http,
            credentials,
            cache: RenewableCache::new(),
            endpoints: EndpointSettings::load(identity.profile()),
        })))
    }

    /// The HTTP clients.
    pub fn http(&self) -> &Clients {
        &self.0.http
    }

    /// The credentials.
    pub fn credentials(&self) -> SharedCredentialsProvider {
        self.0.credentials.provider.clone()
    }

    /// The cache of the credentials, which all clients share, so that credentials are fetched once.
    pub fn identity_cache(&self) -> SharedIdentityCache {
        SharedIdentityCache::new(self.0.cache.clone())
    }

    /// The region configured where the credentials were found.
    pub fn region(&self) -> Option<&str> {
        self.0.credentials.region.as_deref()
    }

    /// The server configured in place of AWS's for a service (`S3`, `EC2`).
    pub fn endpoint(&self, service: &str) -> Option<ConfiguredEndpoint> {
        self.0.endpoints.url(service)
    }

    /// Which of AWS's own endpoints are used.
    pub fn endpoint_kind(&self) -> EndpointKind {
        self.0.endpoints.kind()
    }

    /// Performs an operation: calls `attempt` with the number of the try, from 1, until it succeeds, or the policy or a verdict ends it.
    /// Expired credentials of a role are renewed. Before each further try, `retrying` is called with the error of the last one and the
    /// length of the wait.
    ///
    /// Dropping the future ends it at once, even during a wait.
    ///
    /// # Errors
    /// That of the last try, or that all tries together took too long.
    pub async fn perform<T, E, F>(
        &self,
        policy: &Policy,
        attempt: impl Fn(u32) -> F,
        retrying: impl Fn(&E, Duration),
    ) -> Result<T, Ended<E>>
    where
        F: Future<Output = Result<T, Failed<E>>>,
    {
        let can_be_renewed = self.0.credentials.can_be_renewed;
        let cache = can_be_renewed.then_some(&self.0.cache);
        retry(policy, cache, attempt, retrying).await
    }
}
