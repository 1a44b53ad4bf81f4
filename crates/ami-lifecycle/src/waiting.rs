//! Waiting: for EC2, with backoff and an end, and never longer than until the user interrupts.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ami_ec2::{Image, Regional, Snapshot};

use crate::error::Error;
use crate::observer::{Event, Observer};

/// How often a running story looks whether it is interrupted.
const TICK: Duration = Duration::from_millis(50);

/// The first pause between two looks; each further one is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause: EC2 counts each look against the account's rate of requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long something that was just made may be unknown: EC2 API reference, "Eventual consistency", says no more than that it takes
/// time; users of EBS have met two minutes (coldsnap, issues 43 and 56).
pub(crate) const UNKNOWN: Duration = Duration::from_secs(120);

/// Works until it is done or the flag is raised, which drops the work where it stands.
///
/// # Errors
/// Those of the work; [`Error::Interrupted`].
pub(crate) async fn unless_interrupted<T>(
    interrupted: &AtomicBool,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(result) => return result,
            Err(_) if interrupted.load(Ordering::Relaxed) => return Err(Error::Interrupted),
            Err(_) => {}
        }
    }
}

/// Pauses that grow, and their end.
pub(crate) struct Pauses {
    next: Duration,
    begin: Instant,
    longest: Duration,
}

impl Pauses {
    /// Pauses that together last no longer than `longest`.
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            next: FIRST_PAUSE,
            begin: Instant::now(),
            longest,
        }
    }

    /// Pauses. `false`, at once: it was waited long enough.
    pub(crate) async fn pause(&mut self) -> bool {
        if self.begin.elapsed() + self.next > self.longest {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 3 / 2).min(LONGEST_PAUSE);
        true
    }
}

/// Waits until an AMI is available.
pub(crate) async fn until_available(
    ec2: &Regional<'_>,
    id: &str,
    longest: Duration,
    observer: &impl Observer,
) -> Result<Image, Error> {
    let mut pauses = Pauses::new(longest);
    let mut unknown = Pauses::new(UNKNOWN);
    let mut is_told = false;
    loop {
        let image = ec2.image(id).await?;
        let state = image.as_ref().and_then(|image| image.image_state.clone());
        match (image, state.as_deref()) {
            (Some(image), Some("available")) => {
                if is_told {
                    observer.tell(Event::Waited);
                }
                return Ok(image);
            }
            (Some(_), None | Some("pending")) => {}
            (Some(image), Some(state)) => {
                return Err(Error::ImageFailed {
                    image: id.to_owned(),
                    region: ec2.region().to_owned(),
                    state: state.to_owned(),
                    reason: image.state_reason.and_then(|reason| reason.message),
                });
            }
            (None, _) => {
                if unknown.pause().await {
                    continue;
                }
                return Err(Error::NoImage {
                    image: id.to_owned(),
                    region: ec2.region().to_owned(),
                });
            }
        }
        if !is_told {
            let region = ec2.region();
            let until = "available";
            observer.tell(Event::Waiting { until, id, region });
            is_told = true;
        }
        if !pauses.pause().await {
            return Err(Error::late(id, ec2.region(), "available", longest));
        }
    }
}

/// Waits until a snapshot is completed.
pub(crate) async fn until_completed(
    ec2: &Regional<'_>,
    id: &str,
    longest: Duration,
    observer: &impl Observer,
) -> Result<Snapshot, Error> {
    let mut pauses = Pauses::new(longest);
    let mut unknown = Pauses::new(UNKNOWN);
    let mut is_told = false;
    loop {
        let snapshot = ec2.snapshot(id).await?;
        let status = snapshot.as_ref().and_then(|found| found.status.clone());
        match (snapshot, status.as_deref()) {
            (Some(snapshot), Some("completed")) => {
                if is_told {
                    observer.tell(Event::Waited);
                }
                return Ok(snapshot);
            }
            (Some(snapshot), None | Some("pending")) => {
                if !is_told {
                    let region = ec2.region();
                    let until = "completed";
                    observer.tell(Event::Waiting { until, id, region });
                    is_told = true;
                }
                if let Some(progress) = &snapshot.progress {
                    observer.tell(Event::Progress { progress });
                }
            }
            (Some(snapshot), Some(status)) => {
                return Err(Error::SnapshotFailed {
                    snapshot: id.to_owned(),
                    region: ec2.region().to_owned(),
                    status: status.to_owned(),
                    reason: snapshot.status_message.filter(|text| !text.is_empty()),
                });
            }
            (None, _) => {
                if unknown.pause().await {
                    continue;
                }
                return Err(Error::NoSnapshot {
                    snapshot: id.to_owned(),
                    region: ec2.region().to_owned(),
                });
            }
        }
        if !pauses.pause().await {
            return Err(Error::late(id, ec2.region(), "completed", longest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn an_interruption_ends_what_never_ends() {
        let flag = AtomicBool::new(true);
        let result = run(unless_interrupted::<()>(&flag, std::future::pending()));
        assert!(matches!(result, Err(Error::Interrupted)));
        let done = run(unless_interrupted(&flag, async { Ok(7) }));
        assert_eq!(done.ok(), Some(7));
    }

    #[test]
    fn pauses_grow_to_the_longest_and_have_an_end() {
        let mut pauses = Pauses::new(FIRST_PAUSE * 2);
        run(async {
            assert!(pauses.pause().await);
            assert!(!pauses.pause().await, "the second would end too late");
        });
        assert_eq!(pauses.next, FIRST_PAUSE * 3 / 2);
        pauses.next = LONGEST_PAUSE;
        pauses.longest = Duration::MAX;
        pauses.begin = Instant::now();
        assert_eq!((pauses.next * 3 / 2).min(LONGEST_PAUSE), LONGEST_PAUSE);
    }
}
