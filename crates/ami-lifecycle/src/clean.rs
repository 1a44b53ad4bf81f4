//! Snapshots that runs have left behind.

use std::sync::atomic::AtomicBool;

use ami_ec2::{DeleteSnapshot, Snapshot};
use serde::Serialize;

use crate::access::{Access, Link};
use crate::delete::{delete_snapshot, denied};
use crate::distribution::{COPY_TAG, SOURCE_TAG};
use crate::error::Error;
use crate::observer::{Event, Observer, Question};
use crate::waiting::unless_interrupted;

/// Where it is looked for what runs have left.
pub struct Clean<'a> {
    /// How AWS is reached.
    pub access: Access,
    /// Whether a run can still go on with a snapshot, or is at it.
    pub is_claimed: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether the user is asked first.
    pub asks: bool,
}

/// A snapshot that a run has left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// Its ID.
    pub snapshot: String,
    /// `pending` or `error`.
    pub status: String,
    /// When it was begun, in ISO 8601.
    pub begun: Option<String>,
    /// The size of its volume, in GiB.
    pub volume_size: Option<u64>,
    /// Its description.
    pub description: Option<String>,
}

/// What was found, and what of it is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// The region.
    pub region: String,
    /// What runs have left.
    pub found: Vec<Stray>,
    /// What is gone of it.
    pub deleted: Vec<String>,
    /// Pending snapshots that a run of this machine can still go on with.
    pub claimed: Vec<String>,
}

/// Finds what runs have left, and deletes nothing.
///
/// # Errors
/// AWS cannot be asked. Permissions that are missing come with what was found.
pub async fn plan_clean(
    request: &Clean<'_>,
    interrupted: &AtomicBool,
) -> Result<(Cleaned, Vec<Error>), Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let found = find(&link, request).await?;
        let mut problems = Vec::new();
        if let Some(stray) = found.found.first() {
            let snapshot = stray.snapshot.clone();
            let ec2 = link.here()?;
            let allowed = ec2.allows(&DeleteSnapshot { snapshot }).await;
            problems.extend(denied(&ec2, allowed));
        }
        Ok((found, problems))
    })
    .await
}

async fn find(link: &Link, request: &Clean<'_>) -> Result<Cleaned, Error> {
    let snapshots = link.here()?.snapshots_tagged(SOURCE_TAG).await?;
    let mut cleaned = Cleaned {
        region: link.region.clone(),
        ..Cleaned::default()
    };
    for snapshot in snapshots {
        let Some(stray) = stray(snapshot) else {
            continue;
        };
        // What is in error nobody goes on with.
        if stray.status == "pending" && (request.is_claimed)(&stray.snapshot) {
            cleaned.claimed.push(stray.snapshot);
        } else {
            cleaned.found.push(stray);
        }
    }
    Ok(cleaned)
}

fn stray(snapshot: Snapshot) -> Option<Stray> {
    // EC2 itself writes the snapshot of a copy, whatever becomes of the run that has asked for it.
    let is_copied = snapshot.tags().contains_key(COPY_TAG);
    let status = snapshot.status?;
    let is_left = status == "error" || (status == "pending" && !is_copied);
    is_left.then_some(Stray {
        snapshot: snapshot.snapshot_id?,
        status,
        begun: snapshot.start_time,
        volume_size: snapshot.volume_size,
        description: snapshot.description.filter(|text| !text.is_empty()),
    })
}

/// Deletes what runs have left, after the user has agreed: pending and failed snapshots that have our tag and that no run of this
/// machine claims. A run on another machine cannot be seen from here; the question shows when each was begun.
///
/// # Errors
/// AWS refuses, or cannot be asked; [`Error::Declined`].
pub async fn clean(
    request: &Clean<'_>,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Cleaned, Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let mut cleaned = find(&link, request).await?;
        if cleaned.found.is_empty() {
            return Ok(cleaned);
        }
        if request.asks && !observer.agrees(Question::Clean(&cleaned.found))? {
            return Err(Error::Declined);
        }
        let ec2 = link.here()?;
        for stray in &cleaned.found {
            let id = &stray.snapshot;
            if delete_snapshot(&ec2, id).await? {
                observer.tell(Event::Deleted { id });
                cleaned.deleted.push(id.clone());
            }
        }
        Ok(cleaned)
    })
    .await
}
