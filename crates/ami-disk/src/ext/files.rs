//! Files of an ext file system that tell the architecture, and whether there is a network driver, by the `ext4-view` crate.
//!
//! The journal is left alone: what it has not replayed yet is not about the programs of a system, and old journals are not read by that
//! crate.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};

use ext4_view::{Ext4, Ext4Read, Path, PathBuf, ReadDir};

use super::superblock::{self, Head};
use crate::error::{Error, Stop};
use crate::program::{self, Architectures};
use crate::read::Window;

/// Programs that every system has under one of these names.
const PROGRAMS: [&str; 8] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "/bin/sh",
    "/usr/bin/sh",
    "/bin/mount",
    "/usr/bin/env",
];

/// Where kernels are, in a root file system and in one that is mounted at /boot.
const KERNELS: [&str; 2] = ["/boot", "/"];

/// Where kernels keep their modules, in a folder for each version; and the most versions that are looked at.
const MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
const MOST_VERSIONS: usize = 16;

/// The lists of a version's modules, and of what is built into its kernel (depmod(8), kbuild); and how much of one is read.
const LISTS: [&str; 2] = ["modules.dep", "modules.builtin"];
const MOST_LIST: usize = 8 << 20;

/// The driver of current instance types' network. A suffix says how the module is compressed.
const ENA: &[u8] = b"/ena.ko";

/// The most names that are looked at in such a folder.
const MOST_NAMES: usize = 1000;

/// The most symbolic links in a path, and the longest in bytes (Linux: include/linux/namei.h, MAXSYMLINKS; limits.h, PATH_MAX).
const MOST_LINKS: u32 = 40;
const LONGEST_LINK: u64 = 4096;

/// A device is read in pieces of so many bytes, and at most so many of them.
const PIECE: u64 = 64 << 10;
const MOST_PIECES: u32 = 4096;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Of programs.
    pub(crate) programs: Architectures,
    /// Of kernels that are EFI programs too.
    pub(crate) kernels: Architectures,
    /// Whether a kernel has the driver `ena`; `None` if there is no list of a kernel's modules.
    pub(crate) has_ena: Option<bool>,
}

/// Looks at the programs and kernels of the file system in the window; what cannot be read is not there.
pub(crate) fn look(window: &Window<'_>) -> Result<Found, Error> {
    let head = match window.read(superblock::PLACE, superblock::LENGTH) {
        Ok(bytes) => superblock::head_without_journal(&bytes, window.length),
        Err(stop) => stop.volume().map(|_| None)?,
    };
    let Some(head) = head else {
        return Ok(Found::default());
    };
    // `Ext4` owns its reader for good, and the window is only lent; so the window stays here, and a channel goes there.
    let (requests, waiting) = mpsc::sync_channel(0);
    let (answers, received) = mpsc::sync_channel(0);
    std::thread::scope(|scope| {
        let finder = scope.spawn(move || {
            let reader = Remote {
                head,
                requests,
                received,
                piece: None,
                left: MOST_PIECES,
            };
            find(reader)
        });
        let served = serve(window, &waiting, &answers);
        // Both ends gone, it ends with an error at its next request.
        drop((waiting, answers));
        let found = finder.join().unwrap_or_default();
        served.map(|()| found)
    })
}

/// Reads what is asked for until nothing more is.
fn serve(
    window: &Window<'_>,
    requests: &Receiver<u64>,
    answers: &SyncSender<Option<Vec<u8>>>,
) -> Result<(), Error> {
    for at in requests {
        let answer = match window.read_up_to(at, PIECE as usize) {
            Ok(bytes) => Some(bytes),
            Err(Stop::Volume(_)) => None,
            Err(Stop::Survey(error)) => return Err(error),
        };
        if answers.send(answer).is_err() {
            break;
        }
    }
    Ok(())
}

/// The device, as `Ext4` reads it.
struct Remote {
    /// The superblock, as it shall be seen.
    head: Head,
    requests: SyncSender<u64>,
    received: Receiver<Option<Vec<u8>>>,
    /// The last piece that was read, and where it is.
    piece: Option<(u64, Vec<u8>)>,
    left: u32,
}

impl Remote {
    fn piece(&mut self, at: u64) -> io::Result<&[u8]> {
        if self.piece.as_ref().is_none_or(|(place, _)| *place != at) {
            self.left = self
                .left
                .checked_sub(1)
                .ok_or(io::ErrorKind::QuotaExceeded)?;
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.requests
                .send(at)
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
            let bytes = self.received.recv().map_err(|e| gone(e.to_string()))?;
            self.piece = Some((at, bytes.ok_or(io::ErrorKind::UnexpectedEof)?));
        }
        Ok(self.piece.as_ref().map_or(&[], |(_, bytes)| bytes))
    }

