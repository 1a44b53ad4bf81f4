//! A cache of credentials that all clients share, and that can be emptied when a service says that they have expired.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::identity::{
    IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The SDK's cache trusts credentials until their own expiry time; this one can be emptied earlier.
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

    /// How many times it has been emptied.
    pub(crate) fn generation(&self) -> u32 {
        self.lock().number
    }

    /// Forgets the credentials of that generation. If several operations find them expired at once, only the first call has an effect.
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
    fn credentials_of_one_generation_are_forgotten_once() {
        let cache = RenewableCache::new();
        let seen = cache.generation();
        cache.renew(seen);
        cache.renew(seen);
        assert_eq!(cache.generation(), seen + 1);
    }
}
