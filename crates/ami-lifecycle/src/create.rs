//! A disk image, a device, a stream or a snapshot becomes an EBS-backed AMI.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ami_ebs::{BLOCK_SIZE, Source};
use ami_ec2::{
    BlockDevice, BlockDeviceMapping, GetEbsEncryptionByDefault, Image, Regional, RegisterImage, Tag,
};
use serde::Serialize;

use crate::access::{Access, Link};
use crate::delete::denied;
use crate::distribution::{Copied, Distribution, SOURCE_TAG, Unfinished, distribute};
use crate::error::Error;
use crate::journal::Journal;
use crate::keys;
use crate::known::{Known, Ours};
use crate::observer::{Event, Observer};
use crate::quotas::QuotaUse;
use crate::registering::{find, register_once};
use crate::source::{Disk, Origin, Warning};
use crate::upload::{Writing, write};
use crate::waiting::{unless_interrupted, until_available, until_completed};

/// How long a snapshot may take from its last block to its completion, and an AMI to be available.
const LONGEST_COMPLETION: Duration = Duration::from_secs(2 * 3600);
const LONGEST_REGISTRATION: Duration = Duration::from_secs(3600);

/// The root volume of instances.
#[derive(Debug, Clone, Default)]
pub struct RootVolume {
    /// `gp3`, `io2` …
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<u64>,
    /// MiB a second.
    pub throughput: Option<u64>,
}

/// What is made, and how. What is not given is looked up in the source, or left to EC2.
#[derive(Debug)]
pub struct Create {
    /// How AWS is reached.
    pub access: Access,
    /// What it is made of.
    pub origin: Origin,
    /// The AMI's name; `None`: only the snapshot is made.
    pub name: Option<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// `i386`, `x86_64` or `arm64`.
    pub architecture: Option<String>,
    /// The volume's size in GiB; `None` for the smallest that holds the source. A stream needs it.
    pub size: Option<u64>,
    /// The root volume of instances.
    pub root: RootVolume,
    /// The name of the root device; `None` for that of the bundle, else `/dev/xvda`.
    pub root_device: Option<String>,
    /// Further devices; one of the bundle's that has the same name gives way.
    pub devices: Vec<BlockDeviceMapping>,
    /// Whether the snapshot is encrypted; otherwise as the account's settings say.
    pub encrypted: bool,
    /// The KMS key for that: its ID or ARN, or the name or ARN of an alias.
    pub kms_key: Option<String>,
    /// `legacy-bios`, `uefi` or `uefi-preferred`.
    pub boot_mode: Option<String>,
    /// `hvm` or `paravirtual`.
    pub virtualization: String,
    /// Whether the image has the driver `ena`; `None`: if it was found in the image, or nothing was found of drivers. Paravirtual and 32-bit
    /// ones never do.
    pub ena: Option<bool>,
    /// Whether instances answer only to version 2 of the metadata service.
    pub imds_v2_only: bool,
    /// Whether instances get a TPM.
    pub tpm: bool,
    /// The variables of UEFI, in base64.
    pub uefi_data: Option<String>,
    /// Tags of the snapshot and the AMI.
    pub tags: Vec<Tag>,
    /// What follows.
    pub distribution: Distribution,
    /// Whether every block is read back and compared.
    pub verify: bool,
    /// The most requests in flight.
    pub parallel: usize,
    /// Whether a later run may go on with what this one has begun, if its source stays. If not, an interrupted run deletes its snapshot.
    pub resumes: bool,
    /// Where the run notes which blocks are written.
    pub journal: Journal,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is shown, and nothing is made.
    Show,
    /// What is in the way is to be known before a long preparation. Quotas are not looked at: whatever counts against them may change
    /// meanwhile.
    Prepare,
}

