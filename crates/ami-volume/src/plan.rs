//! Everything that is looked up before anything is made.

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tracing::debug;

use crate::boot::{Loader, Target};
use crate::customise::Fstab;
use crate::error::Error;
use crate::filter::{Filter, Origin, Rule, SECRETS_AND_LEFTOVERS};
use crate::format::{Makers, Twin};
use crate::mounts::{Mount, Mounts};
use crate::packages;
use crate::partition::{Layout, PartitionType, SourcePartition};
use crate::scan::{Contents, scan};
use crate::selection::Selection;
use crate::source::{LeftOutMount, Source};
use crate::superblock::Kind;
use crate::tools::Finder;
use crate::workshop::Workshop;

/// Folders whose contents belong to the running machine.
pub const ALWAYS_EMPTY: [&str; 5] = ["/dev", "/media", "/mnt", "/proc", "/sys"];

/// What the image's metadata may take besides the data, in bytes: on ext2 to ext4, whose tables stay holes, and on others, which
/// write a log; and for each entry.
const OVERHEAD_OF_EXT: u64 = 2 << 20;
const OVERHEAD: u64 = 64 << 20;
const OVERHEAD_OF_ENTRY: u64 = 512;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The volume: a folder that is there.
    pub volume: PathBuf,
    /// The image's size in bytes.
    pub size: u64,
    /// `None` for what the volume's disk has.
    pub partition: Option<PartitionType>,
    /// Whether mounts of any kind are copied along.
    pub all: bool,
    /// Patterns of what is left out, and of what is not left out although another pattern says so.
    pub excludes: Vec<String>,
    /// See `excludes`.
    pub includes: Vec<String>,
    /// Whether secrets and leftovers are left out ([`SECRETS_AND_LEFTOVERS`]).
    pub filter: bool,
    /// The table of file systems.
    pub fstab: Fstab,
    /// A boot configuration that replaces the volume's.
    pub grub_config: Option<PathBuf>,
    /// A program that changes the image.
    pub script: Option<PathBuf>,
    /// Whether programs of the volume may be run where this machine lacks one.
    pub use_volume_tools: bool,
    /// Whether nothing is to be made afterwards: then no program of the volume is run at all.
    pub is_dry_run: bool,
    /// Files that are never copied, by whatever name: the private key.
    pub secrets: Vec<PathBuf>,
    /// Where the image is to be.
    pub destination: PathBuf,
    /// The image's path, and other files of this run, which are not copied.
    pub own: Vec<PathBuf>,
    /// How the paths of private folders begin, which are not copied.
    pub private: PathBuf,
    /// How much more than the image is to go to the destination, as a multiple of its data.
    pub copies: u64,
    /// Whether space at the destination is checked.
    pub check_space: bool,
    /// How many threads look and copy.
    pub threads: NonZeroUsize,
}

/// What will be done.
#[derive(Debug)]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// The volume without links.
    pub volume: PathBuf,
    /// Whether something is mounted there, and not just a folder of something.
    pub is_mount_point: bool,
    /// The volume's file system, as it is mounted: `ext4`, `overlay`.
    pub fs_type: String,
    /// The device that it is on, if it has one.
    pub device: Option<(u32, u32)>,
    /// What was mounted: a device's path, or a name.
    pub source: PathBuf,
    /// Whether its superblock could be read, and is of a kind that is known here.
    pub has_superblock: bool,
    /// Whether it is ext4 with the 64bit feature, which GRUB Legacy and PV-GRUB do not read.
    pub is_64bit: bool,
    /// The file system that the image gets.
    pub twin: Twin,
    /// How the image is partitioned.
    pub partition: PartitionType,
    /// The partition that the volume is on.
    pub source_partition: Option<SourcePartition>,
    /// Where things are in the image.
    pub layout: Layout,
    /// `None` for an image without partitions.
    pub loader: Option<Loader>,
    /// Mounts that are copied along, relative to the volume.
    pub along: Vec<PathBuf>,
    pub(crate) mounts: Vec<Mount>,
    /// Mounts that are not.
    pub left_out_mounts: Vec<LeftOutMount>,
    /// What is copied, and what is not.
    pub contents: Contents,
    /// Files that belong to packages and are taken out with the secrets and leftovers, with the packages.
    pub packaged: Vec<(PathBuf, String)>,
    /// At the destination, in bytes.
    pub free: u64,
    /// At the destination, in bytes, at most.
    pub needed: u64,
    pub(crate) selection: Selection,
    pub(crate) makers: Option<Makers>,
}

