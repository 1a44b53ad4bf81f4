//! What is known before anything is sent: the source, the AMI that it becomes, and which AMIs are of it.

use std::sync::atomic::AtomicBool;

use ami_ebs::LARGEST_VOLUME;
use ami_ec2::{BlockDevice, BlockDeviceMapping, EbsBlockDevice, Image, Regional, RegisterImage};

use crate::bundle::OpenedBundle;
use crate::create::Create;
use crate::devices::add_devices;
use crate::distribution::SOURCE_TAG;
use crate::error::Error;
use crate::identity::{of_snapshot, unique};
use crate::source::{Disk, GIB, Origin, Warning};
use crate::waiting::unless_interrupted;

/// What the root device of an AMI is called where nothing says otherwise.
const ROOT_DEVICE: &str = "/dev/xvda";

/// The source, as far as it is known before anything is sent.
pub(crate) struct Known {
    pub(crate) disk: Option<Disk>,
    pub(crate) bundle: Option<OpenedBundle>,
    pub(crate) architecture: Option<String>,
    /// The name of the device that it starts from.
    root_device: String,
    /// Further devices.
    devices: Vec<BlockDeviceMapping>,
    boot_mode: Option<String>,
    /// Whether its kernel has the driver `ena`, if that is known.
    has_ena: Option<bool>,
    pub(crate) volume_size: u64,
    pub(crate) warnings: Vec<Warning>,
}

impl Known {
    /// Opens the source.
    pub(crate) async fn new(request: &Create, interrupted: &AtomicBool) -> Result<Self, Error> {
        let bundle = match &request.origin {
            Origin::Bundle(bundle) => Some(unless_interrupted(interrupted, bundle.open()).await?),
            _ => None,
        };
        let disk = match &request.origin {
            Origin::Disk { path, still, .. } => {
                Some(Disk::open(path, still.is_some(), interrupted)?)
            }
            Origin::Bundle(_) | Origin::Stream(_) | Origin::Snapshot(_) => None,
        };
        let survey = disk.as_ref().map(|disk| &disk.survey);
        let found = survey.and_then(|survey| survey.architecture);
        let architecture = request.architecture.clone();
        let architecture = architecture.or_else(|| found.map(|found| found.to_string()));
        let of_bundle = || bundle.as_ref()?.architecture.clone();
        let architecture = architecture.or_else(of_bundle);
        let boot = survey.map(|survey| survey.boot).unwrap_or_default();
        let boot_mode = match (boot.bios, boot.uefi) {
            // Instances of this architecture have no BIOS.
            (_, true) if architecture.as_deref() == Some("arm64") => Some("uefi"),
            (true, true) => Some("uefi-preferred"),
            (false, true) => Some("uefi"),
            (true, false) => Some("legacy-bios"),
            (false, false) => None,
        };
        // PV-GRUB reads the menu itself.
        let is_hvm = request.virtualization == "hvm";
        let boot_mode = boot_mode.filter(|_| is_hvm).map(str::to_owned);
        let mut warnings = disk.as_ref().map(Disk::warnings).unwrap_or_default();
        if !is_hvm || request.name.is_none() {
            warnings.retain(|warning| *warning != Warning::NoBootLoader);
        }
        let has_ena = survey.and_then(|survey| survey.has_ena);
        if has_ena == Some(false) && is_hvm && request.name.is_some() && request.ena != Some(false)
        {
            warnings.push(Warning::NoEna);
        }
        let least = match &bundle {
            Some(bundle) => Some(bundle.size.div_ceil(GIB)),
            None => disk.as_ref().map(Disk::gib),
        };
        let volume_size = match (request.size, least) {
            (Some(given), Some(least)) if given < least => {
                return Err(Error::TooLarge { least, given });
            }
            (Some(given), _) => given,
            (None, Some(least)) => least,
            // A snapshot knows its own; a stream has been given one.
            (None, None) => 0,
        };
        if volume_size > LARGEST_VOLUME {
            let (least, given) = (volume_size, LARGEST_VOLUME);
            return Err(Error::TooLarge { least, given });
        }
        let (root_of_bundle, of_bundle) = match &bundle {
            // A snapshot has none.
            Some(bundle) if request.name.is_some() => bundle.devices()?,
            _ => (None, Vec::new()),
        };
        let root_device = request.root_device.clone().or(root_of_bundle);
        let root_device = root_device.unwrap_or_else(|| ROOT_DEVICE.to_owned());
        let mut devices = request.devices.clone();
        add_devices(&mut devices, of_bundle, Some(&root_device));
        Ok(Self {
            disk,
            bundle,
            architecture,
            root_device,
            devices,
            boot_mode: request.boot_mode.clone().or(boot_mode),
            has_ena,
            volume_size,
            warnings,
        })
    }

