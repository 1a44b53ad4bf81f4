//! A file system in memory, in which a process can be killed, or the power cut, at every call.
//!
//! After a power cut, any subset of the changes of names survives whose folders have not been synced since. A rename is one change of
//! both folders.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::folder::{Entry, Folder, Identity};
use crate::private::Private;

const DESTINATION: u64 = 1;

/// The manifest of the bundle that all stories publish.
pub(crate) const MANIFEST: &str = "x.manifest.xml";

/// The processes' user.
pub(crate) const USER: u32 = 7;

const ACCESS: (u32, u32) = (USER, 0o700);

#[derive(Debug, Clone)]
enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<String, u64>),
}

#[derive(Debug, Clone)]
struct Node {
    content: Content,
    /// The time of birth, different for each file and folder.
    born: i64,
    access: (u32, u32),
}

/// A change of names that a power cut may undo.
#[derive(Debug, Clone)]
enum Change {
    Add(u64, String, u64),
    Remove(u64, String),
    Move(u64, String, u64, String),
}

impl Change {
    fn is_in(&self, folder: u64) -> bool {
        match self {
            Self::Add(at, ..) | Self::Remove(at, _) => *at == folder,
            Self::Move(from, _, to, _) => [*from, *to].contains(&folder),
        }
    }
}

/// Nodes by inode.
type Nodes = BTreeMap<u64, Node>;

#[derive(Debug)]
struct Disk {
    /// The contents of the files that got the name [`MANIFEST`], in order.
    manifests: Vec<String>,
    now: Nodes,
    /// What a power cut leaves if all pending changes are lost.
    durable: Nodes,
    pending: Vec<Change>,
    /// Whether renaming without replacing is supported.
    has_rename_new: bool,
    has_links: bool,
    /// Which open folder has the lock, by the folder's inode.
    locks: BTreeMap<u64, usize>,
    moment: i64,
    openings: usize,
    /// How often a folder is open. Its inode is not reused meanwhile.
    open: BTreeMap<u64, usize>,
}

/// The machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine(Arc<Mutex<Disk>>);

