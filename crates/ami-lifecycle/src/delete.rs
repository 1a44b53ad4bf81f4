//! An AMI and its own snapshots go.

use std::sync::atomic::AtomicBool;

use ami_ec2::{DeleteSnapshot, DeregisterImage, Image, Permission, Regional};
use serde::Serialize;
use tracing::debug;

use crate::access::{Access, Link};
use crate::error::Error;
use crate::observer::{Event, Observer, Question};
use crate::waiting::{Pauses, UNKNOWN, unless_interrupted};

/// EC2 API reference, "Error codes".
const IMAGE_GONE: [&str; 2] = ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"];
const SNAPSHOT_GONE: &str = "InvalidSnapshot.NotFound";
const SNAPSHOT_IN_USE: &str = "InvalidSnapshot.InUse";

/// Which AMI goes.
#[derive(Debug, Clone)]
pub struct Delete {
    /// How AWS is reached.
    pub access: Access,
    /// The AMI's ID.
    pub image: String,
    /// Whether the user is asked first.
    pub asks: bool,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kept {
    /// Other AMIs of this account use it: their IDs.
    UsedBy(Vec<String>),
    /// It belongs to another account.
    OfAccount(String),
    /// EC2 says that it is in use.
    InUse,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UsedBy(images) => write!(f, "used by {}", images.join(", ")),
            Self::OfAccount(account) => write!(f, "it belongs to the account {account}"),
            Self::InUse => f.write_str("EC2 says that it is in use"),
        }
    }
}

/// What is done, and what is in the way.
#[derive(Debug)]
pub struct DeletePlan {
    /// The AMI.
    pub image: String,
    /// Its name.
    pub name: Option<String>,
    /// Its region.
    pub region: String,
    /// The snapshots that go with it.
    pub snapshots: Vec<String>,
    /// Those of its devices that stay.
    pub kept: Vec<(String, Kept)>,
    /// Why it cannot be done. In [`plan_delete`] permissions are among them.
    pub problems: Vec<Error>,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The AMI.
    pub image: String,
    /// Its region.
    pub region: String,
    /// The snapshots that went with it.
    pub snapshots: Vec<String>,
    /// Those that stay.
    pub kept: Vec<(String, Kept)>,
}

/// Looks up what [`delete`] would do, and whether it would be allowed to.
///
/// # Errors
/// AWS cannot be asked; there is no such AMI. What else is in the way is in the plan.
pub async fn plan_delete(request: &Delete, interrupted: &AtomicBool) -> Result<DeletePlan, Error> {
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let ec2 = link.here()?;
        let mut plan = plan(&ec2, &request.image).await?;
        if plan.problems.is_empty() {
            let image = plan.image.clone();
            let allowed = ec2.allows(&DeregisterImage { image }).await;
            plan.problems.extend(denied(&ec2, allowed));
        }
        // That the AMI uses it is refused before anything else, so only what is denied counts.
        if let Some(snapshot) = plan.snapshots.first().cloned() {
            let allowed = ec2.allows(&DeleteSnapshot { snapshot }).await;
            let in_use = |error: &ami_ec2::Error| error.code() == Some(SNAPSHOT_IN_USE);
            if !allowed.as_ref().is_err_and(in_use) {
                plan.problems.extend(denied(&ec2, allowed));
            }
        }
        Ok(plan)
    })
    .await
}

/// What is wrong, if these credentials may not do it, or could not even be asked.
pub(crate) fn denied(
    ec2: &Regional<'_>,
    answer: Result<Permission, ami_ec2::Error>,
) -> Option<Error> {
    match answer {
        Ok(Permission::Granted) => None,
        Ok(Permission::Denied { action, message }) => Some(Error::Denied {
            action,
            region: ec2.region().to_owned(),
            message,
        }),
        Err(error) => Some(error.into()),
    }
}

async fn plan(ec2: &Regional<'_>, id: &str) -> Result<DeletePlan, Error> {
    let region = ec2.region().to_owned();
    let image = ec2.image(id).await?;
    let image = image.filter(|image| image.image_state.as_deref() != Some("deregistered"));
    let image = image.ok_or_else(|| Error::NoImage {
        image: id.to_owned(),
        region: region.clone(),
    })?;
    let mut plan = DeletePlan {
        image: id.to_owned(),
        name: image.name.clone(),
        region: region.clone(),
        snapshots: Vec::new(),
        kept: Vec::new(),
        problems: Vec::new(),
    };
    if image.is_protected() {
        plan.problems.push(Error::Protected {
            image: id.to_owned(),
            region,
            protection: image.deregistration_protection.clone().unwrap_or_default(),
        });
    }
    let mut snapshots = image.snapshots();
    snapshots.sort_unstable();
    snapshots.dedup();
    for snapshot in snapshots {
        match fate(ec2, &image, snapshot).await? {
            Fate::Goes => plan.snapshots.push(snapshot.to_owned()),
            Fate::Stays(kept) => plan.kept.push((snapshot.to_owned(), kept)),
            Fate::IsGone => {}
        }
    }
    Ok(plan)
}