/// What is made, and what is in the way.
#[derive(Debug)]
pub struct CreatePlan {
    /// The region.
    pub region: String,
    /// The volume's size in GiB.
    pub volume_size: Option<u64>,
    /// How many blocks of 512 KiB the source has.
    pub blocks: Option<u64>,
    /// How many of them are left out, because file systems call them free.
    pub free: Option<u64>,
    /// Whether the snapshot will be encrypted.
    pub encrypted: Option<bool>,
    /// The key that encrypts it, by its ARN, or AWS's own by its alias.
    pub kms_key: Option<String>,
    /// How much is used of the quotas that could be read.
    pub quotas: Vec<QuotaUse>,
    /// How many seconds EBS takes for the blocks at least, if its quotas could be read.
    pub least_seconds: Option<u64>,
    /// The AMI, as EC2 will be asked for it, but for its snapshot.
    pub image: Option<RegisterImage>,
    /// The AMI that is there already, if an earlier run has made it.
    pub existing: Option<String>,
    /// What is worth knowing.
    pub warnings: Vec<Warning>,
    /// Why it cannot be done.
    pub problems: Vec<Error>,
}

/// What was made.
#[derive(Debug)]
pub struct Created {
    /// The snapshot.
    pub snapshot: String,
    /// The AMI.
    pub image: Option<String>,
    /// Its region.
    pub region: String,
    /// Its name.
    pub name: Option<String>,
    /// Its architecture.
    pub architecture: Option<String>,
    /// What was sent; `None` of a snapshot that was there.
    pub sent: Option<Sent>,
    /// The copies.
    pub copies: Vec<Copied>,
    /// What of the rest failed.
    pub unfinished: Vec<Unfinished>,
}

/// How many blocks of 512 KiB were sent, and not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Sent by this run.
    pub sent: u64,
    /// Of the snapshot's: zeros in space that is in use.
    pub zeros: u64,
    /// Left out: file systems call them free.
    pub free: u64,
    /// Sent again, because it was not known whether they had arrived.
    pub again: u64,
    /// There from an interrupted run.
    pub kept: u64,
}

/// Looks up what [`create`] would do, and whether it would be allowed to.
///
/// # Errors
/// AWS cannot be asked; an interruption. What else is in the way is in the plan.
pub async fn plan_create(
    request: &Create,
    purpose: Purpose,
    interrupted: &AtomicBool,
) -> Result<CreatePlan, Error> {
    let known = Known::new(request, interrupted).await;
    if let Err(Error::Interrupted) = known {
        return Err(Error::Interrupted);
    }
    unless_interrupted(interrupted, async {
        let link = Link::open(&request.access).await?;
        let mut plan = CreatePlan {
            region: link.region.clone(),
            volume_size: None,
            blocks: None,
            free: None,
            encrypted: None,
            kms_key: None,
            quotas: Vec::new(),
            least_seconds: None,
            image: None,
            existing: None,
            warnings: Vec::new(),
            problems: Vec::new(),
        };
        match known {
            Ok(known) => plan.look(request, known, &link.here()?).await?,
            Err(error) => {
                plan.problems.push(error);
                plan.look_at_name(request, |_| false, &link.here()?).await?;
            }
        }
        plan.problems.extend(request.check_journal().err());
        for copy in &request.distribution.copies {
            let asked = link.there(&copy.region)?;
            let name = request.name.as_deref().unwrap_or_default();
            plan.problems
                .extend(asked.images_named(name).await.err().map(Error::from));
        }
        plan.look_at_keys(request, &link).await?;
        if purpose == Purpose::Show {
            plan.look_at_quotas(request, &link).await?;
        }
        Ok(plan)
    })
    .await
}

impl Create {
    /// Whether a later run goes on with what this one has begun.
    pub fn can_resume(&self) -> bool {
        self.resumes && self.origin.stays()
    }

    /// Whether encryption is asked for.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted || self.kms_key.is_some()
    }

    /// Whether a journal can be kept, if one is.
    fn check_journal(&self) -> Result<(), Error> {
        match self.origin {
            Origin::Snapshot(_) => Ok(()),
            _ => self.journal.check_folder(),
        }
    }
}

