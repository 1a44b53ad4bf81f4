//! The operations on folders that publishing needs. [`Dir`](crate::dir::Dir) implements them; the tests have a file system in memory, in
//! which a process can be killed, or the power cut, at every call.
//!
//! All names are single path components. A folder is opened once and then used through its descriptor, so renaming it, or putting
//! something else in its place, has no effect.

use std::io;
use std::path::Path;

/// A time: seconds and nanoseconds since 1970.
pub(crate) type Moment = (i64, u32);

/// Distinguishes a file from all others of its file system, even from a later one that reuses its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Modification time, which neither a rename nor a link changes.
    pub(crate) modified: Moment,
    /// Time of birth, if the file system records it.
    pub(crate) born: Option<Moment>,
}

impl Identity {
    /// Whether this is the same, unmodified file as `earlier`.
    pub(crate) fn is_still(&self, earlier: &Self) -> bool {
        let age = match (self.born, earlier.born) {
            (None, None) => self.modified == earlier.modified,
            (now, then) => now == then,
        };
        self.inode == earlier.inode && self.size == earlier.size && age
    }

    /// Whether this is the same folder as `earlier`. Compares only what its contents do not change.
    pub(crate) fn is_folder(&self, earlier: &Self) -> bool {
        self.inode == earlier.inode && self.born == earlier.born
    }
}

/// An entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) is_folder: bool,
    /// The owner's user ID, and the permission bits.
    pub(crate) access: (u32, u32),
    /// How many names it has; 0 for a removed folder.
    pub(crate) links: u64,
    pub(crate) identity: Identity,
}

/// An open folder.
pub(crate) trait Folder: Sized {
    /// Its path, for messages.
    fn path(&self) -> &Path;
    /// The folder itself.
    fn stat(&self) -> io::Result<Entry>;
    /// The names in it that are UTF-8. A name that exists throughout the call is among them.
    fn names(&self) -> io::Result<Vec<String>>;
    /// The entry with this name; `None` if there is none. Links are not followed.
    fn look(&self, name: &str) -> io::Result<Option<Entry>>;
    /// Makes a folder with mode 0700.
    fn make(&self, name: &str) -> io::Result<()>;
    /// Opens a folder in it. Links are not followed.
    fn open(&self, name: &str) -> io::Result<Self>;
    /// Locks this folder against everybody else who opened it, until this value is dropped. `false` if somebody else has the lock.
    fn try_lock(&self) -> io::Result<bool>;
    /// Writes a new file that only its owner may read, and syncs it.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Reads a file of at most `most` bytes. Links are not followed.
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>>;
    /// Renames, replacing what has the new name. If both are names of one file, both stay, as with rename(2).
    fn rename(&self, name: &str, to: &Self, new: &str) -> io::Result<()>;
    /// Renames if the new name is free; else [`io::ErrorKind::AlreadyExists`]. [`io::ErrorKind::Unsupported`] if the file system cannot do
    /// this in one step.
    fn rename_new(&self, name: &str, to: &Self, new: &str) -> io::Result<()>;
    /// Gives a file a second name, if that is free; else [`io::ErrorKind::AlreadyExists`].
    fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()>;
    /// Removes a name that is not a folder's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, name: &str) -> io::Result<()>;
    /// Makes all changes of names in this folder survive a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// Whether `name` is a single path component.
pub(crate) fn is_component(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Moves a file to a name that is free; else [`io::ErrorKind::AlreadyExists`]. Completes a move that was interrupted.
pub(crate) fn place<F: Folder>(from: &F, name: &str, to: &F, new: &str) -> io::Result<()> {
    let result = match from.rename_new(name, to, new) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => place_in_steps(from, name, to, new),
        result => result,
    };
    match result {
        Err(e)
            if e.kind() == io::ErrorKind::AlreadyExists && is_same_file(from, name, to, new)? =>
        {
            from.remove(name)
        }
        result => result,
    }
}

fn place_in_steps<F: Folder>(from: &F, name: &str, to: &F, new: &str) -> io::Result<()> {
    match from.link(name, to, new) {
        Ok(()) => return from.remove(name),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(e),
        // The file system does not support links either.
        Err(_) => {}
    }
    if to.look(new)?.is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    from.rename(name, to, new)
}

/// Moves a file if it is the expected one, replacing what has the new name. Any other file keeps its name.
pub(crate) fn take<F: Folder>(
    from: &F,
    name: &str,
    to: &F,
    new: &str,
    is_expected: impl Fn(&Identity) -> bool,
) -> io::Result<bool> {
    match from.look(name)? {
        Some(entry) if !entry.is_folder && is_expected(&entry.identity) => {}
        _ => return Ok(false),
    }
    match from.rename(name, to, new) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result?,
    }
    // Another file may have been put there since.
    let Some(taken) = to.look(new)? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    if !is_expected(&taken.identity) {
        place(to, new, from, name)?;
        return Ok(false);
    }
    // If both were names of one file, the rename left both.
    if from
        .look(name)?
        .is_some_and(|entry| entry.identity == taken.identity)
    {
        from.remove(name)?;
    }
    Ok(true)
}

fn is_same_file<F: Folder>(one: &F, name: &str, other: &F, new: &str) -> io::Result<bool> {
    let (one, other) = (one.look(name)?, other.look(new)?);
    Ok(one.is_some_and(|one| other.is_some_and(|other| one.identity == other.identity)))
}
