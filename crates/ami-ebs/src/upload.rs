//! Writing a snapshot, and going on with one that an interrupted run has begun.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::background::{Crowd, StopOnDrop, in_background, joined};
use crate::block::{self, Block, Digest};
use crate::ebs::Ebs;
use crate::error::Error;
use crate::gate::Gate;
use crate::journal::{Head, Journal, Record, Stage, Subject};
use crate::observer::{Event, Observer, Snapshots, State};
use crate::producer::{self, Ended, Producer};
use crate::progress::{Counts, Progress};
use crate::sender::{Begun, Fate, Sender};
use crate::source::{FreeSpace, Opened, Reading, Source, Stream};
use crate::token::{Parameters, client_token};

/// The most snapshots of one source that are found to have failed, one after the other.
const MOST_GENERATIONS: u32 = 50;

/// How long a new snapshot may be unknown to some of EBS's servers (coldsnap's issues 43 and 56).
pub const VISIBLE_WITHIN: Duration = Duration::from_secs(120);

/// How far a clock may be from EBS's, which refuses requests that are 15 minutes old (AWS general reference, "Signature Version 4"), and some
/// minutes more.
const MOST_SKEW: Duration = Duration::from_secs(20 * 60);

/// How many snapshots are written to in one call: one may be found unusable at its first block, and another time out.
const MOST_ATTEMPTS: u32 = 3;

/// How often the state of a snapshot is asked for that is being completed.
const STATE_PAUSE: Duration = Duration::from_secs(2);

/// How a snapshot is written.
#[derive(Debug, Clone)]
pub struct Upload {
    /// What it is started with.
    pub parameters: Parameters,
    /// A digest of what identifies the source, whatever it holds: the same for a later run that goes on.
    pub source: Digest,
    /// The journal's file; its folder is there.
    pub journal: PathBuf,
    /// The most requests in flight.
    pub parallel: usize,
    /// How long a new snapshot may be unknown: [`VISIBLE_WITHIN`].
    pub visible_within: Duration,
}

/// A snapshot that was written.
#[derive(Debug)]
pub struct Uploaded {
    /// Its ID. It becomes complete after a while.
    pub snapshot: String,
    /// How many blocks it has.
    pub blocks: u64,
    /// What was done for it.
    pub counts: Counts,
    /// The journal, for [`verify`](crate::verify()) and to be removed when nothing is left to do.
    pub journal: Journal,
}

/// Why no snapshot was written.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What went wrong.
    #[source]
    pub error: Error,
    /// The snapshot that was begun and is there, as far as is known.
    pub snapshot: Option<String>,
    /// Whether the same call goes on with it later. If not, it should be deleted.
    pub can_resume: bool,
}

/// Writes a source to a snapshot, or goes on with what an interrupted run has begun, and completes it.
///
/// Blocks that lie wholly in free space are left out, and so is what is behind the source's end; everything else is sent, zeros too.
/// Memory does not grow with the source. Dropping the future interrupts it, and what was acknowledged stays noted.
///
/// # Errors
/// [`Failure`] has the [`Error`], and what has become of the snapshot: nothing that is not exactly the source is ever completed.
pub async fn upload(
    ebs: &Ebs,
    source: Source,
    request: &Upload,
    snapshots: &impl Snapshots,
    observer: &impl Observer,
) -> Result<Uploaded, Failure> {
    let before = |error| Failure {
        error,
        snapshot: None,
        can_resume: true,
    };
    let gib = request.parameters.volume_size;
    let blocks = block::blocks_of(gib).ok_or_else(|| before(Error::VolumeSize { gib }))?;
    let opened = open(source, blocks, gib).map_err(before)?;
    let subject = Subject {
        source: request.source,
        parameters: request.parameters.digest(),
        blocks,
        region: block::digest(ebs.region().as_bytes()),
    };
    let path = request.journal.clone();
    let found = in_background(move |_| Journal::open(&path, subject)).await;
    let (journal, other) = found.and_then(|found| found).map_err(before)?;
    if let Some(other) = other {
        if let (Some(snapshot), Stage::Writing | Stage::Completing) = (other.snapshot, other.stage)
        {
            let told = snapshot.clone();
            observer.tell(Event::Abandoned { snapshot: told });
            snapshots.delete(&snapshot).await;
        }
        journal.begin(Head::of_generation(0)).map_err(before)?;
    }
    let upload = Writing {
        ebs,
        request,
        snapshots,
        observer,
        journal: Arc::new(journal),
        progress: Arc::default(),
        blocks,
    };
    match upload.run(opened).await {
        Ok((snapshot, count)) => {
            let Writing {
                journal, progress, ..
            } = upload;
            let journal = Arc::into_inner(journal);
            let lost = || Failure {
                error: Error::Interrupted,
                snapshot: Some(snapshot.clone()),
                can_resume: true,
            };
            Ok(Uploaded {
                journal: journal.ok_or_else(lost)?,
                blocks: count,
                counts: progress.counts(),
                snapshot,
            })
        }
        Err(error) => Err(upload.fail(error)),
    }
}

