//! The snapshot of a source is written, or gone on with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use ami_ebs::{
    BoxError, Ebs, Journal, Parameters, Source, State, Upload, Uploaded, upload, verify,
};
use ami_ec2::{Regional, Tag};
use ami_files::folder_of;
use tracing::debug;

use crate::access::Link;
use crate::create::{Create, Sent};
use crate::delete::delete_snapshot;
use crate::distribution::SOURCE_TAG;
use crate::error::Error;
use crate::journal::make_private;
use crate::observer::{Event, Observer};
use crate::waiting::unless_interrupted;

/// The most blocks in flight, 24 MiB of them, beside a bundle's parts and chunks in memory. At 48 ms a block they are EBS's 1,000 a second.
const MOST_BESIDE_PARTS: usize = 48;

/// What is needed to write a snapshot.
pub(crate) struct Writing<'a> {
    pub(crate) link: &'a Link,
    pub(crate) request: &'a Create,
    pub(crate) tags: &'a [Tag],
    pub(crate) identity: [u8; 32],
    pub(crate) journal: PathBuf,
    /// In GiB.
    pub(crate) volume_size: u64,
    /// Whether a later run can go on with it.
    pub(crate) stays: bool,
}

/// A snapshot that is written, and becomes complete.
pub(crate) struct Written {
    pub(crate) snapshot: String,
    pub(crate) sent: Sent,
    uploaded: Uploaded,
    _fleeting: Fleeting,
}

/// The journal of a source that no later run can go on with. It goes when this is dropped.
struct Fleeting(Option<PathBuf>);

impl Drop for Fleeting {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It may never have been made.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Written {
    /// Reads every block back and compares it with what was sent. A snapshot that differs is deleted, and no run goes on with it.
    pub(crate) async fn verify(
        &self,
        link: &Link,
        request: &Create,
        observer: &impl Observer,
        interrupted: &AtomicBool,
    ) -> Result<(), Error> {
        let server = request.access.server.as_deref();
        let ebs = Ebs::new(&link.aws, &link.region, server);
        observer.tell(Event::Verifying { id: &self.snapshot });
        let relay = Relay::new(observer, &link.region);
        let journal = &self.uploaded.journal;
        let verifying = async { Ok(verify(&ebs, journal, request.parallel, &relay).await) };
        match unless_interrupted(interrupted, verifying).await? {
            Ok(_) => Ok(()),
            Err(error @ ami_ebs::Error::Differs { .. }) => {
                let is_deleted = relay.delete(&link.here()?, &self.snapshot).await;
                journal.give_up().map_err(Error::Ebs)?;
                Err(Error::Wrong {
                    snapshot: self.snapshot.clone(),
                    region: link.region.clone(),
                    is_deleted,
                    source: Box::new(error),
                })
            }
            Err(error) => Err(Error::Ebs(error)),
        }
    }

