//! The data of one file, with its holes.

use std::cell::RefCell;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::entry_error::{EntryError, as_path};
use crate::error::Error;

/// How much is read at a time, in bytes; found by measuring 64 KiB to 4 MiB.
const BUFFER: usize = 256 << 10;

thread_local! {
    static CONTENT: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Copies the data, up to the `size` that the file had when it was opened, and leaves its holes. `copied` is called with the length of each
/// piece.
pub(crate) fn copy_contents(
    source: impl AsFd,
    target: impl AsFd,
    size: u64,
    path: &[u8],
    copied: impl Fn(u64) -> Result<(), EntryError>,
) -> Result<(), EntryError> {
    let mut at = 0;
    while at < size {
        let data = next_data(&source, at, size).map_err(EntryError::at("read", path))?;
        let Some((start, end)) = data else {
            break;
        };
        at = extent(&source, &target, start, end, path, &copied)?;
        if at < end {
            break; // the file has become shorter
        }
    }
    if at < size {
        rustix::fs::ftruncate(&target, size).map_err(EntryError::writing(path))?;
    }
    Ok(())
}

/// Copies from `start` to `end`. Returns where it stopped: earlier if the file ends there.
fn extent(
    source: impl AsFd,
    target: impl AsFd,
    start: u64,
    end: u64,
    path: &[u8],
    copied: impl Fn(u64) -> Result<(), EntryError>,
) -> Result<u64, EntryError> {
    CONTENT.with_borrow_mut(|buffer| {
        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let count = match rustix::io::pread(&source, &mut buffer[..wanted], at) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    return Err(EntryError::Fatal(Error::io("read", as_path(path))(errno)));
                }
            };
            let mut written = 0;
            while written < count {
                match rustix::io::pwrite(&target, &buffer[written..count], at + written as u64) {
                    Ok(more) => written += more,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(EntryError::writing(path)(errno)),
                }
            }
            at += count as u64;
            copied(count as u64)?;
        }
        Ok(at)
    })
}

/// Where the next data begins and ends; `None` if there is none up to `size`.
fn next_data(file: impl AsFd, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // The file system does not know its holes.
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno),
    };
    match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end.min(size)))),
        // It has become shorter.
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}
