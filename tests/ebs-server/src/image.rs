//! An AMI.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::snapshot::Tags;

/// An AMI, as registered or copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRecord {
    /// `ami-…`.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its account.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// `i386`, `x86_64`, `arm64` …
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization: String,
    /// The manifest of an instance store-backed one.
    pub location: Option<String>,
    /// The name of its root device.
    pub root_device_name: Option<String>,
    /// Its devices, in order.
    pub devices: Vec<Device>,
    /// Whether it has enhanced networking with ENA.
    pub ena_support: Option<bool>,
    /// `simple`.
    pub sriov_net_support: Option<String>,
    /// `legacy-bios`, `uefi`, `uefi-preferred`.
    pub boot_mode: Option<String>,
    /// `v2.0`.
    pub tpm_support: Option<String>,
    /// `v2.0`.
    pub imds_support: Option<String>,
    /// The UEFI variable store, in base 64.
    pub uefi_data: Option<String>,
    /// `aki-…`.
    pub kernel: Option<String>,
    /// `ari-…`.
    pub ramdisk: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// Its product codes.
    pub product_codes: Vec<String>,
    /// `windows`, or nothing.
    pub platform: Option<String>,
    /// Who may start it.
    pub launch: BTreeSet<Launch>,
    /// When it is deprecated, as `YYYY-MM-DDThh:mm:00.000Z`.
    pub deprecation: Option<String>,
    /// Whether it cannot be deregistered.
    pub is_protected: bool,
    /// The image that it was copied from, and its region.
    pub source: Option<(String, String)>,
    /// What is the matter with a failed copy.
    pub failure: Option<String>,
    #[serde(skip)]
    pub(crate) created: Option<SystemTime>,
    #[serde(skip)]
    pub(crate) visible: Option<Instant>,
    #[serde(skip)]
    pub(crate) ready: Option<Instant>,
}

/// A device of an AMI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `/dev/…`.
    pub name: String,
    /// `ephemeral0` …
    pub virtual_name: Option<String>,
    /// Whether the device of this name is left out.
    pub is_none: bool,
    /// The EBS volume.
    pub ebs: Option<EbsDevice>,
}

/// An EBS volume of an AMI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EbsDevice {
    /// Its snapshot.
    pub snapshot: Option<String>,
    /// Its size in GiB.
    pub size: u64,
    /// `standard` unless said.
    pub kind: String,
    /// Its I/O operations a second.
    pub iops: Option<u64>,
    /// Its MiB a second.
    pub throughput: Option<u64>,
    /// Whether it is deleted with its instance.
    pub is_deleted_on_termination: bool,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

/// Who may start an AMI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Launch {
    /// Everybody: the group `all`.
    All,
    /// An account.
    Account(String),
    /// An organisation, by its ARN.
    Organization(String),
    /// An organisational unit, by its ARN.
    Unit(String),
}

impl ImageRecord {
    /// `pending`, `available` or `failed`.
    pub fn state(&self) -> &'static str {
        match &self.failure {
            _ if self.ready.is_some_and(|ready| Instant::now() < ready) => "pending",
            Some(_) => "failed",
            None => "available",
        }
    }

    /// The snapshots of its devices.
    pub fn snapshots(&self) -> impl Iterator<Item = &str> {
        let devices = self.devices.iter().filter_map(|device| device.ebs.as_ref());
        devices.filter_map(|device| device.snapshot.as_deref())
    }

    pub(crate) fn is_visible(&self) -> bool {
        self.visible.is_none_or(|visible| Instant::now() >= visible)
    }

    pub(crate) fn is_public(&self) -> bool {
        self.launch.contains(&Launch::All)
    }

    pub(crate) fn is_usable_by(&self, account: &str) -> bool {
        let account = account.to_owned();
        self.owner == account || self.is_public() || self.launch.contains(&Launch::Account(account))
    }
}