    /// Nothing is left to do: the journal goes.
    pub(crate) fn forget(self) -> Result<(), Error> {
        self.uploaded.journal.remove().map_err(Error::Ebs)
    }
}

/// Writes the source's snapshot. One that cannot be gone on with is deleted.
pub(crate) async fn write(
    writing: &Writing<'_>,
    source: Source,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Written, Error> {
    make_private(folder_of(&writing.journal))?;
    let Writing { link, request, .. } = writing;
    let fleeting = Fleeting((!writing.stays).then(|| writing.journal.clone()));
    let ec2 = link.here()?;
    let ebs = Ebs::new(&link.aws, &link.region, request.access.server.as_deref());
    let tags = writing.tags.iter();
    let settings = Upload {
        parameters: Parameters {
            volume_size: writing.volume_size,
            description: Some(request.snapshot_description()),
            tags: tags
                .map(|tag| (tag.key.clone(), tag.value.clone()))
                .collect(),
            encrypted: request.is_encrypted().then_some(true),
            kms_key_arn: request.kms_key.clone(),
            timeout: None,
        },
        source: writing.identity,
        journal: writing.journal.clone(),
        parallel: match source {
            Source::Passing(_) => request.parallel.min(MOST_BESIDE_PARTS),
            _ => request.parallel,
        },
        visible_within: ami_ebs::VISIBLE_WITHIN,
    };
    let relay = Relay::new(observer, &link.region);
    let sweeping = async {
        sweep(request, &ec2, &relay).await;
        Ok(())
    };
    unless_interrupted(interrupted, sweeping).await?;
    let states = States(&ec2, &relay);
    let uploading = async { Ok(upload(&ebs, source, &settings, &states, &relay).await) };
    let ended = unless_interrupted(interrupted, uploading).await;
    let result = match ended {
        Ok(Ok(uploaded)) => Ok(uploaded),
        Ok(Err(failure)) => {
            let can_resume = failure.can_resume && writing.stays;
            let is_deleted = match failure.snapshot.filter(|_| !can_resume) {
                Some(snapshot) => relay.delete(&ec2, &snapshot).await,
                None => true,
            };
            Err(Error::Upload {
                snapshot: relay.begun(),
                fate: match (can_resume, is_deleted) {
                    (true, _) => Fate::Resumable,
                    (false, true) => Fate::Deleted,
                    (false, false) => Fate::Left,
                },
                source: Box::new(failure.error),
            })
        }
        Err(error) if writing.stays => return Err(error),
        Err(error) => {
            // It may have been started a moment ago, and not been told.
            let noted = || Journal::snapshot_at(&writing.journal).ok().flatten();
            if let Some(snapshot) = relay.begun().or_else(noted) {
                let _ = relay.delete(&ec2, &snapshot).await;
            }
            Err(error)
        }
    };
    let uploaded = result?;
    let counts = uploaded.counts;
    Ok(Written {
        snapshot: uploaded.snapshot.clone(),
        sent: Sent {
            sent: counts.done,
            zeros: counts.zeros,
            free: counts.free,
            again: counts.again,
            kept: counts.kept,
        },
        uploaded,
        _fleeting: fleeting,
    })
}

/// Removes the journals of killed runs with which nothing goes on, and deletes their snapshots, unless they are complete. They are known by
/// their tags: a run can be killed before it has noted its snapshot. What this does not delete, `clean` finds.
async fn sweep(request: &Create, ec2: &Regional<'_>, relay: &Relay<'_, impl Observer>) {
    let of_killed = request.journal.of_one_run(ec2.region()).into_iter();
    let sources: BTreeSet<String> = of_killed
        .filter(|(_, journal)| ami_ebs::Journal::discard(journal).unwrap_or(false))
        .map(|(source, _)| source)
        .collect();
    if sources.is_empty() {
        return;
    }
    let found = ec2.snapshots_tagged(SOURCE_TAG).await.unwrap_or_default();
    for snapshot in found {
        let source = snapshot.tags().get(SOURCE_TAG).copied();
        let is_of_killed = source.is_some_and(|source| sources.contains(source));
        let is_open = matches!(snapshot.status.as_deref(), Some("pending" | "error"));
        if let Some(id) = snapshot.snapshot_id.filter(|_| is_of_killed && is_open) {
            let _ = relay.delete(ec2, &id).await;
        }
    }
}

/// What has become of a snapshot that is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The same story goes on with it.
    Resumable,
    /// It is deleted.
    Deleted,
    /// It should have been deleted, and could not be.
    Left,
}

/// Tells the story's observer what the upload tells.
pub(crate) struct Relay<'a, O> {
    observer: &'a O,
    region: &'a str,
    begun: Mutex<Option<String>>,
}

impl<'a, O: Observer> Relay<'a, O> {
    pub(crate) fn new(observer: &'a O, region: &'a str) -> Self {
        Self {
            observer,
            region,
            begun: Mutex::default(),
        }
    }

    fn begun(&self) -> Option<String> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.clone()
    }

    /// Deletes what is not gone on with. What cannot be deleted, `clean` finds. Gives whether it is gone.
    async fn delete(&self, ec2: &Regional<'_>, id: &str) -> bool {
        match delete_snapshot(ec2, id).await {
            Ok(true) => {
                self.observer.tell(Event::Deleted { id });
                true
            }
            Ok(false) => false,
            Err(error) => {
                debug!("{id} stays: {error}");
                false
            }
        }
    }
}

impl<O: Observer> ami_ebs::Observer for Relay<'_, O> {
    fn tell(&self, event: ami_ebs::Event) {
        match event {
            ami_ebs::Event::Snapshot {
                snapshot,
                is_resumed,
            } => {
                self.observer.tell(Event::Snapshot {
                    id: &snapshot,
                    region: self.region,
                    is_resumed,
                });
                let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                *begun = Some(snapshot);
            }
            ami_ebs::Event::Abandoned { snapshot } => {
                self.observer.tell(Event::Abandoned { id: &snapshot });
            }
            ami_ebs::Event::Begin { blocks, progress } => {
                self.observer.tell(Event::Begin {
                    blocks,
                    progress: &progress,
                });
            }
            ami_ebs::Event::End => self.observer.tell(Event::End),
            _ => {}
        }
    }
}

/// What EC2 knows of snapshots.
struct States<'a, O>(&'a Regional<'a>, &'a Relay<'a, O>);

impl<O: Observer> ami_ebs::Snapshots for States<'_, O> {
    async fn state(&self, snapshot: &str) -> Result<Option<State>, BoxError> {
        let found = self.0.snapshot(snapshot).await?;
        let status = found.and_then(|found| found.status);
        Ok(status.map(|status| match &*status {
            "pending" => State::Pending,
            "completed" => State::Completed,
            _ => State::Error,
        }))
    }

    async fn delete(&self, snapshot: &str) {
        let _ = self.1.delete(self.0, snapshot).await;
    }
}
