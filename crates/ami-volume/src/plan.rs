//! Everything that is looked up before anything is made.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ami_mounts::{Mount, Mounts};
use ami_pool::Pool;
use tracing::debug;

use crate::boot::{Loader, Target};
use crate::error::Error;
use crate::format::{Makers, Twin};
use crate::packages;
use crate::partition::{Layout, PartitionType, SourcePartition};
use crate::request::Request;
use crate::scan::{Contents, scan};
use crate::selection::{ALWAYS_EMPTY, Selection, real_path};
use crate::source::{LeftOutMount, Source};
use crate::superblock::{Kind, Superblock};
use crate::tools::Finder;
use crate::workshop::Workshop;

/// What the image's metadata may take besides the data, in bytes: on ext2 to ext4, whose tables stay holes, and on others, which
/// write a log; and for each entry.
const OVERHEAD_OF_EXT: u64 = 2 << 20;
const OVERHEAD: u64 = 64 << 20;
const OVERHEAD_OF_ENTRY: u64 = 512;

/// What will be done.
#[derive(Debug)]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// The volume's path without links.
    pub volume: PathBuf,
    /// Whether something is mounted there; else it is a folder of some file system.
    pub is_mount_point: bool,
    /// The volume's file system, as it is mounted: `ext4`, `overlay`.
    pub fs_type: String,
    /// The device that it is on, if it has one.
    pub device: Option<(u32, u32)>,
    /// What was mounted: a device's path, or a name.
    pub source: PathBuf,
    /// Whether its superblock could be read and is of a known kind.
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
    /// `None` for an image without partitions, or if a survey found none.
    pub loader: Option<Loader>,
    /// Mounts that are copied too, relative to the volume.
    pub along: Vec<PathBuf>,
    pub(crate) mounts: Vec<Mount>,
    /// Mounts that are not copied.
    pub left_out_mounts: Vec<LeftOutMount>,
    /// What is copied, and what is not.
    pub contents: Contents,
    /// Files that belong to packages and are left out with the secrets and leftovers, with the packages' names.
    pub packaged: Vec<(PathBuf, String)>,
    /// Free space at the destination, in bytes.
    pub free: u64,
    /// The most space that is needed at the destination, in bytes.
    pub needed: u64,
    pub(crate) selection: Selection,
    pub(crate) makers: Option<Makers>,
}

/// A plan as far as it is known, and everything that would keep it from being carried out.
#[derive(Debug)]
pub struct Survey {
    /// It can be carried out only if there are no problems. `None` if the volume cannot be looked at.
    pub plan: Option<Plan>,
    /// In the order in which [`Plan::new`] would find them.
    pub problems: Vec<Error>,
}

impl Survey {
    /// Looks everything up as [`Plan::new`] does, but does not stop at a problem, and runs no program of the volume.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn new(request: Request, interrupted: &AtomicBool) -> Result<Self, Error> {
        let mut problems = Problems {
            are_collected: true,
            found: Vec::new(),
        };
        let plan = Plan::look(request, interrupted, &mut problems);
        Ok(Self {
            plan: problems.note(plan)?,
            problems: problems.found,
        })
    }
}

/// What is done with problems that do not keep the rest from being looked up: the first is returned, or all are collected.
#[derive(Default)]
struct Problems {
    are_collected: bool,
    found: Vec<Error>,
}

impl Problems {
    /// `None` for a problem that has been collected.
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.are_collected && !matches!(error, Error::Interrupted) => {
                self.found.push(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn raise(&mut self, error: Error) -> Result<(), Error> {
        self.note(Err(error)).map(|_: Option<()>| ())
    }
}

impl Plan {
    /// Looks everything up. Root sees everything; others see what they may, and get a plan of that.
    ///
    /// # Errors
    /// The first problem that is found.
    pub fn new(request: Request, interrupted: &AtomicBool) -> Result<Self, Error> {
        Self::look(request, interrupted, &mut Problems::default())
    }

    fn look(
        request: Request,
        interrupted: &AtomicBool,
        problems: &mut Problems,
    ) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Self::look_in(request, None, interrupted, problems);
        }
        // In mounts of its own, the volume can be looked at without changing so much as a time of access.
        Workshop::enter(interrupted, |workshop| {
            Self::look_in(request, Some(workshop), interrupted, problems)
        })
    }

