//! Making the image, as planned.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ami_mounts::Mounts;
use ami_pool::Pool;
use rustix::mount::{MountFlags, UnmountFlags};
use tracing::debug;

use crate::boot::{Identity, Target, check};
use crate::copied::{Copied, CopyProgress};
use crate::copy::Copying;
use crate::customise;
use crate::error::Error;
use crate::format::Makers;
use crate::in_use::Session;
use crate::loop_device::LoopDevice;
use crate::partition::{Layout, PartitionId, PartitionType, random, write_table};
use crate::plan::Plan;
use crate::superblock::Superblock;
use crate::workshop::Workshop;

/// What happens while an image is made.
#[derive(Debug)]
pub enum Event<'a> {
    /// Snapshots of so many btrfs subvolumes have been made, and are copied.
    Snapshots(usize),
    /// What the volume is on was frozen.
    Frozen,
    /// What changed during the first pass is copied again.
    SecondPass,
    /// The copy is complete.
    Copied,
    /// The user's script is started.
    Script {
        /// Where the image is mounted for it.
        mount_point: &'a Path,
        /// The script.
        script: &'a Path,
    },
    /// What a script that failed had printed.
    ScriptOutput(&'a [u8]),
    /// The table of file systems was replaced by this one.
    Fstab(&'a str),
}

/// How to run.
pub struct Making<'a> {
    /// Entries and bytes as they are copied.
    pub progress: CopyProgress<'a>,
    /// Called for each event, in order.
    pub event: &'a (dyn Fn(Event<'_>) + Sync),
    /// Raised when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// What was copied.
    pub copied: Copied,
    /// The root file system's UUID.
    pub uuid: String,
    /// What may keep the image from booting, one line each.
    pub warnings: Vec<String>,
}

/// Makes the image in a file that is not there yet. No mount and no loop device is left behind, whatever happens; the file may be.
///
/// With [`crate::InUse`], nothing stays frozen and no snapshot stays, if the program calls [`crate::keep`].
///
/// # Errors
/// The first step that failed.
pub fn make(plan: &Plan, image: &Path, making: &Making<'_>) -> Result<Made, Error> {
    let makers = plan.makers.as_ref().ok_or_else(|| {
        Error::io("make an image of", &plan.volume)(std::io::ErrorKind::PermissionDenied)
    })?;
    Workshop::enter(making.interrupted, |workshop| {
        make_in(plan, makers, image, making, workshop)
    })
}

/// Makes the image's file with its partition table.
fn make_file(plan: &Plan, path: &Path) -> Result<(File, Option<PartitionId>), Error> {
    let mut options = File::options();
    // Everything that only root may read on the volume is in it.
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(Error::io("create", path))?;
    file.set_len(plan.request.size)
        .map_err(Error::io("write", path))?;
    let mut partition_id = None;
    if plan.partition != PartitionType::None {
        let source = plan.source_partition.as_ref();
        let keep = source.and_then(|partition| partition.id);
        partition_id = Some(write_table(&file, path, plan.partition, keep, random)?);
    }
    Ok((file, partition_id))
}

fn make_in(
    plan: &Plan,
    makers: &Makers,
    path: &Path,
    making: &Making<'_>,
    workshop: &Workshop<'_>,
) -> Result<Made, Error> {
    let (file, partition_id) = make_file(plan, path)?;
    let shown = workshop.show_volume(&plan.volume, &plan.mounts)?;
    let Layout {
        root_offset,
        root_length,
        ..
    } = plan.layout;
    let device = LoopDevice::new(&file, root_offset, root_length, workshop.base())?;
    let entries = plan.contents.entries;
    plan.twin
        .make(makers, &device, workshop, root_length, entries)?;
    plan.twin.mount(&device, workshop)?;

    // An error leaves the mount to the kernel, which takes it away with the thread.
    let root = workshop.image();
    let session = Session::begin(plan, shown, making, workshop)?;
    let copied = fill(plan, &session, &root, making, workshop)?;
    session.finish()?;
    (making.event)(Event::Copied);
    let uuid = match &plan.twin.uuid {
        Some(uuid) => uuid.clone(),
        None => new_uuid(&device)?,
    };
    let warnings = customise(plan, partition_id, &uuid, making, workshop)?;
    unmount(&root)?;
    plan.twin.finish(makers, &device, workshop)?;
    device.finish()?;
    if let Some(loader) = &plan.loader {
        let target = Target {
            path,
            partition: plan.partition,
            layout: plan.layout,
            file_system: plan.twin.name,
            subvolume: &plan.twin.subvolume,
        };
        loader.install(&file, &target, workshop)?;
    }
    Ok(Made {
        copied,
        uuid,
        warnings,
    })
}