/// A process of the machine. It can be killed after a number of calls, or have one call fail.
#[derive(Debug)]
pub(crate) struct Process {
    machine: Machine,
    calls: AtomicUsize,
    /// The call that fails, and whether the process dies with it.
    fault: Option<(usize, bool)>,
    is_dead: AtomicBool,
    /// Called between calls, so that other processes can run.
    between: fn(),
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Fake {
    process: Arc<Process>,
    inode: u64,
    opening: usize,
    path: PathBuf,
}

fn folder_of(nodes: &mut Nodes, inode: u64) -> io::Result<&mut BTreeMap<String, u64>> {
    match nodes.get_mut(&inode).map(|node| &mut node.content) {
        Some(Content::Folder(names)) => Ok(names),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn apply(nodes: &mut Nodes, change: &Change, now: &Nodes) {
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

impl Machine {
    pub(crate) fn new() -> Self {
        let root = Node {
            content: Content::Folder(BTreeMap::new()),
            born: 0,
            access: (0, 0o1777),
        };
        let now = Nodes::from([(DESTINATION, root)]);
        Self(Arc::new(Mutex::new(Disk {
            manifests: Vec::new(),
            durable: now.clone(),
            now,
            pending: Vec::new(),
            has_rename_new: true,
            has_links: true,
            locks: BTreeMap::new(),
            moment: 0,
            openings: 0,
            open: BTreeMap::new(),
        })))
    }

    /// A machine whose file system cannot rename without replacing, and may have no links.
    pub(crate) fn old(has_links: bool) -> Self {
        let machine = Self::new();
        machine.disk().has_rename_new = false;
        machine.disk().has_links = has_links;
        machine
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts a synced file into the destination.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let disk = &mut *self.disk();
        let inode = disk.free_inode();
        disk.moment += 1;
        let node = Node {
            content: Content::File(text.into()),
            born: disk.moment,
            access: (0, 0o644),
        };
        for nodes in [&mut disk.now, &mut disk.durable] {
            let _ = nodes.insert(inode, node.clone());
            let _ = folder_of(nodes, DESTINATION)
                .unwrap()
                .insert(name.into(), inode);
        }
    }

    /// The files of the destination and its folders, as `name` or `folder/name`, with their contents.
    pub(crate) fn contents(&self) -> BTreeMap<String, String> {
        let disk = self.disk();
        let mut found = BTreeMap::new();
        let mut folders = vec![(DESTINATION, String::new())];
        while let Some((inode, begin)) = folders.pop() {
            let Content::Folder(names) = &disk.now[&inode].content else {
                continue;
            };
            for (name, inode) in names {
                let name = format!("{begin}{name}");
                match &disk.now[inode].content {
                    Content::File(bytes) => {
                        let _ = found.insert(name, String::from_utf8_lossy(bytes).into_owned());
                    }
                    Content::Folder(_) => {
                        let _ = found.insert(format!("{name}/"), String::new());
                        folders.push((*inode, format!("{name}/")));
                    }
                }
            }
        }
        found
    }

    /// The contents of the manifests, in the order in which they first got their name.
    pub(crate) fn manifests(&self) -> Vec<String> {
        let mut first = Vec::new();
        for text in &self.disk().manifests {
            if !first.contains(text) {
                first.push(text.clone());
            }
        }
        first
    }

    /// All states of the machine that are possible after a power cut now.
    pub(crate) fn after_power_cut(&self) -> Vec<Self> {
        let disk = self.disk();
        let count = disk.pending.len();
        assert!(count < 16, "{count} changes are not synced");
        let after = |subset: usize| {
            let mut nodes = disk.durable.clone();
            for (index, change) in disk.pending.iter().enumerate() {
                if subset & (1 << index) != 0 {
                    apply(&mut nodes, change, &disk.now);
                }
            }
            Self(Arc::new(Mutex::new(Disk {
                manifests: Vec::new(),
                durable: nodes.clone(),
                now: nodes,
                pending: Vec::new(),
                has_rename_new: disk.has_rename_new,
                has_links: disk.has_links,
                locks: BTreeMap::new(),
                moment: disk.moment,
                openings: 0,
                open: BTreeMap::new(),
            })))
        };
        (0..1 << count).map(after).collect()
    }

    /// A process without faults.
    pub(crate) fn process(&self) -> Arc<Process> {
        self.process_with(None, || {})
    }

    /// A process whose call number `fault` fails; if it `dies`, so does each one after it.
    pub(crate) fn process_with(&self, fault: Option<(usize, bool)>, between: fn()) -> Arc<Process> {
        Arc::new(Process {
            machine: self.clone(),
            calls: AtomicUsize::new(0),
            fault,
            is_dead: AtomicBool::new(false),
            between,
        })
    }
}

impl Disk {
    /// The smallest free inode, so that inodes are reused as soon as possible.
    fn free_inode(&self) -> u64 {
        let is_free = |inode: &u64| {
            let is_known = |nodes: &Nodes| nodes.contains_key(inode);
            !is_known(&self.now) && !is_known(&self.durable) && !self.open.contains_key(inode)
        };
        (DESTINATION..).find(is_free).unwrap_or_default()
    }

    fn change(&mut self, change: Change) {
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

    fn forget_nameless(&mut self) {
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

    fn inode(&mut self, folder: u64, name: &str) -> io::Result<Option<u64>> {
        Ok(folder_of(&mut self.now, folder)?.get(name).copied())
    }

    fn entry(&self, inode: u64) -> io::Result<Entry> {
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
}

impl Process {
    /// Opens the destination.
    pub(crate) fn destination(self: &Arc<Self>) -> Fake {
        self.opened(DESTINATION, Path::new("destination").to_owned())
    }

    fn opened(self: &Arc<Self>, inode: u64, path: PathBuf) -> Fake {
        let mut disk = self.machine.disk();
        disk.openings += 1;
        *disk.open.entry(inode).or_default() += 1;
        Fake {
            process: Arc::clone(self),
            inode,
            opening: disk.openings,
            path,
        }
    }

    /// A private folder in the destination. `None`: the process died, or a call failed.
    pub(crate) fn private(self: &Arc<Self>, name: &str) -> Option<Private<Fake>> {
        Private::try_make(self.destination(), name).ok()?.ok()
    }

    /// How many calls it has made.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether it has been killed.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    fn call(&self) -> io::Result<MutexGuard<'_, Disk>> {
        (self.between)();
        if self.is_dead() {
            return Err(io::ErrorKind::Other.into());
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some((fault, dies)) if number == fault => {
                self.is_dead.store(dies, Ordering::Relaxed);
                Err(io::Error::other("injected"))
            }
            _ => Ok(self.machine.disk()),
        }
    }
}

impl Fake {
    /// Also releases the locks of a dead process, as the kernel does.
    fn close(&self) {
        let mut disk = self.process.machine.disk();
        if let Some(count) = disk.open.get_mut(&self.inode) {
            *count -= 1;
        }
        disk.open.retain(|_, count| *count > 0);
        let opening = self.opening;
        disk.locks.retain(|_, holder| *holder != opening);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.close();
    }
}

impl Folder for Fake {
    fn path(&self) -> &Path {
        &self.path
    }

    fn stat(&self) -> io::Result<Entry> {
        let disk = self.process.call()?;
        // A removed folder can still be open.
        Ok(disk.entry(self.inode).unwrap_or(Entry {
            is_folder: true,
            access: ACCESS,
            links: 0,
            identity: Identity {
                inode: 0,
                size: 0,
                modified: (0, 0),
                born: None,
            },
        }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut disk = self.process.call()?;
        Ok(folder_of(&mut disk.now, self.inode)?
            .keys()
            .cloned()
            .collect())
    }

    fn look(&self, name: &str) -> io::Result<Option<Entry>> {
        let mut disk = self.process.call()?;
        // A removed folder is empty.
        let inode = disk.inode(self.inode, name).unwrap_or_default();
        inode.map(|inode| disk.entry(inode)).transpose()
    }

    fn make(&self, name: &str) -> io::Result<()> {
        let mut disk = self.process.call()?;
        let content = Content::Folder(BTreeMap::new());
        disk.add(self.inode, name, content, ACCESS)
    }

    fn open(&self, name: &str) -> io::Result<Self> {
        let inode = {
            let mut disk = self.process.call()?;
            let inode = disk
                .inode(self.inode, name)?
                .ok_or(io::ErrorKind::NotFound)?;
            let _ = folder_of(&mut disk.now, inode)?;
            inode
        };
        Ok(self.process.opened(inode, self.path.join(name)))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = self.process.call()?;
        let holder = disk.locks.entry(self.inode).or_insert(self.opening);
        Ok(*holder == self.opening)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.process.call()?;
        disk.add(
            self.inode,
            name,
            Content::File(bytes.to_owned()),
            (USER, 0o600),
        )
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut disk = self.process.call()?;
        let inode = disk
            .inode(self.inode, name)?
            .ok_or(io::ErrorKind::NotFound)?;
        match &disk.now[&inode].content {
            Content::File(bytes) if bytes.len() <= most => Ok(bytes.clone()),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn rename(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let mut disk = self.process.call()?;
        let from = disk
            .inode(self.inode, name)?
            .ok_or(io::ErrorKind::NotFound)?;
        if disk.inode(to.inode, new)? != Some(from) {
            disk.change(Change::Move(self.inode, name.into(), to.inode, new.into()));
        }
        Ok(())
    }

    fn rename_new(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let mut disk = self.process.call()?;
        if !disk.has_rename_new {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let _ = disk
            .inode(self.inode, name)?
            .ok_or(io::ErrorKind::NotFound)?;
        if disk.inode(to.inode, new)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.change(Change::Move(self.inode, name.into(), to.inode, new.into()));
        Ok(())
    }

    fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        let mut disk = self.process.call()?;
        if !disk.has_links {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let inode = disk
            .inode(self.inode, name)?
            .ok_or(io::ErrorKind::NotFound)?;
        if disk.inode(to.inode, new)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.change(Change::Add(to.inode, new.into(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.process.call()?;
        let _ = disk
            .inode(self.inode, name)?
            .ok_or(io::ErrorKind::NotFound)?;
        disk.change(Change::Remove(self.inode, name.into()));
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        let mut disk = self.process.call()?;
        let inode = disk
            .inode(self.inode, name)?
            .ok_or(io::ErrorKind::NotFound)?;
        if !folder_of(&mut disk.now, inode)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.change(Change::Remove(self.inode, name.into()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let disk = &mut *self.process.call()?;
        // Synced contents of a new folder survive, whether the folder's own name does or not.
        if let (false, Some(node)) = (
            disk.durable.contains_key(&self.inode),
            disk.now.get(&self.inode),
        ) {
            let mut node = node.clone();
            node.content = Content::Folder(BTreeMap::new());
            let _ = disk.durable.insert(self.inode, node);
        }
        let (synced, pending) = std::mem::take(&mut disk.pending)
            .into_iter()
            .partition(|change: &Change| change.is_in(self.inode));
        disk.pending = pending;
        for change in synced {
            apply(&mut disk.durable, &change, &disk.now);
        }
        disk.forget_nameless();
        Ok(())
    }
}

impl Disk {
    fn add(
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
