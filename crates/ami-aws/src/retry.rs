//! Retries. This is the only place that retries; the SDK's clients try once.

use std::time::Duration;

use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tracing::debug;

use crate::identity_cache::RenewableCache;
use crate::verdict::Verdict;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How often an operation may be repeated without counting as a try.
const MOST_RESOLVED: u32 = 10;

/// How often an operation is tried, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many tries there are, at least one.
    pub tries: u32,
    /// How long a try may wait for its answer to begin.
    pub attempt: Duration,
    /// How long all tries and the waits between them may take.
    pub total: Duration,
    /// The longest wait before the second try. It doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait before any try.
    pub longest_wait: Duration,
}

impl Policy {
    /// The time-outs of a try, for a client of the SDK.
    pub fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(self.attempt)
            .build()
    }

    /// The retry settings for clients of the SDK: one try, and when the service throttles, the rate that it accepts (adaptive mode).
    pub fn of_sdk() -> RetryConfig {
        RetryConfig::adaptive().with_max_attempts(1)
    }

    /// The wait after this many tries. `part` is a random number from 0 to 1, so that clients that failed together do not retry together
    /// (AWS architecture blog, "Exponential backoff and jitter": full jitter). A wait that the service asks for is respected.
    fn wait(&self, tries: u32, part: f64, asked: Option<Duration>) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        let longest = self.first_wait.saturating_mul(1 << doublings);
        asked
            .unwrap_or_else(|| longest.min(self.longest_wait).mul_f64(part))
            .min(self.longest_wait)
    }
}

/// A try that has failed.
#[derive(Debug)]
pub struct Failed<E> {
    /// Its error, which the caller gets if this was the last try.
    pub error: E,
    /// What it means for the next try.
    pub verdict: Verdict,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
}

/// Why an operation ended without success.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<E> {
    /// The last try failed.
    Failed(E),
    /// All tries together took longer than this.
    Late(Duration),
}

