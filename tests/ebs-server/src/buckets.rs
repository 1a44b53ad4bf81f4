//! Token buckets: a rate, and what may come at once.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

/// All buckets, each by its name. They begin full.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<String, Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A bucket that a request needs a token of.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) name: String,
    /// Tokens a second; 0 is without limit.
    pub(crate) rate: f64,
}

impl Buckets {
    /// Takes a token of each, or none and gives the first that is empty.
    pub(crate) fn take(&self, needs: &[Need], burst: f64) -> Result<(), usize> {
        let now = Instant::now();
        let mut buckets = self.0.lock();
        for (place, need) in needs.iter().enumerate().filter(|(_, need)| need.rate > 0.0) {
            let most = (need.rate * burst).max(1.0);
            let bucket = buckets.entry(need.name.clone()).or_insert(Bucket {
                tokens: most,
                at: now,
            });
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            bucket.tokens = (bucket.tokens + since * need.rate).min(most);
            bucket.at = now;
            if bucket.tokens < 1.0 {
                return Err(place);
            }
        }
        for need in needs.iter().filter(|need| need.rate > 0.0) {
            if let Some(bucket) = buckets.get_mut(&need.name) {
                bucket.tokens -= 1.0;
            }
        }
        Ok(())
    }
}
