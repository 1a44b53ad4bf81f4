//! A snapshot, or that of an AMI's root device, becomes a disk image.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ami_ebs::{Download, Ebs, download};
use ami_files::folder_of;
use ami_parts::check_place;
use serde::Serialize;

use crate::access::{Access, Link};
use crate::error::Error;
use crate::folders::writable;
use crate::observer::{Event, Observer};
use crate::upload::Relay;
use crate::waiting::unless_interrupted;

/// What is fetched, and where to.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// How AWS is reached.
    pub access: Access,
    /// The snapshot's ID, or that of an AMI.
    pub from: String,
    /// The file.
    pub file: PathBuf,
    /// Whether a plain file of that name is replaced.
    pub may_replace: bool,
    /// The most requests in flight.
    pub parallel: usize,
}

impl Fetch {
    /// Whether the file can get its name.
    fn check_place(&self) -> Result<(), Error> {
        let is_free = check_place(&self.file, self.may_replace);
        is_free.map_err(|error| self.failed(error.into()))?;
        let folder = folder_of(&self.file);
        writable(folder).map_err(|source| Error::Folder {
            path: folder.to_owned(),
            source,
        })
    }

    /// An error, with the file as it was given.
    fn failed(&self, error: ami_ebs::Error) -> Error {
        let path = self.file.clone();
        match error {
            ami_ebs::Error::Destination(ami_parts::Error::Exists { .. }) => Error::Exists { path },
            ami_ebs::Error::Destination(ami_parts::Error::InTheWay { .. }) => {
                Error::NoFile { path }
            }
            error => Error::Ebs(error),
        }
    }
}

/// What would be fetched, and what is in the way.
#[derive(Debug)]
pub struct FetchPlan {
    /// The snapshot.
    pub snapshot: String,
    /// Its region.
    pub region: String,
    /// The size of its volume, and of the file with its holes, in GiB.
    pub volume_size: Option<u64>,
    /// Why it cannot be done.
    pub problems: Vec<Error>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// The snapshot.
    pub snapshot: String,
    /// Its region.
    pub region: String,
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// How many blocks of 512 KiB came now.
    pub fetched: u64,
    /// How many were there from an interrupted run.
    pub kept: u64,
}

/// The snapshot itself, or that of the AMI's root device.
async fn snapshot(link: &Link, from: &str) -> Result<String, Error> {
    if !from.starts_with("ami-") {
        return Ok(from.to_owned());
    }
    let image = link.here()?.image(from).await?;
    let image = image.ok_or_else(|| Error::NoImage {
        image: from.to_owned(),
        region: link.region.clone(),
    })?;
    let snapshot = image.root_snapshot();
    let snapshot = snapshot.ok_or_else(|| Error::NoRootSnapshot {
        image: from.to_owned(),
    })?;
    Ok(snapshot.to_owned())
}

/// Looks up what [`fetch`] would do.
///
/// # Errors
/// AWS cannot be asked; there is no such AMI. What else is in the way is in the plan.
pub async fn plan_fetch(request: &Fetch, interrupted: &AtomicBool) -> Result<FetchPlan, Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let id = snapshot(&link, &request.from).await?;
        let found = link.here()?.snapshot(&id).await?;
        let mut problems = Vec::new();
        match &found {
            None => problems.push(Error::NoSnapshot {
                snapshot: id.clone(),
                region: link.region.clone(),
            }),
            Some(found) if found.status.as_deref() != Some("completed") => {
                problems.push(Error::SnapshotFailed {
                    snapshot: id.clone(),
                    region: link.region.clone(),
                    status: found.status.clone().unwrap_or_default(),
                    reason: found.status_message.clone(),
                });
            }
            Some(_) => {}
        }
        problems.extend(request.check_place().err());
        Ok(FetchPlan {
            snapshot: id,
            region: link.region,
            volume_size: found.and_then(|found| found.volume_size),
            problems,
        })
    })
    .await
}

/// Fetches a snapshot to a sparse file, or goes on with what an interrupted run has begun. Every block's checksum is verified, and the file
/// gets its name when it is whole.
///
/// # Errors
/// AWS refuses, or cannot be asked; the file cannot be written, or is there already.
pub async fn fetch(
    request: &Fetch,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Fetched, Error> {
    unless_interrupted(interrupted, async {
        let is_free = match request.check_place() {
            Ok(()) => true,
            // An interrupted run may have given it its name: the download finds that out.
            Err(Error::Exists { .. }) => false,
            Err(error) => return Err(error),
        };
        let link = Link::open(&request.access).await?;
        let id = snapshot(&link, &request.from).await?;
        if is_free {
            observer.tell(Event::Fetching {
                id: &id,
                region: &link.region,
            });
        }
        let ebs = Ebs::new(&link.aws, &link.region, request.access.server.as_deref());
        let settings = Download {
            snapshot: id.clone(),
            file: request.file.clone(),
            may_replace: request.may_replace,
            parallel: request.parallel,
        };
        let relay = Relay::new(observer, &link.region);
        let done = download(&ebs, &settings, &relay).await;
        let done = done.map_err(|error| request.failed(error))?;
        Ok(Fetched {
            snapshot: id,
            region: link.region.clone(),
            file: request.file.clone(),
            size: done.size,
            fetched: done.counts.done,
            kept: done.counts.kept,
        })
    })
    .await
}
