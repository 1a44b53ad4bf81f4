//! Extended attributes of a file: ACLs and capabilities are such.

use std::cell::RefCell;
use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::entry_error::EntryError;

/// linux/limits.h, XATTR_SIZE_MAX and XATTR_LIST_MAX.
const XATTR_MAX: usize = 64 << 10;

/// What is asked for by name where a file has more attributes than the kernel can list: what a system does not work without.
const BY_NAME: &[u8] =
    b"system.posix_acl_access\0system.posix_acl_default\0security.capability\0security.selinux\0";

thread_local! {
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; XATTR_MAX], vec![0; XATTR_MAX]));
}

/// Takes all attributes that can be taken from an open file: not those that the kernel or a security module manages.
pub(crate) fn remove_all(file: impl AsFd) {
    BUFFERS.with_borrow_mut(|(names, _)| {
        let Ok(length) = rustix::fs::flistxattr(&file, &mut names[..]) else {
            return;
        };
        for name in names[..length].split_inclusive(|&b| b == 0) {
            if let Ok(name) = CStr::from_bytes_with_nul(name) {
                let _ = rustix::fs::fremovexattr(&file, name);
            }
        }
    });
}

/// How the attributes of a file, which may be open or have a name only, are read and set.
pub(crate) struct Access<L, G, S> {
    pub(crate) list: L,
    pub(crate) get: G,
    pub(crate) set: S,
}

impl<L, G, S> Access<L, G, S>
where
    L: Fn(&mut [u8]) -> Result<usize, Errno>,
    G: Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
    S: Fn(&CStr, &[u8]) -> Result<(), Errno>,
{
    /// Copies all that can be, and says whether that is all there are. `is_full` says whether the target has no space left, and
    /// `writing` makes an error of what is none of the attribute's fault.
    pub(crate) fn copy(
        &self,
        path: &[u8],
        is_full: impl Fn() -> bool,
        writing: impl Fn(Errno) -> EntryError,
    ) -> Result<bool, EntryError> {
        BUFFERS.with_borrow_mut(|(names, value)| {
            let mut is_complete = true;
            let names = match (self.list)(names) {
                Ok(length) => &names[..length],
                // The volume's file system has none.
                Err(Errno::NOTSUP) => return Ok(true),
                // xfs takes more of them than XATTR_LIST_MAX has room for.
                Err(Errno::TOOBIG | Errno::RANGE) => {
                    is_complete = false;
                    BY_NAME
                }
                Err(errno) => return Err(EntryError::at("read the attributes of", path)(errno)),
            };
            for name in names.split_inclusive(|&b| b == 0) {
                let Ok(name) = CStr::from_bytes_with_nul(name) else {
                    continue;
                };
                let length = match (self.get)(name, value) {
                    Ok(length) => length,
                    // Removed meanwhile, or never there.
                    Err(Errno::NODATA | Errno::NOTSUP) => continue,
                    Err(errno) => {
                        return Err(EntryError::at("read the attributes of", path)(errno));
                    }
                };
                match (self.set)(name, &value[..length]) {
                    Ok(()) => {}
                    // A kind that the target does not know or may not be given, or more than it has room for in one file.
                    Err(
                        Errno::NOTSUP | Errno::PERM | Errno::INVAL | Errno::TOOBIG | Errno::RANGE,
                    ) => is_complete = false,
                    Err(Errno::NOSPC) if !is_full() => is_complete = false,
                    Err(errno) => return Err(writing(errno)),
                }
            }
            Ok(is_complete)
        })
    }
}
