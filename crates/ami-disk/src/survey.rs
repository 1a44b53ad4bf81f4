//! The survey of a disk: each volume by itself, then what they say together.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use ami_image::Extent;

use crate::boot::{self, BootModes};
use crate::error::{Error, Unread};
use crate::free::FreeSpace;
use crate::kind::{self, FileSystem};
use crate::program::{self, Architecture, Architectures};
use crate::read::{ReadAt, Window};
use crate::table::{Claim, Damage, Layout, Role, Table};
use crate::{btrfs, ext, fat, xfs};

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The partition table; `None` if there is none.
    pub table: Option<Table>,
    /// Why nothing is known of the partitions, though there is a table.
    pub damage: Option<Damage>,
    /// The partitions in the order of the table; or one volume of the whole disk, if there is no table and its contents are known.
    pub volumes: Vec<Volume>,
    /// What file systems call free, in bytes from the disk's beginning; sorted, apart from each other.
    ///
    /// Extents that hold no whole [`BLOCK`](crate::BLOCK), counted from the disk's beginning, are left out, and at most 2,097,152 are
    /// kept, which is enough for any disk of up to 2 TiB. So less may be free here than in [`Allocation::Read`], never more.
    pub free: Vec<Extent>,
    /// How it boots.
    pub boot: BootModes,
    /// The one architecture of the programs in ext file systems; else of the kernels there; else of the EFI programs. `None` if
    /// nothing was found, or several.
    pub architecture: Option<Architecture>,
    /// Whether a kernel in an ext file system has `ena`, the network driver of current instance types. `None` if that is not known.
    pub has_ena: Option<bool>,
}

/// A partition, or the whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The partition's number; `None` for the whole disk.
    pub partition: Option<u32>,
    /// Where it begins, in bytes from the disk's beginning.
    pub offset: u64,
    /// Its length in bytes, as the table states it.
    pub length: u64,
    /// What it contains, if that is known and one thing only.
    pub kind: Option<FileSystem>,
    /// What is free of it.
    pub allocation: Allocation,
}

/// What is known of a volume's free space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// The file system was read.
    Read {
        /// All that it calls free.
        free_bytes: u64,
    },
    /// Nothing of it counts as free.
    Unread(Unread),
}

/// Reads what is on a disk. `interrupted` ends it soon after it is set.
///
/// # Errors
/// [`Error::Interrupted`], and [`Error::Read`] if the disk itself cannot be read. Whatever is unknown or damaged on it is in the
/// [`Survey`].
pub fn survey(disk: &dyn ReadAt, interrupted: &AtomicBool) -> Result<Survey, Error> {
    let disk = Window::new(disk, interrupted);
    let head = head(&disk)?;
    let layout = Layout::read(&disk, &head, &mut |_, _| Ok(()))?;
    let mut found = Found::default();
    let mut volumes = Vec::new();
    for (claim, is_alone) in volume_claims(&disk, &head, &layout) {
        volumes.push(found.volume(&disk, &claim, is_alone)?);
    }
    Ok(Survey {
        table: layout.table,
        damage: layout.damage,
        boot: BootModes {
            bios: boot::is_bios(&disk, &head, &layout)?,
            uefi: found.is_uefi,
        },
        architecture: program::agreed(&[found.programs, found.kernels, found.efi]),
        has_ena: found.has_ena,
        volumes,
        free: joined(found.free),
    })
}

/// What file systems call free, as in [`Survey::free`], and nothing else of a disk: read in ascending order as far as the disk allows it.
pub(crate) fn free(disk: &dyn ReadAt, interrupted: &AtomicBool) -> Result<Vec<Extent>, Error> {
    let disk = Window::new(disk, interrupted);
    let head = head(&disk)?;
    let mut found = Found::default();
    let mut read: Vec<(Claim, Range<usize>)> = Vec::new();
    let mut read_up_to = |claims: &[Claim], place: u64| {
        let mut claims = claims.to_vec();
        claims.retain(|claim| {
            let is_new = read.iter().all(|(other, _)| other != claim);
            is_new && disk.holds(claim.offset, claim.length) && claim.offset + claim.length <= place
        });
        claims.sort_by_key(|claim| claim.offset);
        for claim in claims {
            let first = found.free.len();
            let window = disk.part(claim.offset, claim.length);
            if let [kind] = kind::kinds(&self::head(&window)?)[..] {
                let _ = found.allocation(&window, kind)?;
            }
            read.push((claim, first..found.free.len()));
        }
        Ok(())
    };
    // A record of a logical partition lies behind the partitions before it.
    let layout = Layout::read(&disk, &head, &mut |claims, place| {
        let partitions: Vec<Claim> = claims
            .iter()
            .filter(|claim| claim.partition.is_some())
            .copied()
            .collect();
        read_up_to(&partitions, place)
    })?;
    let alone: Vec<Claim> = volume_claims(&disk, &head, &layout)
        .into_iter()
        .filter_map(|(claim, is_alone)| is_alone.then_some(claim))
        .collect();
    read_up_to(&alone, u64::MAX)?;
    // What was read before the table was may be claimed by something else.
    read.retain(|(claim, _)| alone.contains(claim));
    let free = read.into_iter().flat_map(|(_, range)| &found.free[range]);
    Ok(joined(free.copied().collect()))
}

