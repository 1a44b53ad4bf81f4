//! Removes folders of the image with all that is in them, however deep.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// How many names are tried for a folder that is lifted.
const TRIES: u64 = 1000;

/// Removes an entry of a folder that nobody else changes meanwhile.
///
/// Folders that are not empty are lifted to the top, so that there are three open files at most and nothing is called recursively.
pub(crate) fn remove(folder: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    if remove_simple(folder, name)? {
        return Ok(());
    }
    let top = open(folder, name)?;
    let mut lifted = 0;
    loop {
        let mut is_empty = true;
        for entry in Dir::read_from(&top)? {
            let entry = entry?;
            if is_dots(entry.file_name()) || remove_simple(&top, entry.file_name())? {
                continue;
            }
            is_empty = false;
            let inner = open(&top, entry.file_name())?;
            for below in Dir::read_from(&inner)? {
                let below = below?;
                if !is_dots(below.file_name()) && !remove_simple(&inner, below.file_name())? {
                    lift(&inner, below.file_name(), &top, &mut lifted)?;
                }
            }
        }
        if is_empty {
            return rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes anything but a folder that is not empty; whether it has.
fn remove_simple(folder: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        removed => return removed.map(|()| true),
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Moves a folder to `top`, under a name that is free or that of an empty folder.
fn lift(folder: &OwnedFd, name: &CStr, top: &OwnedFd, lifted: &mut u64) -> Result<(), Errno> {
    let mut moved = Err(Errno::EXIST);
    for _ in 0..TRIES {
        *lifted += 1;
        let free = CString::new(format!(".lifted.{lifted}")).unwrap_or_default();
        moved = rustix::fs::renameat(folder, name, top, &free);
        if !matches!(moved, Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR)) {
            break;
        }
    }
    moved
}

fn open(folder: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_deep_and_broad_tree_is_removed_with_few_open_files() {
        let temporary = tempfile::tempdir().unwrap();
        let root: OwnedFd = File::open(temporary.path()).unwrap().into();
        fs::create_dir(temporary.path().join("tree")).unwrap();
        let mut at = open(&root, c"tree").unwrap();
        for level in 0..3000 {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            drop(rustix::fs::openat(&at, c"file", flags, Mode::RUSR).unwrap());
            rustix::fs::mkdirat(&at, c"empty", Mode::RWXU).unwrap();
            // Names that are taken.
            let name = if level < 5 { c".lifted.3" } else { c"x" };
            rustix::fs::symlinkat(c"/", &at, c".lifted.1").unwrap();
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            at = open(&at, name).unwrap();
        }
        fs::write(temporary.path().join("other"), "stays").unwrap();
        remove(&root, c"tree").unwrap();
        assert_eq!(remove(&root, c"nothing"), Err(Errno::NOENT));
        let names: Vec<_> = fs::read_dir(temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["other"]);
    }
}