/// Copies the volume into the image's file system, which is mounted on `root`.
fn fill(
    plan: &Plan,
    session: &Session<'_>,
    root: &Path,
    making: &Making<'_>,
    workshop: &Workshop<'_>,
) -> Result<Copied, Error> {
    customise::make_folders(root)?;
    let copying = Copying {
        source: &workshop.volume(),
        target: root,
        selection: session.selection(),
        // Its threads end here, before the workshop does: they keep its mounts.
        pool: &Pool::new(plan.request.threads),
        progress: making.progress,
        interrupted: making.interrupted,
        thawed: session
            .frozen_until()
            .map(|end| (plan.volume.as_path(), end)),
    };
    let mut copied = if plan.request.in_use.second_pass && !session.is_still() {
        copying.twice(|| (making.event)(Event::SecondPass))?
    } else {
        copying.first(None)?
    };
    let shown = session.shown();
    // A folder that is renamed while its parent is read may be missed under both names.
    let is_missed = |device: &u64| !copied.file_systems.contains(device);
    let missed = shown.folders.iter().filter(|(_, dev)| is_missed(dev));
    let missed = missed
        .map(|(mount, _)| below(&mount.mount_point, &plan.volume))
        .filter(|path| plan.selection.enters(path));
    let missing = shown.missing.iter();
    let lost: Vec<PathBuf> = missing
        .map(|mount| below(&mount.mount_point, &plan.volume))
        .chain(missed)
        .collect();
    copied.vanished.extend(lost);
    copied.vanished.sort();
    debug!(copied.entries, copied.data, "copied");
    Ok(copied)
}

/// A path as it is on the volume.
fn below(path: &Path, volume: &Path) -> PathBuf {
    Path::new("/").join(path.strip_prefix(volume).unwrap_or(path))
}

fn customise(
    plan: &Plan,
    partition_id: Option<PartitionId>,
    uuid: &str,
    making: &Making<'_>,
    workshop: &Workshop<'_>,
) -> Result<Vec<String>, Error> {
    let (request, root) = (&plan.request, &workshop.image());
    let configurations = match &plan.loader {
        Some(loader) => loader.configurations(),
        // A paravirtual image is started by PV-GRUB, which reads GRUB Legacy's.
        None => crate::boot::LEGACY_CONFIGURATIONS.map(str::to_owned).into(),
    };
    if let Some(file) = &request.grub_config {
        customise::copy_configuration(root, file, &configurations)?;
    }
    if let Some(loader) = &plan.loader {
        loader.copy_files(workshop)?;
    }
    if let Some(text) =
        customise::write_fstab(root, &request.fstab, plan.partition, &plan.twin, uuid)?
    {
        (making.event)(Event::Fstab(&text));
    }
    if let Some(script) = &request.script {
        (making.event)(Event::Script {
            mount_point: root,
            script,
        });
        customise::run_script(script, root, making.interrupted, |text| {
            (making.event)(Event::ScriptOutput(text));
        })?;
    }
    if plan.loader.is_none() {
        return Ok(Vec::new());
    }
    let identity = Identity {
        uuid: uuid.to_owned(),
        label: plan.twin.label.clone(),
        partuuid: partition_id.map(|id| id.partuuid()),
    };
    let running = if plan.volume == Path::new("/") {
        std::fs::read_to_string("/proc/cmdline").ok()
    } else {
        None
    };
    Ok(check(root, &configurations, &identity, running.as_deref()))
}

/// Unmounts the image's file system, once everything in it has reached the image file.
fn unmount(root: &PathBuf) -> Result<(), Error> {
    // What the script has mounted in it, the deepest first; there may be several on one folder.
    while let Some(path) = Mounts::of_thread()?
        .below(root)
        .map(|mount| mount.mount_point.clone())
        .max()
    {
        rustix::mount::unmount(&path, UnmountFlags::empty())
            .map_err(Error::io("unmount", &path))?;
    }
    {
        let folder = File::open(root).map_err(Error::io("open", root))?;
        rustix::fs::syncfs(&folder).map_err(Error::io("write", root))?;
    }
    // A late write error shows up here.
    rustix::mount::mount_remount(root, MountFlags::RDONLY, c"")
        .map_err(Error::io("complete", root))?;
    rustix::mount::unmount(root, UnmountFlags::empty()).map_err(Error::io("unmount", root))
}

/// The UUID that mkfs has chosen.
fn new_uuid(device: &LoopDevice) -> Result<String, Error> {
    let path = device.path();
    let file = File::open(path).map_err(Error::io("open", path))?;
    let superblock = Superblock::read(file).map_err(Error::io("read", path))?;
    Ok(superblock
        .map(|superblock| superblock.uuid)
        .unwrap_or_default())
}
