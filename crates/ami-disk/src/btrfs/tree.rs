//! B-trees of nodes.
//!
//! A node begins with a header: checksum (0, over everything behind 32), UUID (32), its address (48), its generation (80), the tree
//! that it is of (88), the number of its items (96), its level (100). From 101 on a leaf has items of 25 bytes, a key and the place
//! (counted from 101) and length of the data; any other node has pointers of 33 bytes, a key, an address, and a generation.

use crate::bytes::{array, le};
use crate::error::{Stop, Unread};
use crate::kind;
use crate::read::{Pattern, Window};

use super::chunks::Chunks;
use super::superblock::Superblock;
use super::{CHUNK_TREE, EXTENT_TREE, ROOT_TREE};

const HEADER: usize = 101;
const ITEM: usize = 25;
const POINTER: usize = 33;

/// The highest level of a root (`BTRFS_MAX_LEVEL` - 1).
const HIGHEST: u8 = 7;

/// What an item is found by; keys are in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    /// In bytes.
    pub(super) const LENGTH: usize = 17;

    pub(super) fn parse(bytes: &[u8], at: usize) -> Self {
        let [kind] = array(bytes, at + 8);
        Self {
            object: le::u64(bytes, at),
            kind,
            offset: le::u64(bytes, at + 9),
        }
    }
}

/// Where a tree begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    pub(super) tree: u64,
    /// Logical.
    pub(super) address: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// Where nodes begin: at multiples of the size of the smallest.
const UNIT: u64 = 4096;

/// Tells the nodes of the trees that are read.
pub(super) fn pattern(fs: &Superblock) -> Pattern {
    let (uuid, node_size) = (fs.uuid, fs.node_size);
    Pattern {
        range: 0..fs.device_size,
        unit: UNIT,
        keep: Box::new(move |sector| {
            let is_node = array(sector, 32) == uuid
                && [ROOT_TREE, EXTENT_TREE, CHUNK_TREE].contains(&le::u64(sector, 88));
            if is_node { node_size } else { 0 }
        }),
    }
}

type Visitor<'a> = dyn FnMut(&Key, &[u8]) -> Result<(), Stop> + 'a;

/// Shows each item of a tree, in the order of their keys.
pub(super) fn walk(
    window: &Window<'_>,
    fs: &Superblock,
    chunks: &Chunks,
    root: &Root,
    visitor: &mut Visitor<'_>,
) -> Result<(), Stop> {
    if root.level > HIGHEST {
        return Err(Unread::damaged("a tree's height", root.address).into());
    }
    let mut walk = Walk {
        window,
        fs,
        chunks,
        tree: root.tree,
        last: None,
        visitor,
    };
    walk.visit(root.address, root.generation, root.level, true)
}

struct Walk<'a, 'b> {
    window: &'a Window<'a>,
    fs: &'a Superblock,
    chunks: &'a Chunks,
    tree: u64,
    /// The key of the last item.
    last: Option<Key>,
    visitor: &'a mut Visitor<'b>,
}

impl Walk<'_, '_> {
    /// Visits a node and those below it. Keys must ascend, and only a root may be empty: so no node is visited twice, whatever points
    /// to it.
    fn visit(
        &mut self,
        address: u64,
        generation: u64,
        level: u8,
        is_root: bool,
    ) -> Result<(), Stop> {
        let damaged = |what| Stop::from(Unread::damaged(what, address));
        let node = self.node(address, generation, level)?;
        let count = le::u32(&node, 96) as usize;
        let size = if level == 0 { ITEM } else { POINTER };
        if count > (node.len() - HEADER) / size || (count == 0 && !(is_root && level == 0)) {
            return Err(damaged("the number of items of a node"));
        }
        for at in (0..count).map(|index| HEADER + index * size) {
            let key = Key::parse(&node, at);
            if level > 0 {
                let [address, generation] = [17, 25].map(|field| le::u64(&node, at + field));
                // The key is that of the first item below.
                if self.last.is_some_and(|last| key <= last) {
                    return Err(damaged("the order of a node's keys"));
                }
                self.visit(address, generation, level - 1, false)?;
                continue;
            }
            if self.last.is_some_and(|last| key <= last) {
                return Err(damaged("the order of a leaf's keys"));
            }
            self.last = Some(key);
            let [offset, length] = [17, 21].map(|field| le::u32(&node, at + field) as usize);
            let data = node[HEADER..]
                .get(offset..)
                .and_then(|rest| rest.get(..length))
                .ok_or_else(|| damaged("the place of an item's data"))?;
            (self.visitor)(&key, data)?;
        }
        Ok(())
    }

    /// The node at that address, from whichever of its places it can be read.
    fn node(&self, address: u64, generation: u64, level: u8) -> Result<Vec<u8>, Stop> {
        let size = self.fs.node_size;
        let mut has_gone_by = false;
        for place in self.chunks.places_of(address, size) {
            let node = match self.window.read(place, size as usize) {
                Ok(node) => node,
                // What is no node of these trees is not kept. In front of the first byte to which the pattern applies it need not be so.
                Err(Stop::Volume(Unread::GoneBy))
                    if place.is_multiple_of(UNIT) && place >= kind::HEAD as u64 =>
                {
                    has_gone_by = true;
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            if crc32c::crc32c(&node[32..]) == le::u32(&node, 0)
                && array(&node, 32) == self.fs.uuid
                && le::u64(&node, 48) == address
                && le::u64(&node, 80) == generation
                && le::u64(&node, 88) == self.tree
                && node[100] == level
            {
                return Ok(node);
            }
        }
        Err(match has_gone_by {
            true => Unread::GoneBy,
            false => Unread::damaged("a node of a tree", address),
        }
        .into())
    }
}
