//! An open folder of a process, as the rest of the crate sees it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Change, Content, apply, folder_of};
use super::{Process, USER};
use crate::folder::{Entry, Folder, Identity};

/// The owner and the mode of a folder that is made.
const ACCESS: (u32, u32) = (USER, 0o700);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(super) process: Arc<Process>,
    pub(super) inode: u64,
    pub(super) opening: usize,
    pub(super) path: PathBuf,
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
