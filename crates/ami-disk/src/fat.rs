//! EFI programs on FAT (Microsoft, FAT specification 1.03): names ending in `.EFI` below the folder `EFI`.
//!
//! Only short names are looked at. A file with a long name has a short one too, which keeps the three letters behind the dot.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 11 | 2 | bytes in a sector |
//! | 13 | 1 | sectors in a cluster |
//! | 14 | 2 | sectors in front of the tables |
//! | 16 | 1 | how many tables |
//! | 17 | 2 | entries of the root folder; FAT32: 0 |
//! | 19, 32 | 2, 4 | sectors |
//! | 22, 36 | 2, 4 | sectors of a table |
//! | 44 | 4 | FAT32: the root folder's first cluster |
//!
//! An entry of a folder has 32 bytes: name (0), attributes (11), first cluster (20: high half, 26: low half).

use crate::bytes::{array, le};
use crate::error::{Error, Stop, Unread};
use crate::program::{self, Architectures};
use crate::read::Window;

const ENTRY: usize = 32;
const FOLDER: u8 = 0x10;
/// Of a volume's label; a long name has it too.
const LABEL: u8 = 0x08;

/// The first byte of a deleted entry, and of the first that was never used.
const DELETED: u8 = 0xE5;
const END: u8 = 0;

/// How deep below the root folder programs are: /EFI/VENDOR/… .
const DEEPEST: u32 = 4;

/// The most bytes of folders that are read, and the most programs that are looked at.
const MOST_BYTES: u64 = 16 << 20;
const MOST_PROGRAMS: u32 = 256;

/// Boot programs of a FAT file system.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    /// Whether there is any.
    pub(crate) is_there: bool,
    pub(crate) architectures: Architectures,
}

/// Looks for programs; what cannot be read is not there.
pub(crate) fn programs(window: &Window<'_>) -> Result<Programs, Error> {
    let mut search = match Fat::read(window) {
        Ok(fat) => Search {
            fat,
            found: Programs::default(),
            bytes: MOST_BYTES,
            programs: MOST_PROGRAMS,
        },
        Err(stop) => return stop.volume().map(|_| Programs::default()),
    };
    match search.folder(Folder::Root, 0) {
        Ok(()) => {}
        Err(stop) => {
            let _ = stop.volume()?;
        }
    }
    Ok(search.found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

#[derive(Debug, Clone, Copy)]
enum Folder {
    Root,
    /// Its first cluster.
    At(u32),
}

/// Where everything is. Sizes and places are in bytes.
struct Fat<'a> {
    window: &'a Window<'a>,
    cluster_size: u64,
    table: u64,
    root: u64,
    root_length: u64,
    root_cluster: u32,
    data: u64,
    clusters: u64,
    width: Width,
}

impl<'a> Fat<'a> {
    fn read(window: &'a Window<'a>) -> Result<Self, Stop> {
        let bytes = window.read(0, 512)?;
        let wrong = || Stop::from(Unread::damaged("the size of a sector or cluster", 0));
        let sector = u64::from(le::u16(&bytes, 11));
        let sectors_per_cluster = u64::from(bytes[13]);
        if !sector.is_power_of_two()
            || !(512..=4096).contains(&sector)
            || !sectors_per_cluster.is_power_of_two()
        {
            return Err(wrong());
        }
        let either = |short: usize, long: usize| match le::u16(&bytes, short) {
            0 => u64::from(le::u32(&bytes, long)),
            number => u64::from(number),
        };
        let sectors = either(19, 32);
        let table_sectors = either(22, 36);
        let table = u64::from(le::u16(&bytes, 14)) * sector;
        let root = table + u64::from(bytes[16]) * table_sectors * sector;
        let root_length = u64::from(le::u16(&bytes, 17)) * ENTRY as u64;
        let data = root + root_length.next_multiple_of(sector);
        let cluster_size = sectors_per_cluster * sector;
        let clusters = (sectors * sector).saturating_sub(data) / cluster_size;
        Ok(Self {
            window,
            cluster_size,
            table,
            root,
            root_length,
            root_cluster: le::u32(&bytes, 44),
            data,
            clusters,
            // The numbers of clusters that decide it, and nothing else does.
            width: match clusters {
                ..4085 => Width::Twelve,
                4085..65525 => Width::Sixteen,
                _ => Width::ThirtyTwo,
            },
        })
    }

    /// A cluster's place; `None` where the number is none of a cluster.
    fn place(&self, cluster: u32) -> Option<u64> {
        let index = u64::from(cluster).checked_sub(2)?;
        (index < self.clusters).then(|| self.data + index * self.cluster_size)
    }

    /// The cluster behind that one.
    fn next(&self, cluster: u32) -> Result<u32, Stop> {
        let cluster = u64::from(cluster);
        let entry = |at, length| self.window.read(self.table + at, length);
        Ok(match self.width {
            Width::Twelve => {
                let pair = le::u16(&entry(cluster * 3 / 2, 2)?, 0);
                u32::from(if cluster % 2 == 0 {
                    pair & 0xFFF
                } else {
                    pair >> 4
                })
            }
            Width::Sixteen => u32::from(le::u16(&entry(cluster * 2, 2)?, 0)),
            Width::ThirtyTwo => le::u32(&entry(cluster * 4, 4)?, 0) & 0x0FFF_FFFF,
        })
    }
}

struct Search<'a> {
    fat: Fat<'a>,
    found: Programs,
    /// How many may still be read.
    bytes: u64,
    programs: u32,
}