fn open(source: Source, blocks: u64, gib: u64) -> Result<Opened, Error> {
    let opened = match source {
        Source::Disk { disk, free } => Opened::Read(Reading::Disk(disk, FreeSpace::new(&free))),
        Source::Stream { reader, length } => {
            Opened::Read(Reading::Stream(Stream::new(reader, length)))
        }
        Source::Passing(disk) => Opened::Passing(disk),
    };
    match opened.blocks(blocks) > blocks {
        true => Err(Error::TooLong { gib }),
        false => Ok(opened),
    }
}

/// A snapshot that is written by one call.
struct Writing<'a, S, O> {
    ebs: &'a Ebs,
    request: &'a Upload,
    snapshots: &'a S,
    observer: &'a O,
    journal: Arc<Journal>,
    progress: Arc<Progress>,
    blocks: u64,
}

/// How an attempt ended to write one generation's snapshot.
enum Attempted {
    Done(u64),
    /// It is gone, or closed with other content: another generation is begun.
    Unusable(Fate),
}

impl<S: Snapshots, O: Observer> Writing<'_, S, O> {
    async fn run(&self, mut opened: Opened) -> Result<(String, u64), Error> {
        let mut attempts = 0;
        for _ in 0..MOST_GENERATIONS {
            let Some(begun) = self.begin().await? else {
                continue;
            };
            attempts += 1;
            let (given_back, attempted) = self.attempt(&begun, opened).await?;
            match attempted {
                Attempted::Done(count) => return Ok((begun.snapshot, count)),
                Attempted::Unusable(fate) => self.give_up(&begun.snapshot, fate).await?,
            }
            if attempts == MOST_ATTEMPTS {
                break;
            }
            if !given_back.can_be_repeated() {
                let snapshot = begun.snapshot;
                return Err(Error::NotRead { snapshot });
            }
            opened = given_back;
        }
        Err(Error::Generations {
            generations: self.journal.head().generation,
        })
    }

    /// The next run, or this one, begins another snapshot.
    async fn give_up(&self, snapshot: &str, fate: Fate) -> Result<(), Error> {
        if fate == Fate::Abandoned {
            let told = snapshot.to_owned();
            self.observer.tell(Event::Abandoned { snapshot: told });
            self.snapshots.delete(snapshot).await;
        }
        self.journal.give_up()
    }

    async fn state(&self, snapshot: &str) -> Result<Option<State>, Error> {
        let state = self.snapshots.state(snapshot).await;
        state.map_err(|source| Error::State {
            snapshot: snapshot.to_owned(),
            source,
        })
    }

    /// Finds this generation's snapshot, or starts it. `None`: it is of no use, and the next generation's turn.
    async fn begin(&self) -> Result<Option<Begun>, Error> {
        let head = self.journal.head();
        let (head, is_resumed) = match head.snapshot {
            Some(_) => (head, true),
            None => (self.start(head).await?, false),
        };
        let Some(snapshot) = head.snapshot.clone() else {
            return Ok(None);
        };
        let age = Duration::from_secs(now().saturating_sub(head.started));
        let young = self.request.visible_within.checked_sub(age);
        let visible = young.map(|left| Instant::now() + left);
        let state = self.state(&snapshot).await?;
        let is_closed = match state {
            Some(State::Error) => {
                self.give_up(&snapshot, Fate::Abandoned).await?;
                return Ok(None);
            }
            Some(State::Completed) if !is_resumed => {
                self.give_up(&snapshot, Fate::Left).await?;
                return Ok(None);
            }
            None if visible.is_none() => {
                self.give_up(&snapshot, Fate::Left).await?;
                return Ok(None);
            }
            Some(State::Completed) => true,
            Some(State::Pending) | None => head.stage != Stage::Writing,
        };
        self.observer.tell(Event::Snapshot {
            snapshot: snapshot.clone(),
            is_resumed,
        });
        Ok(Some(Begun {
            snapshot,
            visible,
            is_closed,
            // One that the token has found may be of a run whose journal is lost.
            may_be_complete: state == Some(State::Completed)
                || head.stage == Stage::Complete
                || !is_resumed,
            was_open: Arc::default(),
        }))
    }

    async fn start(&self, head: Head) -> Result<Head, Error> {
        let subject = self.journal.subject();
        let token = client_token(&subject.parameters, &subject.source, head.generation);
        let parameters = &self.request.parameters;
        let retries = &self.progress.retries;
        let started = self.ebs.start_snapshot(parameters, &token, retries).await?;
        let head = Head {
            snapshot: Some(started.snapshot),
            started: begun_at(started.begun, now()),
            ..head
        };
        self.journal.change(head.clone())?;
        Ok(head)
    }

    /// Writes a snapshot, and gives the source back.
    async fn attempt(&self, begun: &Begun, opened: Opened) -> Result<(Opened, Attempted), Error> {
        self.progress.reset();
        self.observer.tell(Event::Begin {
            blocks: opened.blocks(self.blocks),
            progress: self.progress.clone(),
        });
        let sent = self.send(begun, opened).await;
        self.observer.tell(Event::End);
        let (opened, sent) = sent?;
        let attempted = match sent {
            Ok(count) => {
                self.complete(begun, count).await?;
                Attempted::Done(count)
            }
            Err(Error::Vanished { .. }) => Attempted::Unusable(Fate::Left),
            Err(Error::Closed { .. }) => Attempted::Unusable(begun.fate()),
            Err(error) => return Err(error),
        };
        Ok((opened, attempted))
    }

    /// Sends what the snapshot does not have; gives the source back, and the number of the snapshot's blocks.
    async fn send(
        &self,
        begun: &Begun,
        opened: Opened,
    ) -> Result<(Opened, Result<u64, Error>), Error> {
        let (blocks, mut waiting) = mpsc::channel(producer::WAITING);
        let stop = StopOnDrop::default();
        let producer = Producer {
            journal: self.journal.clone(),
            progress: self.progress.clone(),
            blocks,
            stopped: stop.flag(),
            gib: self.request.parameters.volume_size,
        };
        let producing = tokio::task::spawn_blocking(move || producer.run(opened));
        let sending = self.send_all(begun, &mut waiting).await;
        drop(waiting);
        drop(stop);
        // It ends at once; so does its hold on the journal.
        let (opened, produced) = joined(producing.await)?;
        let count = sending.and_then(|()| match produced? {
            Ended::Whole(count) => Ok(count),
            Ended::Stopped => Err(Error::Interrupted),
        });
        Ok((opened, count))
    }

    async fn send_all(
        &self,
        begun: &Begun,
        waiting: &mut mpsc::Receiver<Block>,
    ) -> Result<(), Error> {
        let sender = Arc::new(Sender {
            ebs: self.ebs.clone(),
            begun: begun.clone(),
            gate: Gate::new(self.request.parallel),
            journal: self.journal.clone(),
            progress: self.progress.clone(),
        });
        let Some(first) = waiting.recv().await else {
            return Ok(());
        };
        if begun.is_closed {
            let snapshot = begun.snapshot.clone();
            return Err(Error::Closed { snapshot });
        }
        // Alone, because the snapshot may not be known yet, or no longer, or take no more blocks.
        sender.send(first).await?;
        begun.was_open.store(true, Ordering::Relaxed);
        let mut crowd = Crowd::new(self.request.parallel);
        while let Some(block) = crowd.beside(waiting.recv()).await? {
            let sender = sender.clone();
            crowd.add(async move { sender.send(block).await });
        }
        crowd.finish().await
    }

    /// Completes the snapshot, which has so many blocks.
    async fn complete(&self, begun: &Begun, count: u64) -> Result<(), Error> {
        let head = self.journal.head();
        if head.stage == Stage::Complete {
            return Ok(());
        }
        let journal = self.journal.clone();
        let (written, digest) = in_background(move |_| total(&journal)).await??;
        if written != count {
            return Err(Error::Count {
                expected: count,
                found: written,
            });
        }
        let at = |stage| Head {
            stage,
            ..head.clone()
        };
        self.journal.change(at(Stage::Completing))?;
        if head.stage == Stage::Completing
            && self.state(&begun.snapshot).await? == Some(State::Completed)
        {
            return self.journal.change(at(Stage::Complete));
        }
        let (retries, is_new) = (AtomicU64::new(0), || begun.is_new());
        let completing =
            self.ebs
                .complete_snapshot(&begun.snapshot, count, &digest, &retries, is_new);
        let completed = completing.await;
        let retries = retries.into_inner();
        let _ = self.progress.retries.fetch_add(retries, Ordering::Relaxed);
        match completed {
            Err(error) if begun.is_closed || retries > 0 => {
                self.wait_for_completion(begun, error).await?;
            }
            completed => completed?,
        }
        self.journal.change(at(Stage::Complete))
    }

    /// The answer to an earlier request may have been lost, and a second one be refused: then it becomes complete.
    async fn wait_for_completion(&self, begun: &Begun, error: Error) -> Result<(), Error> {
        let is_refused = |status| matches!(status, 400 | 404 | 409);
        if !error
            .service()
            .is_some_and(|service| is_refused(service.status))
        {
            return Err(error);
        }
        let end = Instant::now() + self.request.visible_within;
        loop {
            match self.state(&begun.snapshot).await? {
                Some(State::Completed) => return Ok(()),
                Some(State::Pending) if Instant::now() < end => {
                    tokio::time::sleep(STATE_PAUSE.min(self.request.visible_within)).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// What has become of the snapshot.
    fn fail(&self, error: Error) -> Failure {
        let head = self.journal.head();
        // EBS has other blocks than the journal.
        let is_refused = head.stage == Stage::Completing
            && error
                .service()
                .is_some_and(|service| service.code == "ValidationException");
        let is_final = is_refused
            || matches!(
                error,
                Error::Source { .. }
                    | Error::Wrong(_)
                    | Error::OutOfOrder { .. }
                    | Error::Changed(_)
                    | Error::TooLong { .. }
                    | Error::Length { .. }
                    | Error::NoBytes
                    | Error::Count { .. }
                    | Error::NotRead { .. }
            );
        if is_final && head.snapshot.is_some() {
            // If that fails, the next run finds out that the snapshot is gone.
            let _ = self.journal.give_up();
        }
        Failure {
            error,
            snapshot: head.snapshot,
            can_resume: !is_final,
        }
    }
}

/// How many blocks were written, and their digest; nothing may be in doubt.
fn total(journal: &Journal) -> Result<(u64, Digest), Error> {
    let mut in_doubt = 0;
    journal.each(0, |_, record| {
        in_doubt += u64::from(record == Record::Sending);
        Ok(())
    })?;
    let (count, digest) = journal.total()?;
    match in_doubt {
        0 => Ok((count, digest)),
        _ => Err(Error::Count {
            expected: count + in_doubt,
            found: count,
        }),
    }
}

/// When a snapshot was begun, by this machine's clock. One that a token has found may be old, and gone: then it is not waited for.
fn begun_at(told: Option<u64>, now: u64) -> u64 {
    let is_old = |begun: &u64| begun.saturating_add(MOST_SKEW.as_secs()) < now;
    told.filter(is_old).unwrap_or(now)
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_as_old_as_ebs_says_if_no_clock_can_be_that_wrong() {
        for (told, expected) in [
            (None, 10_000),
            (Some(0), 0),
            (Some(10_000 - 1201), 10_000 - 1201),
            (Some(10_000 - 1200), 10_000),
            (Some(10_001), 10_000),
            (Some(u64::MAX), 10_000),
        ] {
            assert_eq!(begun_at(told, 10_000), expected, "{told:?}");
        }
    }
}
