//! Credentials that all clients share, and that can be forgotten when a service says that they have expired.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::identity::{
    IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The SDK's cache, which takes credentials for good until the moment that they name themselves; this one can be emptied earlier.
#[derive(Debug, Clone)]
pub(crate) struct RenewableCache(Arc<Mutex<Generation>>);

#[derive(Debug)]
struct Generation {
    number: u32,
    cache: SharedIdentityCache,
}

impl RenewableCache {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Generation {
            number: 0,
            cache: empty(),
        })))
    }

    /// How often it has been emptied.
    pub(crate) fn generation(&self) -> u32 {
        self.lock().number
    }

    /// Forgets the credentials of that generation. Several operations may find out the same at once: only the first changes anything.
    pub(crate) fn renew(&self, generation: u32) {
        let mut current = self.lock();
        if current.number == generation {
            current.number += 1;
            current.cache = empty();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty() -> SharedIdentityCache {
    IdentityCache::lazy().build()
}

impl ResolveCachedIdentity for RenewableCache {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let cache = self.lock().cache.clone();
        IdentityFuture::new(async move {
            cache
                .resolve_cached_identity(resolver, components, config)
                .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_who_finds_out_forgets() {
        let cache = RenewableCache::new();
        let seen = cache.generation();
        cache.renew(seen);
        cache.renew(seen);
        assert_eq!(cache.generation(), seen + 1);
    }
}