    fn read_exact(&mut self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let start = at - at % PIECE;
            let inside = (at - start) as usize;
            let rest = self.piece(start)?.get(inside..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (now, later) = buffer.split_at_mut(length);
            now.copy_from_slice(&rest[..length]);
            buffer = later;
            at += length as u64;
        }
        Ok(())
    }
}

impl Ext4Read for Remote {
    fn read(
        &mut self,
        at: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if at == superblock::PLACE && buffer.len() == superblock::LENGTH {
            buffer.copy_from_slice(&self.head);
        } else {
            self.read_exact(at, buffer)?;
        }
        Ok(())
    }
}

fn find(reader: Remote) -> Found {
    let mut found = Found::default();
    let Ok(fs) = Ext4::load(Box::new(reader)) else {
        return found;
    };
    let programs = PROGRAMS
        .iter()
        .filter_map(|path| program::elf(&head(&fs, path.as_bytes())?));
    found.programs.extend(programs);
    for folder in KERNELS {
        let Some(entries) = read_dir(&fs, folder) else {
            continue;
        };
        for entry in entries.take(MOST_NAMES).map_while(Result::ok) {
            let is_kernel = entry.file_name().as_ref().starts_with(b"vmlinuz");
            let head = is_kernel
                .then(|| head(&fs, entry.path().as_ref()))
                .flatten();
            let kernel = head.and_then(|head| program::pe(&head)).flatten();
            found.kernels.extend(kernel);
        }
    }
    found.has_ena = has_ena(&fs);
    found
}

fn has_ena(fs: &Ext4) -> Option<bool> {
    let mut has_ena = None;
    for folder in MODULES {
        let Some(versions) = read_dir(fs, folder) else {
            continue;
        };
        for version in versions.take(MOST_VERSIONS).map_while(Result::ok) {
            for list in LISTS {
                let path = [version.path().as_ref(), list.as_bytes()].join(&b'/');
                if let Some(list) = beginning(fs, &path, MOST_LIST) {
                    let has_it = list.windows(ENA.len()).any(|part| part == ENA);
                    has_ena = Some(has_it || has_ena == Some(true));
                }
            }
        }
    }
    has_ena
}

/// The beginning of a program.
fn head(fs: &Ext4, path: &[u8]) -> Option<Vec<u8>> {
    beginning(fs, path, program::HEAD)
}

/// The path without symbolic links, which are followed inside the file system. `Ext4` would follow them, but takes memory for as many bytes
/// as a link claims to have.
fn resolved(fs: &Ext4, path: &[u8]) -> Option<PathBuf> {
    let names = |path: &[u8]| {
        let names = path.split(|&byte| byte == b'/').rev();
        names.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let mut rest = names(path);
    let mut found = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let parent = found.len();
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                let last = found.iter().rposition(|&byte| byte == b'/');
                found.truncate(last.unwrap_or(0));
                continue;
            }
            name => found.extend([b"/", name].concat()),
        }
        let here = Path::try_from(&found[..]).ok()?;
        let metadata = fs.symlink_metadata(here).ok()?;
        if metadata.file_type().is_symlink() {
            links += 1;
            if links > MOST_LINKS || metadata.len() > LONGEST_LINK {
                return None;
            }
            let target = fs.read_link(here).ok()?;
            let target: &[u8] = target.as_ref();
            found.truncate(if target.starts_with(b"/") { 0 } else { parent });
            rest.extend(names(target));
        }
    }
    if found.is_empty() {
        found.push(b'/');
    }
    PathBuf::try_from(found).ok()
}

fn read_dir(fs: &Ext4, path: &str) -> Option<ReadDir> {
    fs.read_dir(&resolved(fs, path.as_bytes())?).ok()
}

/// The beginning of a file.
fn beginning(fs: &Ext4, path: &[u8], most: usize) -> Option<Vec<u8>> {
    let path = &resolved(fs, path)?;
    if !fs.metadata(path).ok()?.file_type().is_regular_file() {
        return None;
    }
    let mut file = fs.open(path).ok()?;
    let size = usize::try_from(file.metadata().len()).unwrap_or(usize::MAX);
    let mut head = vec![0; size.min(most)];
    let mut length = 0;
    while length < head.len() {
        match file.read_bytes(&mut head[length..]).ok()? {
            0 => break,
            read => length += read,
        }
    }
    head.truncate(length);
    Some(head)
}
