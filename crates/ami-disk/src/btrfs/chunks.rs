//! Chunks: runs of logical addresses, and where they are on the device.
//!
//! An item has 48 bytes (length at 0, type at 24, number of places at 44), and for each place 32 more (device at 0, place at 8).
//! The superblock has a copy of the items of those chunks that the chunk tree itself is in, each behind its key.

use crate::bytes::le;
use crate::error::{Stop, Unread};
use crate::read::Window;

use super::superblock::{PLACE, Superblock};
use super::tree::{self, Key};

/// The object and type of a chunk's item.
const CHUNKS: u64 = 256;
const CHUNK_ITEM: u8 = 228;

const ITEM: usize = 48;
const STRIPE: usize = 32;

/// The types of a chunk that has its data whole at each of its places: data, system, metadata; dup.
const PROFILES_KNOWN: u64 = 0x1 | 0x2 | 0x4 | DUP;
const DUP: u64 = 0x20;

/// The most chunks: EBS's largest volume, in chunks of 64 MiB.
const MOST_CHUNKS: usize = 1 << 20;

/// A chunk. All numbers are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) logical: u64,
    pub(super) length: u64,
    /// Where on the device: one or two places.
    pub(super) places: Vec<u64>,
}

/// All chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    /// By logical address, apart from each other.
    pub(super) list: Vec<Chunk>,
    /// What they have of the device, as begin and length; sorted, apart from each other.
    pub(super) places: Vec<(u64, u64)>,
}

impl Chunks {
    /// Reads the chunk tree.
    pub(super) fn read(window: &Window<'_>, fs: &Superblock) -> Result<Self, Stop> {
        let system = Self::new(fs, system_chunks(fs)?)?;
        let mut list = Vec::new();
        let mut look = |key: &Key, data: &[u8]| {
            if key.object == CHUNKS && key.kind == CHUNK_ITEM {
                if list.len() == MOST_CHUNKS {
                    return Err(Unread::damaged("the number of chunks", PLACE).into());
                }
                list.push(chunk(fs, key.offset, data)?);
            }
            Ok(())
        };
        tree::walk(window, fs, &system, &fs.chunk_root, &mut look)?;
        Self::new(fs, list)
    }

    fn new(fs: &Superblock, mut list: Vec<Chunk>) -> Result<Self, Stop> {
        list.sort_unstable_by_key(|chunk| chunk.logical);
        let mut places: Vec<(u64, u64)> = list
            .iter()
            .flat_map(|chunk| chunk.places.iter().map(|&place| (place, chunk.length)))
            .collect();
        places.sort_unstable();
        let apart = |pair: &[(u64, u64)]| pair[0].0 + pair[0].1 <= pair[1].0;
        let logical: Vec<_> = list
            .iter()
            .map(|chunk| (chunk.logical, chunk.length))
            .collect();
        let last = places.last().map_or(0, |&(start, length)| start + length);
        if !places.windows(2).all(apart) || !logical.windows(2).all(apart) || last > fs.device_size
        {
            return Err(Unread::damaged("where the chunks are", PLACE).into());
        }
        Ok(Self { list, places })
    }

    /// Where on the device so many bytes at a logical address are.
    pub(super) fn places_of(&self, address: u64, length: u64) -> impl Iterator<Item = u64> {
        let behind = self.list.partition_point(|chunk| chunk.logical <= address);
        let chunk = behind.checked_sub(1).map(|index| &self.list[index]);
        chunk
            .filter(|chunk| {
                address
                    .checked_add(length)
                    .is_some_and(|end| end <= chunk.logical + chunk.length)
            })
            .into_iter()
            .flat_map(move |chunk| {
                let inside = address - chunk.logical;
                chunk.places.iter().map(move |place| place + inside)
            })
    }
}

fn system_chunks(fs: &Superblock) -> Result<Vec<Chunk>, Stop> {
    let mut list = Vec::new();
    let mut rest = fs.system_chunks.as_slice();
    while !rest.is_empty() {
        let key = Key::parse(rest, 0);
        let data = rest.get(Key::LENGTH..).unwrap_or_default();
        let stripes = usize::from(le::u16(data, 44));
        let length = ITEM + STRIPE * stripes;
        if key.object != CHUNKS || key.kind != CHUNK_ITEM || data.len() < length {
            return Err(Unread::damaged("the system chunks", PLACE).into());
        }
        list.push(chunk(fs, key.offset, &data[..length])?);
        rest = &data[length..];
    }
    Ok(list)
}

/// Reads a chunk's item.
fn chunk(fs: &Superblock, logical: u64, data: &[u8]) -> Result<Chunk, Stop> {
    let wrong = || Stop::from(Unread::damaged("a chunk", PLACE));
    let [length, profile] = [0, 24].map(|at| le::u64(data, at));
    if profile & !PROFILES_KNOWN != 0 {
        return Err(Unread::Form("btrfs with chunks in several parts (raid)").into());
    }
    let stripes = usize::from(le::u16(data, 44));
    let expected = if profile & DUP == 0 { 1 } else { 2 };
    if stripes != expected || data.len() != ITEM + STRIPE * stripes {
        return Err(wrong());
    }
    if length == 0 || logical.checked_add(length).is_none() {
        return Err(wrong());
    }
    let places = (0..stripes)
        .map(|index| {
            let stripe = ITEM + index * STRIPE;
            let place = le::u64(data, stripe + 8);
            let is_inside = place
                .checked_add(length)
                .is_some_and(|end| end <= fs.device_size);
            if le::u64(data, stripe) != fs.device || !is_inside {
                return Err(wrong());
            }
            Ok(place)
        })
        .collect::<Result<_, _>>()?;
    Ok(Chunk {
        logical,
        length,
        places,
    })
}