impl Plan {
    /// Looks everything up. Root sees everything; others see what they may, and get a plan that is as good.
    ///
    /// # Errors
    /// Says what cannot work, and what to do.
    pub fn new(request: Request, interrupted: &AtomicBool) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Self::look(request, None, interrupted);
        }
        // In mounts of its own the volume is looked at without changing so much as a time of access.
        on_own_thread(|| {
            let workshop = Workshop::new(interrupted)?;
            let plan = Self::look(request, Some(&workshop), interrupted)?;
            workshop.finish()?;
            Ok(plan)
        })
    }

    fn look(
        request: Request,
        workshop: Option<&Workshop<'_>>,
        interrupted: &AtomicBool,
    ) -> Result<Self, Error> {
        let mounts = Mounts::load()?;
        let source = Source::find(&request.volume, &mounts)?;
        let superblock = source.superblock(workshop);
        let mut twin = source.twin(superblock.as_ref());
        let source_partition = source.partition(workshop);
        let usual = match (&source_partition, source.is_mount_point) {
            (_, false) => PartitionType::Gpt,
            (Some(partition), true) => partition.kind,
            (None, true) => PartitionType::None,
        };
        let partition = request.partition.unwrap_or(usual);
        let layout = Layout::new(partition, request.size);
        let (mounts, left_out_mounts) = source.mounts_below(&mounts, request.all);
        let along = mounts.iter().map(|mount| source.path_of(mount));
        let along = along.filter_map(|path| Some(path.strip_prefix("/").ok()?.to_owned()));
        let along = along.collect();
        let selection = selection(&request, &source.volume, &left_out_mounts)?;
        let view = view(&source.volume, &mounts, workshop)?;
        let finder = Finder {
            view: &view,
            volume: &source.volume,
            use_volume: request.use_volume_tools,
        };
        let loader = match partition {
            PartitionType::None => None,
            _ => Some(find_loader(&request, &finder, partition)?),
        };
        let makers = find_makers(&mut twin, &finder, layout, workshop.is_some())?;
        if let (Some(loader), Some(workshop), Some(makers)) = (&loader, workshop, &makers)
            && !(request.is_dry_run && (loader.needs_volume() || makers.need_volume()))
        {
            let target = Target {
                path: &request.own[0],
                partition,
                layout,
                file_system: twin.name,
                subvolume: &twin.subvolume,
            };
            rehearse(loader, &target, &twin, makers, workshop)?;
        }
        let contents = scan(
            &view,
            &selection,
            twin.largest_file(),
            request.threads,
            interrupted,
            workshop.is_some(),
        )?;
        debug!(?contents.entries, contents.data, "the volume's contents");
        let packaged = packages::owners(&view, &contents.filtered, interrupted);
        let (free, needed) = check_space(&request, &twin, layout, &contents)?;
        Ok(Self {
            request,
            volume: source.volume,
            is_mount_point: source.is_mount_point,
            fs_type: source.mount.fs_type,
            device: source.device,
            source: source.mount.source,
            has_superblock: superblock.is_some(),
            is_64bit: superblock.is_some_and(|superblock| superblock.is_64bit()),
            twin,
            partition,
            source_partition,
            layout,
            loader,
            along,
            mounts,
            left_out_mounts,
            contents,
            packaged,
            free,
            needed,
            selection,
            makers,
        })
    }

    /// What is left out besides the secrets and leftovers, as the older suite lists it.
    pub fn excluded(&self) -> Vec<String> {
        let own = self.request.own.first();
        let own = own.filter(|image| real_path(image).starts_with(&self.volume));
        ALWAYS_EMPTY
            .into_iter()
            .map(str::to_owned)
            .chain(own.map(|image| image.display().to_string()))
            .chain(
                self.left_out_mounts
                    .iter()
                    .map(|mount| mount.path.display().to_string()),
            )
            .chain(self.request.excludes.iter().cloned())
            .collect()
    }
}

/// Runs something on a thread that may give itself mounts of its own.
pub(crate) fn on_own_thread<T: Send>(
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, act);
        match thread.map_err(Error::NoThreads)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Where the volume is looked at: with mounts of one's own, through those.
fn view(
    volume: &Path,
    mounts: &[Mount],
    workshop: Option<&Workshop<'_>>,
) -> Result<PathBuf, Error> {
    let Some(workshop) = workshop else {
        return Ok(volume.to_owned());
    };
    // What is missing now is looked for, and named, when the image is made.
    let _ = workshop.show_volume(volume, mounts)?;
    Ok(workshop.volume())
}