    fn look_in(
        request: Request,
        workshop: Option<&Workshop<'_>>,
        interrupted: &AtomicBool,
        problems: &mut Problems,
    ) -> Result<Self, Error> {
        let Outline {
            source,
            superblock,
            mut twin,
            source_partition,
            partition,
            layout,
            mounts,
            left_out_mounts,
        } = Outline::of(&request, workshop)?;
        if let Some(freezing) = &request.in_use.freeze {
            let checked = freezing.check(&request, &source.volume, &mounts);
            let _ = problems.note(checked)?;
        }
        let left_out = left_out_mounts.iter().map(|mount| mount.path.as_path());
        let selection = Selection::new(&request, &source.volume, left_out)?;
        let view = view(&source.volume, &mounts, workshop)?;
        let finder = Finder {
            view: &view,
            volume: &source.volume,
            use_volume: request.use_volume_tools,
        };
        let loader = match partition {
            PartitionType::None => None,
            _ => find_loader(&request, &finder, partition, problems)?,
        };
        let makers = find_makers(&mut twin, &finder, layout, workshop.is_some());
        let makers = problems.note(makers)?.flatten();
        if let (Some(loader), Some(workshop), Some(makers)) = (&loader, workshop, &makers)
            && !(problems.are_collected && (loader.needs_volume() || makers.need_volume()))
        {
            let target = Target {
                path: &request.image,
                partition,
                layout,
                file_system: twin.name,
                subvolume: &twin.subvolume,
            };
            let _ = problems.note(rehearse(loader, &target, &twin, makers, workshop))?;
        }
        let contents = scan(
            &view,
            &selection,
            twin.largest_file(),
            &Pool::new(request.threads),
            interrupted,
            workshop.is_some(),
        )?;
        debug!(?contents.entries, contents.data, "the volume's contents");
        let packaged = packages::owners(&view, &contents.filtered, interrupted);
        let (free, needed) = check_space(&request, &twin, layout, &contents, problems)?;
        let along = mounts.iter().map(|mount| source.path_of(mount));
        let along = along.filter_map(|path| Some(path.strip_prefix("/").ok()?.to_owned()));
        Ok(Self {
            along: along.collect(),
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
        let image = Some(&self.request.image);
        let image = image.filter(|image| real_path(image).starts_with(&self.volume));
        ALWAYS_EMPTY
            .into_iter()
            .map(str::to_owned)
            .chain(image.map(|image| image.display().to_string()))
            .chain(
                self.left_out_mounts
                    .iter()
                    .map(|mount| mount.path.display().to_string()),
            )
            .chain(self.request.excludes.iter().cloned())
            .collect()
    }
}

/// What a plan says of the volume's devices and of the image's, before the files are looked at.
struct Outline {
    source: Source,
    superblock: Option<Superblock>,
    twin: Twin,
    source_partition: Option<SourcePartition>,
    partition: PartitionType,
    layout: Layout,
    mounts: Vec<Mount>,
    left_out_mounts: Vec<LeftOutMount>,
}

impl Outline {
    fn of(request: &Request, workshop: Option<&Workshop<'_>>) -> Result<Self, Error> {
        let mounts = Mounts::load()?;
        let source = Source::find(&request.volume, &mounts)?;
        let superblock = source.superblock(workshop);
        let twin = source.twin(superblock.as_ref());
        let source_partition = source.partition(workshop);
        let usual = match (&source_partition, source.is_mount_point) {
            (_, false) => PartitionType::Gpt,
            (Some(partition), true) => partition.kind,
            (None, true) => PartitionType::None,
        };
        let partition = request.partition.unwrap_or(usual);
        let (mounts, left_out_mounts) = source.mounts_below(&mounts, request.all);
        Ok(Self {
            source,
            superblock,
            twin,
            source_partition,
            partition,
            layout: Layout::new(partition, request.size),
            mounts,
            left_out_mounts,
        })
    }
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

/// Checks that everything fits into the image and the image into the destination. Returns the destination's free and needed space
/// in bytes.
fn check_space(
    request: &Request,
    twin: &Twin,
    layout: Layout,
    contents: &Contents,
    problems: &mut Problems,
) -> Result<(u64, u64), Error> {
    let overhead = match twin.kind {
        Kind::Ext { .. } => OVERHEAD_OF_EXT,
        _ => OVERHEAD,
    };
    let needed_in_image = contents.data + contents.entries * OVERHEAD_OF_ENTRY;
    if needed_in_image > layout.root_length {
        problems.raise(Error::TooSmall {
            size: request.size,
            needed: needed_in_image + needed_in_image / 50 + overhead,
        })?;
    }
    let free = ami_files::free_space(&request.destination)
        .map_err(Error::io("read", &request.destination))?;
    let copies = 1 + u64::from(request.is_bundled);
    let needed = (needed_in_image + overhead).min(request.size) * copies;
    if free < needed && request.check_space {
        problems.raise(Error::Space {
            folder: request.destination.clone(),
            free,
            needed,
        })?;
    }
    Ok((free, needed))
}

/// Finds the boot loader. It needs a configuration, unless one is still to come.
fn find_loader(
    request: &Request,
    finder: &Finder<'_>,
    partition: PartitionType,
    problems: &mut Problems,
) -> Result<Option<Loader>, Error> {
    let found = Loader::find(finder).and_then(|found| {
        found.ok_or_else(|| Error::NoBootLoader {
            volume: finder.volume.to_owned(),
            partition: partition.name(),
        })
    });
    let loader = problems.note(found)?;
    let comes_later = request.grub_config.is_some() || request.script.is_some();
    if let Some(loader) = &loader
        && !comes_later
        && !loader.is_configured(finder.view)
    {
        problems.raise(Error::NotConfigured {
            volume: finder.volume.to_owned(),
            loader: loader.name(),
            paths: loader.configurations(),
        })?;
    }
    Ok(loader)
}
