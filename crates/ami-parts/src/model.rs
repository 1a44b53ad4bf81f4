//! A file system in memory, in which a process can be killed, or the power cut, at every call.
//!
//! After a power cut, any subset of the changes of names survives whose folders have not been synced since. A rename is one change of
//! both folders.

mod disk;
mod fake;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use self::disk::{Content, DESTINATION, Disk, Node, Nodes, apply, folder_of};
pub(crate) use self::fake::Fake;
use crate::private::Private;

/// The manifest of the bundle that all stories publish.
pub(crate) const MANIFEST: &str = "x.manifest.xml";

/// The processes' user.
pub(crate) const USER: u32 = 7;

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