    /// What EC2 is asked for.
    pub(crate) fn image(
        &self,
        request: &Create,
        name: &str,
        snapshot: Option<&str>,
    ) -> RegisterImage {
        let size = (self.volume_size > 0).then_some(self.volume_size);
        let root = EbsBlockDevice {
            snapshot_id: snapshot.map(str::to_owned),
            volume_size: size,
            volume_type: request.root.volume_type.clone(),
            iops: request.root.iops,
            throughput: request.root.throughput,
            delete_on_termination: Some(true),
            encrypted: None,
        };
        let mut devices = vec![BlockDeviceMapping {
            device_name: self.root_device.clone(),
            kind: BlockDevice::Ebs(root),
        }];
        devices.extend(self.devices.iter().cloned());
        let is_i386 = self.architecture.as_deref() == Some("i386");
        let is_hvm = request.virtualization == "hvm";
        let has_ena = is_hvm && !is_i386 && self.has_ena != Some(false);
        let version_2 = || "v2.0".to_owned();
        RegisterImage {
            name: name.to_owned(),
            description: request.description.clone(),
            architecture: self.architecture.clone(),
            virtualization_type: Some(request.virtualization.clone()),
            root_device_name: Some(self.root_device.clone()),
            block_device_mappings: devices,
            ena_support: Some(request.ena.unwrap_or(has_ena)),
            boot_mode: self.boot_mode.clone(),
            uefi_data: request.uefi_data.clone(),
            tpm_support: request.tpm.then(version_2),
            imds_support: request.imds_v2_only.then(version_2),
            ..RegisterImage::default()
        }
    }

    /// What an AMI of it lacks.
    pub(crate) fn problems(&self, request: &Create) -> Vec<Error> {
        let mut problems = Vec::new();
        if request.name.is_some() && self.architecture.is_none() {
            problems.push(Error::NoArchitecture);
        }
        if request.tpm && self.boot_mode.as_deref() != Some("uefi") {
            let boot_mode = self.boot_mode.clone();
            problems.push(Error::TpmWithoutUefi { boot_mode });
        }
        problems
    }
}

/// What tells AMIs of this source from others.
pub(crate) struct Ours {
    /// The digest of its identity, as in our tag.
    pub(crate) source: String,
    /// Whether an interrupted run may have made the AMI.
    is_begun: bool,
}

impl Ours {
    pub(crate) async fn new(
        request: &Create,
        known: &Known,
        ec2: &Regional<'_>,
    ) -> Result<(Self, [u8; 32]), Error> {
        let identity = match (&request.origin, &known.disk) {
            (Origin::Bundle(_), _) if request.resumes => {
                known.bundle.as_ref().map_or_else(unique, |it| it.identity)
            }
            (Origin::Snapshot(id), _) => {
                let snapshot = ec2.snapshot(id).await?;
                let tag = snapshot.as_ref().and_then(|snapshot| {
                    snapshot.tags().get(SOURCE_TAG).copied().map(str::to_owned)
                });
                let identity = of_snapshot(id);
                let source = tag.unwrap_or_else(|| hex::encode(identity));
                let is_begun = true;
                return Ok((Self { source, is_begun }, identity));
            }
            (Origin::Disk { stays: true, .. }, Some(disk)) if request.resumes => disk.identity(),
            _ => unique(),
        };
        let source = hex::encode(identity);
        let stays = request.can_resume();
        let journal = request.journal.path(&source, ec2.region(), stays);
        Ok((
            Self {
                source,
                is_begun: journal.exists(),
            },
            identity,
        ))
    }

    /// Whether an AMI may be that of an interrupted run; which snapshot it has is found out later.
    pub(crate) fn may_be(&self, image: &Image, origin: &Origin) -> bool {
        match origin {
            Origin::Snapshot(id) => image.root_snapshot() == Some(id),
            _ => self.is_begun && image.tags().get(SOURCE_TAG) == Some(&self.source.as_str()),
        }
    }
}