impl CreatePlan {
    async fn look(
        &mut self,
        request: &Create,
        mut known: Known,
        ec2: &Regional<'_>,
    ) -> Result<(), Error> {
        self.warnings = std::mem::take(&mut known.warnings);
        match (&known.disk, &known.bundle) {
            (Some(disk), _) => {
                let (all, free) = disk.blocks();
                (self.blocks, self.free) = (Some(all), Some(free));
            }
            // What is free is known when all of it has gone by.
            (None, Some(bundle)) => self.blocks = Some(bundle.size.div_ceil(BLOCK_SIZE)),
            (None, None) => {}
        }
        if let Origin::Snapshot(id) = &request.origin {
            match ec2.snapshot(id).await? {
                Some(snapshot) => {
                    known.volume_size = request.size.or(snapshot.volume_size).unwrap_or_default();
                    self.encrypted = Some(snapshot.encrypted);
                }
                None => self.problems.push(Error::NoSnapshot {
                    snapshot: id.clone(),
                    region: ec2.region().to_owned(),
                }),
            }
        } else {
            let asked = ec2.perform(&GetEbsEncryptionByDefault).await;
            self.encrypted = match asked {
                Ok(answer) => Some(answer.ebs_encryption_by_default || request.is_encrypted()),
                // It only says what would be.
                Err(_) => request.is_encrypted().then_some(true),
            };
        }
        self.volume_size = (known.volume_size > 0).then_some(known.volume_size);
        let (ours, _) = Ours::new(request, &known, ec2).await?;
        let may_be = |image: &Image| ours.may_be(image, &request.origin);
        self.look_at_name(request, may_be, ec2).await?;
        if self.existing.is_none() {
            self.problems.extend(known.problems(request));
        }
        if let Some(name) = &request.name {
            let snapshot = match &request.origin {
                Origin::Snapshot(id) => Some(id.as_str()),
                _ => None,
            };
            let image = known.image(request, name, snapshot);
            // Other refusals are of what it does not have yet.
            let is_permission = |error: &Error| match error {
                Error::Ec2(error) => error.code().is_none(),
                _ => true,
            };
            let allowed = denied(ec2, ec2.allows(&image).await);
            self.problems.extend(allowed.filter(is_permission));
            self.image = Some(image);
        }
        Ok(())
    }