impl Search<'_> {
    fn folder(&mut self, folder: Folder, depth: u32) -> Result<(), Stop> {
        let mut cluster = match folder {
            Folder::Root if self.fat.width != Width::ThirtyTwo => {
                let bytes = self
                    .fat
                    .window
                    .read(self.fat.root, self.fat.root_length as usize)?;
                return self.entries(&bytes, depth).map(|_| ());
            }
            Folder::Root => self.fat.root_cluster,
            Folder::At(cluster) => cluster,
        };
        // The budget ends a chain that is a ring.
        while let Some(place) = self.fat.place(cluster) {
            let Some(left) = self.bytes.checked_sub(self.fat.cluster_size) else {
                return Ok(());
            };
            self.bytes = left;
            let bytes = self
                .fat
                .window
                .read(place, self.fat.cluster_size as usize)?;
            if !self.entries(&bytes, depth)? {
                return Ok(());
            }
            cluster = self.fat.next(cluster)?;
        }
        Ok(())
    }

    /// Whether more entries may follow.
    fn entries(&mut self, bytes: &[u8], depth: u32) -> Result<bool, Stop> {
        for entry in bytes.chunks_exact(ENTRY) {
            let (first, attributes) = (entry[0], entry[11]);
            if first == END {
                return Ok(false);
            }
            if first == DELETED || first == b'.' || attributes & LABEL != 0 {
                continue;
            }
            let high = match self.fat.width {
                Width::ThirtyTwo => u32::from(le::u16(entry, 20)) << 16,
                _ => 0,
            };
            let cluster = high | u32::from(le::u16(entry, 26));
            let name: [u8; 11] = array(entry, 0);
            if attributes & FOLDER != 0 {
                if depth < DEEPEST && (depth > 0 || name == *b"EFI        ") {
                    self.folder(Folder::At(cluster), depth + 1)?;
                }
            } else if depth > 0 && name.ends_with(b"EFI") {
                self.program(cluster)?;
            }
        }
        Ok(true)
    }

    fn program(&mut self, cluster: u32) -> Result<(), Stop> {
        let (Some(place), Some(left)) = (self.fat.place(cluster), self.programs.checked_sub(1))
        else {
            return Ok(());
        };
        self.programs = left;
        // Its header is in its first cluster, or in what follows that one where the file is in one piece, as on every new file system.
        let head = self.fat.window.read_up_to(place, program::HEAD)?;
        if let Some(architecture) = program::pe(&head) {
            self.found.is_there = true;
            self.found.architectures.extend(architecture);
        }
        Ok(())
    }
}