/// Tries what can be tried of the boot loader before anything is copied.
fn rehearse(
    loader: &Loader,
    target: &Target<'_>,
    twin: &Twin,
    makers: &Makers,
    workshop: &Workshop<'_>,
) -> Result<(), Error> {
    loader.rehearse(
        target,
        workshop,
        |device, length| twin.make(makers, device, workshop, length, 0),
        |device| twin.mount(device, workshop),
    )
}

/// Finds the programs that make the image's file system. Where one is not for everybody to see, root will find it.
fn find_makers(
    twin: &mut Twin,
    finder: &Finder<'_>,
    layout: Layout,
    is_root: bool,
) -> Result<Option<Makers>, Error> {
    let makers = match twin.makers(finder, layout.root_length) {
        Ok(makers) => makers,
        Err(error @ (Error::Least { .. } | Error::ToolOnVolume { .. })) => return Err(error),
        Err(error) if is_root => return Err(error),
        Err(_) => return Ok(None),
    };
    if !makers.can_keep_uuid(twin) {
        twin.uuid = None;
    }
    Ok(Some(makers))
}

/// Looks whether everything goes into the image, and at the destination: what is free there and what is needed, in bytes.
fn check_space(
    request: &Request,
    twin: &Twin,
    layout: Layout,
    contents: &Contents,
) -> Result<(u64, u64), Error> {
    let overhead = match twin.kind {
        Kind::Ext { .. } => OVERHEAD_OF_EXT,
        _ => OVERHEAD,
    };
    let needed_in_image = contents.data + contents.entries * OVERHEAD_OF_ENTRY;
    if needed_in_image > layout.root_length {
        return Err(Error::TooSmall {
            size: request.size,
            needed: needed_in_image + needed_in_image / 50 + overhead,
        });
    }
    let space = rustix::fs::statvfs(&request.destination)
        .map_err(Error::io("read", &request.destination))?;
    let free = space.f_bavail * space.f_frsize;
    let needed = (needed_in_image + overhead).min(request.size) * request.copies;
    if free < needed && request.check_space {
        return Err(Error::Space {
            folder: request.destination.clone(),
            free,
            needed,
        });
    }
    Ok((free, needed))
}

fn find_loader(
    request: &Request,
    finder: &Finder<'_>,
    partition: PartitionType,
) -> Result<Loader, Error> {
    let (volume, view) = (finder.volume, finder.view);
    let loader = Loader::find(finder)?.ok_or_else(|| Error::NoBootLoader {
        volume: volume.to_owned(),
        partition: partition.name(),
    })?;
    if request.grub_config.is_none() && request.script.is_none() && !loader.is_configured(view) {
        return Err(Error::BootLoader(format!(
            "{} has {}, but no configuration for it ({}): make one (Debian: update-grub; Red Hat: grub2-mkconfig -o {}), \
             or give one with --grub-config",
            volume.display(),
            loader.name(),
            loader.configurations().join(" or "),
            loader.configurations()[0],
        )));
    }
    Ok(loader)
}

fn selection(
    request: &Request,
    volume: &Path,
    left_out: &[LeftOutMount],
) -> Result<Selection, Error> {
    let rules = |patterns: &[String], origin| {
        let patterns = patterns.iter().cloned();
        patterns
            .map(move |pattern| Rule { pattern, origin })
            .collect::<Vec<_>>()
    };
    let mut all = rules(&request.includes, Origin::Include);
    all.extend(rules(&request.excludes, Origin::Exclude));
    if request.filter {
        all.extend(rules(
            &SECRETS_AND_LEFTOVERS.map(str::to_owned),
            Origin::Filter,
        ));
    }
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let empty = ALWAYS_EMPTY.iter().map(|path| path.as_bytes().to_vec());
    let empty = empty.chain(left_out.iter().map(|mount| bytes(&mount.path)));
    let below = |path: &PathBuf| {
        let path = real_path(path);
        Some(bytes(&Path::new("/").join(path.strip_prefix(volume).ok()?)))
    };
    Ok(Selection {
        filter: Filter::new(all)?,
        empty: empty.collect::<HashSet<_>>(),
        own: request.own.iter().filter_map(below).collect(),
        private: below(&request.private),
        secrets: request.secrets.iter().filter_map(identity).collect(),
    })
}

/// Device and inode number of what a path leads to; one that is not there has none.
fn identity(path: &PathBuf) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A path without links; its last name need not exist.
fn real_path(path: &Path) -> PathBuf {
    let real = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => fs::canonicalize(folder).map(|folder| folder.join(name)),
        _ => fs::canonicalize(path),
    };
    real.unwrap_or_else(|_| path.to_owned())
}