    async fn look_at_name(
        &mut self,
        request: &Create,
        may_be: impl Fn(&Image) -> bool,
        ec2: &Regional<'_>,
    ) -> Result<(), Error> {
        let Some(name) = &request.name else {
            return Ok(());
        };
        match find(ec2, name, &may_be).await {
            Ok(existing) => self.existing = existing,
            Err(error @ Error::NameTaken { .. }) => self.problems.push(error),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Makes a snapshot of a source, and an AMI of the snapshot; copies and offers it. What an interrupted run has done of it is found, and not
/// done again.
///
/// # Errors
/// The AMI is not made: [`Error::Upload`] says what has become of the snapshot. What fails after the AMI is made is in [`Created`].
pub async fn create(
    request: Create,
    observer: &impl Observer,
    interrupted: &AtomicBool,
) -> Result<Created, Error> {
    let mut known = Known::new(&request, interrupted).await?;
    for warning in &known.warnings {
        observer.tell(Event::Warning(warning));
    }
    let begin = async {
        let link = Link::open(&request.access).await?;
        let ec2 = link.here()?;
        let (ours, identity) = Ours::new(&request, &known, &ec2).await?;
        let may_be = |image: &Image| ours.may_be(image, &request.origin);
        let existing = match &request.name {
            Some(name) => find(&ec2, name, &may_be).await?,
            None => None,
        };
        if existing.is_none()
            && let Some(problem) = known.problems(&request).into_iter().next()
        {
            return Err(problem);
        }
        for copy in &request.distribution.copies {
            if let Some(key) = &copy.kms_key {
                keys::check_region(key, &copy.region)?;
            }
        }
        let kms_key = match &request.kms_key {
            Some(name) => Some(keys::resolve(&link.account(&link.region), name).await?),
            None => None,
        };
        Ok((link, ours, identity, kms_key))
    };
    let (link, ours, identity, kms_key) = unless_interrupted(interrupted, begin).await?;
    let ec2 = link.here()?;
    let mut tags = request.tags.clone();
    tags.push(Tag::new(SOURCE_TAG, &ours.source));

    let stays = request.can_resume();
    let (origin, mut rest) = request.split();
    rest.kms_key = kms_key;
    let request = &rest;
    let name = request.name.as_ref();
    let mut image = name.map(|name| known.image(request, name, None));
    let to_write = match origin {
        Origin::Snapshot(id) => Err(id),
        Origin::Stream(reader) => Ok(Source::Stream {
            reader,
            length: None,
        }),
        Origin::Disk { path, still, .. } => {
            let disk = match known.disk.take() {
                Some(disk) => disk,
                None => Disk::open(&path, still.is_some(), interrupted)?,
            };
            Ok(disk.into_source(still))
        }
        Origin::Bundle(bundle) => {
            let opened = match known.bundle.take() {
                Some(opened) => opened,
                None => unless_interrupted(interrupted, bundle.open()).await?,
            };
            Ok(Source::Passing(Box::new(opened)))
        }
    };
    let (snapshot, written) = match to_write {
        Err(id) => (id, None),
        Ok(source) => {
            let writing = Writing {
                link: &link,
                request,
                tags: &tags,
                identity,
                journal: request.journal.path(&ours.source, &link.region, stays),
                volume_size: known.volume_size,
                stays,
            };
            let written = write(&writing, source, observer, interrupted).await?;
            (written.snapshot.clone(), Some(written))
        }
    };
    let completed = until_completed(&ec2, &snapshot, LONGEST_COMPLETION, observer);
    let _ = unless_interrupted(interrupted, completed).await?;
    if let Some(written) = &written
        && request.verify
    {
        written
            .verify(&link, request, observer, interrupted)
            .await?;
    }
    let mut created = Created {
        snapshot: snapshot.clone(),
        image: None,
        region: link.region.clone(),
        name: request.name.clone(),
        architecture: known.architecture.clone(),
        sent: written.as_ref().map(|written| written.sent),
        copies: Vec::new(),
        unfinished: Vec::new(),
    };
    if let Some(image) = &mut image {
        for device in &mut image.block_device_mappings[..1] {
            if let BlockDevice::Ebs(root) = &mut device.kind {
                root.snapshot_id = Some(snapshot.clone());
            }
        }
        image.tags.clone_from(&tags);
        let is_ours = |image: &Image| image.root_snapshot() == Some(&snapshot);
        let registering = async {
            let registered = register_once(&ec2, image, is_ours).await?;
            observer.tell(Event::Image {
                id: &registered.id,
                region: &link.region,
                is_new: registered.is_new,
            });
            until_available(&ec2, &registered.id, LONGEST_REGISTRATION, observer).await
        };
        let available = unless_interrupted(interrupted, registering).await?;
        let distribution = &request.distribution;
        let distributed = distribute(
            &link,
            &available,
            &tags,
            distribution,
            observer,
            interrupted,
        )
        .await?;
        created.architecture = available.architecture.or(created.architecture);
        created.image = available.image_id;
        created.copies = distributed.copies;
        created.unfinished = distributed.unfinished;
    }
    if let Some(written) = written {
        written.forget()?;
    }
    Ok(created)
}

impl Create {
    /// The source, which is used up, and the rest.
    fn split(self) -> (Origin, Self) {
        let gone = Origin::Snapshot(String::new());
        let mut rest = self;
        let origin = std::mem::replace(&mut rest.origin, gone);
        (origin, rest)
    }

    /// What the snapshot is called in lists.
    pub(crate) fn snapshot_description(&self) -> String {
        match (&self.description, &self.name) {
            (Some(description), _) => description.clone(),
            (None, Some(name)) => format!("{name}, made by ec2-ami"),
            (None, None) => "Made by ec2-ami".to_owned(),
        }
    }
}

/// Blocks as bytes.
pub fn bytes_of(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK_SIZE)
}