/// Performs an operation: calls `attempt` with the number of the try, from 1, until it succeeds, or `policy` or a verdict ends it.
/// Before each further try, `retrying` is called with the error of the last one and the length of the wait.
///
/// Dropping the future ends it at once, even during a wait.
pub(crate) async fn retry<T, E, F>(
    policy: &Policy,
    credentials: Option<&RenewableCache>,
    attempt: impl Fn(u32) -> F,
    retrying: impl Fn(&E, Duration),
) -> Result<T, Ended<E>>
where
    F: Future<Output = Result<T, Failed<E>>>,
{
    let work = async {
        let (mut tries, mut resolved, mut renewed) = (1, 0, false);
        loop {
            let generation = credentials.map(RenewableCache::generation);
            let failed = match attempt(tries).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            match failed.verdict {
                Verdict::Resolved if resolved < MOST_RESOLVED => resolved += 1,
                Verdict::Expired if !renewed => match (credentials, generation) {
                    (Some(credentials), Some(generation)) => {
                        debug!("the credentials have expired: renewing them");
                        renewed = true;
                        credentials.renew(generation);
                    }
                    _ => return Err(Ended::Failed(failed.error)),
                },
                Verdict::Transient | Verdict::NotDone if tries < policy.tries => {
                    let wait = policy.wait(tries, fastrand::f64(), failed.retry_after);
                    debug!(?wait, "trying again");
                    tokio::time::sleep(wait).await;
                    retrying(&failed.error, wait);
                    tries += 1;
                }
                _ => return Err(Ended::Failed(failed.error)),
            }
        }
    };
    let done = tokio::time::timeout(policy.total, work).await;
    done.unwrap_or(Err(Ended::Late(policy.total)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    const POLICY: Policy = Policy {
        tries: 5,
        attempt: Duration::from_secs(30),
        total: Duration::from_secs(100),
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(20),
    };

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(work)
    }

    fn failed(verdict: Verdict) -> Failed<Verdict> {
        Failed {
            error: verdict,
            verdict,
            retry_after: None,
        }
    }

    /// Fails with these verdicts, then succeeds, without waits. Returns the result, the numbers of the tries, and how many retries were
    /// announced.
    fn play(
        policy: &Policy,
        cache: Option<&RenewableCache>,
        verdicts: &[Verdict],
    ) -> (Result<(), Ended<Verdict>>, Vec<u32>, usize) {
        let (calls, told) = (RefCell::new(Vec::new()), Cell::new(0));
        let attempt = |number| {
            let index = calls.borrow().len();
            calls.borrow_mut().push(number);
            let failure = verdicts.get(index).copied().map(failed);
            async move { failure.map_or(Ok(()), Err) }
        };
        let policy = Policy {
            longest_wait: Duration::ZERO,
            ..*policy
        };
        let result = run(retry(&policy, cache, attempt, |_, _| {
            told.set(told.get() + 1);
        }));
        (result, calls.into_inner(), told.get())
    }

    #[test]
    fn what_may_pass_is_tried_five_times() {
        use Verdict::{NotDone, Transient};
        let (result, calls, told) = play(&POLICY, None, &[Transient, NotDone, Transient, NotDone]);
        assert_eq!((result, told), (Ok(()), 4));
        assert_eq!(calls, [1, 2, 3, 4, 5]);
        let (result, calls, told) = play(&POLICY, None, &[Transient; 9]);
        assert_eq!((result, told), (Err(Ended::Failed(Transient)), 4));
        assert_eq!(calls.len(), 5);
        let once = Policy { tries: 1, ..POLICY };
        let (result, calls, told) = play(&once, None, &[Transient; 9]);
        assert_eq!((result, told), (Err(Ended::Failed(Transient)), 0));
        assert_eq!(calls, [1]);
    }

    #[test]
    fn what_is_permanent_is_tried_once() {
        let (result, calls, told) = play(&POLICY, None, &[Verdict::Permanent]);
        let expected = Err(Ended::Failed(Verdict::Permanent));
        assert_eq!((result, calls, told), (expected, vec![1], 0));
    }

    #[test]
    fn what_is_resolved_is_no_try_and_has_an_end() {
        let once = Policy { tries: 1, ..POLICY };
        let (result, calls, told) = play(&once, None, &[Verdict::Resolved; 10]);
        assert_eq!((result, calls, told), (Ok(()), vec![1; 11], 0));
        let (result, calls, _) = play(&once, None, &[Verdict::Resolved; 20]);
        assert_eq!(result, Err(Ended::Failed(Verdict::Resolved)));
        assert_eq!(calls.len(), 11);
    }

    #[test]
    fn expired_credentials_are_renewed_once() {
        let cache = RenewableCache::new();
        let once = Policy { tries: 1, ..POLICY };
        let (result, calls, told) = play(&once, Some(&cache), &[Verdict::Expired]);
        assert_eq!((result, calls, told), (Ok(()), vec![1, 1], 0));
        assert_eq!(cache.generation(), 1);
        let expired = Err(Ended::Failed(Verdict::Expired));
        let (result, calls, _) = play(&POLICY, Some(&cache), &[Verdict::Expired; 3]);
        assert_eq!((&result, calls.len()), (&expired, 2));
        // Credentials that were given cannot be renewed.
        let (result, calls, _) = play(&POLICY, None, &[Verdict::Expired]);
        assert_eq!((result, calls.len()), (expired, 1));
    }

    #[test]
    fn all_tries_have_one_deadline() {
        let hurried = Policy {
            total: Duration::from_millis(1),
            ..POLICY
        };
        let attempt = |_| std::future::pending::<Result<(), Failed<Verdict>>>();
        let result = run(retry(&hurried, None, attempt, |_, _| ()));
        assert_eq!(result, Err(Ended::Late(hurried.total)));
        // Waits count as well.
        let told = Cell::new(false);
        let attempt = |_| async {
            let mut failed = failed(Verdict::NotDone);
            failed.retry_after = Some(POLICY.longest_wait);
            Err::<(), _>(failed)
        };
        let result = run(retry(&hurried, None, attempt, |_, _| told.set(true)));
        assert_eq!(result, Err(Ended::Late(hurried.total)));
        assert!(!told.get(), "no other try begins");
    }

    #[test]
    fn waits_double_up_to_the_longest_and_a_service_is_heeded() {
        let waits = [1, 2, 3, 4, 5, 6, 40].map(|tries| POLICY.wait(tries, 1.0, None).as_secs());
        assert_eq!(waits, [1, 2, 4, 8, 16, 20, 20]);
        assert_eq!(POLICY.wait(3, 0.25, None), Duration::from_secs(1));
        assert_eq!(POLICY.wait(3, 0.0, None), Duration::ZERO);
        let asked = |seconds| POLICY.wait(1, 0.5, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(700), POLICY.longest_wait);
    }

    #[test]
    fn the_sdk_makes_one_try() {
        assert_eq!(Policy::of_sdk().max_attempts(), 1);
        assert_eq!(POLICY.timeouts().read_timeout(), Some(POLICY.attempt));
    }
}