/// The partitions, in the table's order, and the disk as a whole if it has a file system; and whether nothing else claims their bytes.
fn volume_claims(disk: &Window<'_>, head: &[u8], layout: &Layout) -> Vec<(Claim, bool)> {
    let mut claims = layout.claims.clone();
    if is_whole_volume(head, layout) {
        claims.push(Claim::table(0, disk.length));
    }
    let is_table = |index: usize| claims[index].partition.is_none() && index < layout.claims.len();
    (0..claims.len())
        .filter(|&index| !is_table(index))
        .map(|index| {
            let claim = claims[index];
            let is_alone =
                (0..claims.len()).all(|other| other == index || !claim.overlaps(&claims[other]));
            (claim, is_alone)
        })
        .collect()
}

/// Whether the disk as a whole has a file system. If it has partitions too, neither can be trusted.
fn is_whole_volume(head: &[u8], layout: &Layout) -> bool {
    let kinds = kind::kinds(head);
    match layout.table {
        None => !kinds.is_empty(),
        Some(_) => kinds
            .iter()
            .any(|kind| matches!(kind, FileSystem::Ext | FileSystem::Xfs | FileSystem::Btrfs)),
    }
}

/// The first bytes of the disk or of a volume; none if they cannot be read.
fn head(window: &Window<'_>) -> Result<Vec<u8>, Error> {
    let range = 0..window.length.min(kind::HEAD as u64);
    window.expect(vec![range], Vec::new());
    match window.read_up_to(0, kind::HEAD) {
        Ok(head) => Ok(head),
        Err(stop) => stop.volume().map(|_| Vec::new()),
    }
}

/// The most volumes whose files are looked at: a table may have thousands.
const MOST_SEARCHED: u32 = 16;

/// What the volumes have come to.
#[derive(Default)]
struct Found {
    /// How many volumes' files were looked at.
    searched: u32,
    free: Vec<Extent>,
    is_uefi: bool,
    programs: Architectures,
    kernels: Architectures,
    efi: Architectures,
    has_ena: Option<bool>,
}

impl Found {
    fn volume(
        &mut self,
        disk: &Window<'_>,
        claim: &Claim,
        is_alone: bool,
    ) -> Result<Volume, Error> {
        let window = disk.part(claim.offset, claim.length);
        let kinds = kind::kinds(&head(&window)?);
        let kind = kinds.first().copied().filter(|_| kinds.len() == 1);
        if is_alone && self.searched < MOST_SEARCHED {
            self.search(&window, claim, kind)?;
        }
        let unread = if kinds.len() > 1 {
            Some(Unread::Ambiguous)
        } else if kinds.is_empty() {
            Some(Unread::Unknown)
        } else if !is_alone {
            Some(Unread::Overlap)
        } else if !disk.holds(claim.offset, claim.length) {
            Some(Unread::BehindDisk)
        } else {
            None
        };
        let allocation = match (unread, kind) {
            (None, Some(kind)) => self.allocation(&window, kind)?,
            (unread, _) => Allocation::Unread(unread.unwrap_or(Unread::Unknown)),
        };
        Ok(Volume {
            partition: claim.partition.map(|partition| partition.number),
            offset: claim.offset,
            length: claim.length,
            kind,
            allocation,
        })
    }

    /// Looks at the volume's files, if any of them can tell something.
    fn search(
        &mut self,
        window: &Window<'_>,
        claim: &Claim,
        kind: Option<FileSystem>,
    ) -> Result<(), Error> {
        let is_efi = claim
            .partition
            .is_some_and(|partition| partition.role == Role::EfiSystem);
        match kind {
            Some(FileSystem::Ext) => {
                let found = ext::files::look(window)?;
                self.programs.extend(found.programs);
                self.kernels.extend(found.kernels);
                // A data disk beside the root has no modules, or old ones.
                self.has_ena = self.has_ena.max(found.has_ena);
            }
            Some(FileSystem::Vfat) if is_efi => {
                let found = fat::programs(window)?;
                self.is_uefi |= found.is_there;
                self.efi.extend(found.architectures);
            }
            _ => return Ok(()),
        }
        self.searched += 1;
        Ok(())
    }

    fn allocation(&mut self, window: &Window<'_>, kind: FileSystem) -> Result<Allocation, Error> {
        let mut free = FreeSpace::new(window.offset, self.free.len());
        let read = match kind {
            FileSystem::Ext => ext::read(window, &mut free),
            FileSystem::Xfs => xfs::read(window, &mut free),
            FileSystem::Btrfs => btrfs::read(window, &mut free),
            _ => Err(Unread::Kind.into()),
        };
        match read {
            Ok(()) => {
                let (extents, free_bytes) = free.finish();
                self.free.extend(extents);
                Ok(Allocation::Read { free_bytes })
            }
            Err(stop) => stop.volume().map(Allocation::Unread),
        }
    }
}

/// Extents in order; those that touch, at the border of two partitions, are one.
fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable_by_key(|extent| extent.offset);
    extents.dedup_by(|next, last| {
        let touches = last.offset + last.length == next.offset;
        if touches {
            last.length += next.length;
        }
        touches
    });
    extents
}
