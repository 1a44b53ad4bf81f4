//! Writing to a file past the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, OFlags, fcntl_getfl, fcntl_setfl};

/// What offsets, lengths and addresses of direct writes are multiples of: the largest block of usual disks, in bytes.
pub(crate) const UNIT: usize = 4096;

/// The most that is written at a time, in bytes: from 0.5 to 8 MiB a disk takes them equally fast.
pub(crate) const STRETCH: usize = 2 << 20;

/// How much that is written as usual is synced at a time, in bytes.
const SYNCED: u64 = 16 << 20;

/// A file that is written directly from memory (`O_DIRECT`), by any number of threads, one at a time.
///
/// Left alone, the kernel copies a new file into its cache, keeps gigabytes of it there, pushes out what else is cached, and the sync at
/// the end takes as long as the disk needs for all of it. On the machine of docs/benchmarks.md direct writes take a tenth of the processor
/// time. Where a file system does not take them, the file is written as usual, but synced every few MiB, and the kernel forgets those.
#[derive(Debug)]
pub struct DirectFile {
    file: File,
    is_direct: AtomicBool,
    /// How much was written as usual since the last sync.
    unsynced: AtomicU64,
    /// One is enough: file systems let only one thread write to a hole at a time.
    memory: Mutex<Aligned>,
}

impl DirectFile {
    /// While it is written directly, it cannot be read through this descriptor, or one that was made from it.
    pub fn new(file: File) -> Self {
        Self {
            is_direct: AtomicBool::new(set_direct(&file, true).is_ok()),
            file,
            unsynced: AtomicU64::new(0),
            memory: Mutex::default(),
        }
    }

    /// The file, to be synced, resized and so on.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `data`. If it does not begin and end at multiples of 4096 bytes, nothing is written directly from then on.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let is_whole = |number: u64| number.is_multiple_of(UNIT as u64);
        if !self.is_direct() || !is_whole(offset) || !is_whole(data.len() as u64) {
            self.write_as_usual()?;
            return self.write_aligned(data, offset);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = offset;
        for piece in data.chunks(STRETCH) {
            let aligned = &mut memory.bytes()[..piece.len()];
            aligned.copy_from_slice(piece);
            self.write_aligned(aligned, place)?;
            place += piece.len() as u64;
        }
        Ok(())
    }

    /// The same for memory of an [`Aligned`].
    pub(crate) fn write_aligned(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if self.is_direct() {
            match self.file.write_all_at(data, offset) {
                // A file system that takes the flag and not the write, or whose blocks are larger.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.write_as_usual()?;
                }
                result => return result,
            }
        }
        self.file.write_all_at(data, offset)?;
        let length = data.len() as u64;
        let before = self.unsynced.fetch_add(length, Ordering::Relaxed);
        if before / SYNCED != (before + length) / SYNCED {
            self.file.sync_data()?;
            // Only speed depends on it.
            let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        }
        Ok(())
    }

    fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Relaxed)
    }

    /// Nothing is written directly from now on.
    pub(crate) fn write_as_usual(&self) -> io::Result<()> {
        match self.is_direct.swap(false, Ordering::Relaxed) {
            true => set_direct(&self.file, false),
            false => Ok(()),
        }
    }
}

/// Writes with this descriptor, and those made from it, go past the page cache, or not.
fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    let flags = if direct {
        flags | OFlags::DIRECT
    } else {
        flags - OFlags::DIRECT
    };
    Ok(fcntl_setfl(file, flags)?)
}

/// [`STRETCH`] bytes of memory from which can be written directly; taken when it is first used.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    memory: Vec<u8>,
    begin: usize,
}

impl Aligned {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        if self.memory.is_empty() {
            self.memory = vec![0; STRETCH + UNIT];
            self.begin = self.memory.as_ptr().align_offset(UNIT).min(UNIT);
        }
        &mut self.memory[self.begin..][..STRETCH]
    }

    pub(crate) fn written(&self, length: usize) -> &[u8] {
        &self.memory[self.begin..][..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(folder: &tempfile::TempDir) -> File {
        let options = || File::options().read(true).write(true).create(true).clone();
        options().open(folder.path().join("file")).unwrap()
    }

    #[test]
    fn blocks_come_in_any_order_and_what_is_none_is_written_as_usual() {
        let folder = tempfile::tempdir().unwrap();
        let direct = DirectFile::new(file(&folder));
        let block: Vec<u8> = (0..=255).cycle().take(STRETCH + UNIT).collect();
        for place in [3, 0, 1] {
            let offset = place * block.len() as u64;
            direct.write_all_at(&block, offset).unwrap();
        }
        // That is none.
        direct
            .write_all_at(b"tail", 4 * block.len() as u64)
            .unwrap();
        assert!(!fcntl_getfl(direct.file()).unwrap().contains(OFlags::DIRECT));
        let hole = vec![0; block.len()];
        let expected = [&block[..], &block, &hole, &block, b"tail"].concat();
        assert!(fs::read(folder.path().join("file")).unwrap() == expected);
    }

    #[test]
    fn what_cannot_be_written_directly_is_written_as_usual() {
        let folder = tempfile::tempdir().unwrap();
        let direct = DirectFile::new(file(&folder));
        assert!(direct.is_direct(), "the tests' folder takes direct writes");
        // No disk takes it from there.
        let mut memory = Aligned::default();
        memory.bytes()[1..=UNIT].fill(7);
        direct
            .write_aligned(&memory.written(UNIT + 1)[1..], 0)
            .unwrap();
        assert!(!direct.is_direct());
        for place in 1..=40 {
            direct
                .write_all_at(memory.written(STRETCH), place * STRETCH as u64)
                .unwrap();
        }
        let written = fs::read(folder.path().join("file")).unwrap();
        assert!(written[..UNIT] == [7; UNIT]);
        assert_eq!(written.len(), 41 * STRETCH);
    }
}