enum Fate {
    Goes,
    Stays(Kept),
    IsGone,
}

async fn fate(ec2: &Regional<'_>, image: &Image, id: &str) -> Result<Fate, Error> {
    let Some(snapshot) = ec2.snapshot(id).await? else {
        return Ok(Fate::IsGone);
    };
    if let Some(owner) = snapshot.owner_id
        && image.image_owner_id.as_ref() != Some(&owner)
    {
        return Ok(Fate::Stays(Kept::OfAccount(owner)));
    }
    let others = ec2.images_of_snapshot(id).await?;
    let others = others.into_iter().filter_map(|other| other.image_id);
    let others: Vec<String> = others
        .filter(|other| image.image_id.as_ref() != Some(other))
        .collect();
    Ok(match others.is_empty() {
        true => Fate::Goes,
        false => Fate::Stays(Kept::UsedBy(others)),
    })
}

/// Deregisters an AMI, then deletes its snapshots, after the user has agreed.
///
/// # Errors
/// [`Error::NoImage`], [`Error::Protected`], [`Error::Declined`]: nothing was done. [`Error::SnapshotsLeft`] names what nobody could find
/// by the AMI any more.
pub async fn delete(
    request: &Delete,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Deleted, Error> {
    let agreed = async {
        let link = Link::open(&request.access).await?;
        let mut plan = plan(&link.here()?, &request.image).await?;
        if let Some(problem) = plan.problems.drain(..).next() {
            return Err(problem);
        }
        match request.asks && !observer.agrees(Question::Delete(&plan))? {
            true => Err(Error::Declined),
            false => Ok((link, plan)),
        }
    };
    let (link, plan) = unless_interrupted(interrupted, agreed).await?;
    let ec2 = link.here()?;
    // Its answer is waited for: without it nobody knows whether the snapshots can go.
    deregister(&ec2, &plan.image).await?;
    let id = &plan.image;
    observer.tell(Event::Deregistered { id });
    let mut deleted = Deleted {
        image: plan.image.clone(),
        region: plan.region,
        snapshots: Vec::new(),
        kept: plan.kept,
    };
    for (id, reason) in &deleted.kept {
        observer.tell(Event::Kept { id, reason });
    }
    let (mut left, mut first) = (Vec::new(), None);
    for id in plan.snapshots {
        match unless_interrupted(interrupted, delete_snapshot(&ec2, &id)).await {
            Ok(true) => {
                observer.tell(Event::Deleted { id: &id });
                deleted.snapshots.push(id);
            }
            Ok(false) => {
                let reason = Kept::InUse;
                let event = Event::Kept {
                    id: &id,
                    reason: &reason,
                };
                observer.tell(event);
                deleted.kept.push((id, reason));
            }
            Err(error) => {
                left.push(id);
                let _ = first.get_or_insert(error);
            }
        }
    }
    match first {
        None => Ok(deleted),
        Some(error) => Err(Error::SnapshotsLeft {
            image: deleted.image,
            snapshots: left,
            region: deleted.region,
            source: Box::new(error),
        }),
    }
}

async fn deregister(ec2: &Regional<'_>, id: &str) -> Result<(), Error> {
    let image = id.to_owned();
    match ec2.perform(&DeregisterImage { image }).await {
        Ok(_) => Ok(()),
        // It was there a moment ago: an answer was lost, and this is the second try; or somebody else was faster.
        Err(error) if error.code().is_some_and(|code| IMAGE_GONE.contains(&code)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a snapshot; `false`: it is in use. EC2 may need a while to see that an AMI does not use it any more.
pub(crate) async fn delete_snapshot(ec2: &Regional<'_>, id: &str) -> Result<bool, Error> {
    let snapshot = id.to_owned();
    let action = DeleteSnapshot { snapshot };
    let mut pauses = Pauses::new(UNKNOWN);
    loop {
        let error = match ec2.perform(&action).await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.code() {
            Some(SNAPSHOT_GONE) => return Ok(true),
            Some(SNAPSHOT_IN_USE) => {
                debug!("{error}");
                if !ec2.images_of_snapshot(id).await?.is_empty() || !pauses.pause().await {
                    return Ok(false);
                }
            }
            _ => return Err(error.into()),
        }
    }
}
