//! The disk: files and folders, and which changes of names a power cut may undo.

use std::collections::BTreeMap;
use std::io;

use super::MANIFEST;
use crate::folder::{Entry, Identity};

/// The destination's inode.
pub(super) const DESTINATION: u64 = 1;

#[derive(Debug, Clone)]
pub(super) enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<String, u64>),
}

/// A file or a folder.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    /// The time of birth, different for each file and folder.
    pub(super) born: i64,
    pub(super) access: (u32, u32),
}

/// A change of names that a power cut may undo.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add(u64, String, u64),
    Remove(u64, String),
    Move(u64, String, u64, String),
}

impl Change {
    pub(super) fn is_in(&self, folder: u64) -> bool {
        match self {
            Self::Add(at, ..) | Self::Remove(at, _) => *at == folder,
            Self::Move(from, _, to, _) => [*from, *to].contains(&folder),
        }
    }
}

/// Nodes by inode.
pub(super) type Nodes = BTreeMap<u64, Node>;

/// What is on the machine's disk, and what the kernel knows of it.
#[derive(Debug)]
pub(super) struct Disk {
    /// The contents of the files that got the name [`MANIFEST`], in order.
    pub(super) manifests: Vec<String>,
    pub(super) now: Nodes,
    /// What a power cut leaves if all pending changes are lost.
    pub(super) durable: Nodes,
    pub(super) pending: Vec<Change>,
    /// Whether renaming without replacing is supported.
    pub(super) has_rename_new: bool,
    pub(super) has_links: bool,
    /// Which open folder has the lock, by the folder's inode.
    pub(super) locks: BTreeMap<u64, usize>,
    pub(super) moment: i64,
    pub(super) openings: usize,
    /// How often a folder is open. Its inode is not reused meanwhile.
    pub(super) open: BTreeMap<u64, usize>,
}

pub(super) fn folder_of(nodes: &mut Nodes, inode: u64) -> io::Result<&mut BTreeMap<String, u64>> {
    match nodes.get_mut(&inode).map(|node| &mut node.content) {
        Some(Content::Folder(names)) => Ok(names),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

pub(super) fn apply(nodes: &mut Nodes, change: &Change, now: &Nodes) {
    match change {
        Change::Add(at, name, inode) => {
            let node = now.get(inode).cloned();
            if let Ok(names) = folder_of(nodes, *at) {
                let _ = names.insert(name.clone(), *inode);
                if let Some(mut node) = node {
                    // A folder's contents are pending changes of their own.
                    if let Content::Folder(names) = &mut node.content {
                        names.clear();
                    }
                    let _ = nodes.entry(*inode).or_insert(node);
                }
            }
        }
        Change::Remove(at, name) => {
            let _ = folder_of(nodes, *at).map(|names| names.remove(name));
        }
        Change::Move(from, name, to, new) => {
            let moved = folder_of(nodes, *from)
                .ok()
                .and_then(|names| names.remove(name));
            if let (Some(inode), Ok(names)) = (moved, folder_of(nodes, *to)) {
                let _ = names.insert(new.clone(), inode);
            }
        }
    }
}

impl Disk {
    /// The smallest free inode, so that inodes are reused as soon as possible.
    pub(super) fn free_inode(&self) -> u64 {
        let is_free = |inode: &u64| {
            let is_known = |nodes: &Nodes| nodes.contains_key(inode);
            !is_known(&self.now) && !is_known(&self.durable) && !self.open.contains_key(inode)
        };
        (DESTINATION..).find(is_free).unwrap_or_default()
    }

    pub(super) fn change(&mut self, change: Change) {
        let before = self.now.clone();
        apply(&mut self.now, &change, &before);
        if let Change::Move(_, _, DESTINATION, name) = &change
            && name == MANIFEST
            && let Ok(Some(inode)) = self.inode(DESTINATION, MANIFEST)
            && let Content::File(bytes) = &self.now[&inode].content
        {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.manifests.push(text);
        }
        self.pending.push(change);
        self.forget_nameless();
    }

    pub(super) fn forget_nameless(&mut self) {
        let named: Vec<u64> = [&self.now, &self.durable]
            .iter()
            .flat_map(|nodes| nodes.values())
            .filter_map(|node| match &node.content {
                Content::Folder(names) => Some(names.values().copied().collect::<Vec<_>>()),
                Content::File(_) => None,
            })
            .flatten()
            .chain(self.pending.iter().filter_map(|change| match change {
                Change::Add(_, _, inode) => Some(*inode),
                _ => None,
            }))
            .collect();
        let is_named = |inode: &u64| *inode == DESTINATION || named.contains(inode);
        self.now.retain(|inode, _| is_named(inode));
        self.durable.retain(|inode, _| is_named(inode));
    }

    pub(super) fn inode(&mut self, folder: u64, name: &str) -> io::Result<Option<u64>> {
        Ok(folder_of(&mut self.now, folder)?.get(name).copied())
    }

    pub(super) fn entry(&self, inode: u64) -> io::Result<Entry> {
        let node = self.now.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        let is_listed = |other: &Node| matches!(&other.content, Content::Folder(names) if names.values().any(|&i| i == inode));
        let links = self.now.values().filter(|other| is_listed(other)).count() as u64;
        let size = match &node.content {
            Content::File(bytes) => bytes.len() as u64,
            Content::Folder(_) => 0,
        };
        Ok(Entry {
            is_folder: matches!(node.content, Content::Folder(_)),
            access: node.access,
            links,
            identity: Identity {
                inode,
                size,
                modified: (node.born, 0),
                born: Some((node.born, 0)),
            },
        })
    }

    pub(super) fn add(
        &mut self,
        folder: u64,
        name: &str,
        content: Content,
        access: (u32, u32),
    ) -> io::Result<()> {
        if self.inode(folder, name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.free_inode();
        self.moment += 1;
        let node = Node {
            content,
            born: self.moment,
            access,
        };
        let _ = self.now.insert(inode, node);
        self.change(Change::Add(folder, name.into(), inode));
        Ok(())
    }
}
