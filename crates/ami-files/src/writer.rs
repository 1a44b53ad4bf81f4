//! New files of any size, each written from its beginning to its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::direct::{Aligned, DirectFile, STRETCH, UNIT};
use crate::error::FileError;

/// How many stretches there are, being filled, waiting or being written: with four of 1 MiB the processors waited for the disk.
const STRETCHES: usize = 6;

/// Writes one file after the other past the page cache (see [`DirectFile`]), by a thread of its own, while the caller makes the next data.
#[derive(Debug)]
pub struct Writer {
    worker: Worker,
    current: Option<Stretch>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// Starts the thread. If there can be none, the caller's writes.
    pub fn new() -> Self {
        Self {
            worker: Worker::start(),
            current: None,
        }
    }

    /// Begins a file that has just been made and is empty, or a hole. Its path is for messages.
    ///
    /// # Errors
    /// What the file before could not be written.
    pub fn begin(&mut self, file: File, path: &Path) -> Result<(), FileError> {
        self.worker.give(Task::Begin(file, path.to_owned()))
    }

    /// Takes data that belongs at `offset` of the file. Offsets ascend, and data never overlaps. What is not written stays a hole, but for
    /// less than 4096 bytes beside data.
    ///
    /// # Errors
    /// This data, or earlier data, could not be written.
    pub fn write(&mut self, mut offset: u64, mut data: &[u8]) -> Result<(), FileError> {
        while !data.is_empty() {
            let mut stretch = match self.current.take() {
                Some(stretch) if stretch.takes(offset) => stretch,
                other => {
                    if let Some(mut before) = other {
                        before.fill_unit();
                        self.worker.give(Task::Write(before))?;
                    }
                    self.worker.empty_stretch(offset)?
                }
            };
            let count = stretch.append(offset, data);
            data = &data[count..];
            offset += count as u64;
            if stretch.is_full() {
                self.worker.give(Task::Write(stretch))?;
            } else {
                self.current = Some(stretch);
            }
        }
        Ok(())
    }

    /// Ends the file, and syncs its data in the background.
    ///
    /// # Errors
    /// Earlier data could not be written.
    pub fn end(&mut self) -> Result<(), FileError> {
        let rest = self.current.take();
        self.worker.give(Task::End(rest))
    }

    /// Waits until all files that were ended are on the disk.
    ///
    /// # Errors
    /// One of them could not be written or synced.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.worker.finish()
    }
}

/// Data for one place of a file, which begins where a unit begins.
#[derive(Debug, Default)]
struct Stretch {
    memory: Aligned,
    offset: u64,
    length: usize,
}

impl Stretch {
    /// Empties it, for data at `offset`.
    fn reset(&mut self, offset: u64) {
        self.offset = offset - offset % UNIT as u64;
        self.length = 0;
    }

    fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Whether data at `offset` follows, or lies in the unit that has been begun.
    fn takes(&self, offset: u64) -> bool {
        let end = self.end();
        offset == end || (end..end.next_multiple_of(UNIT as u64)).contains(&offset)
    }

    /// Takes what fits of data at `offset`, and returns how much that is.
    fn append(&mut self, offset: u64, data: &[u8]) -> usize {
        let place = (offset - self.offset) as usize;
        let count = data.len().min(STRETCH - place);
        let memory = self.memory.bytes();
        memory[self.length..place].fill(0);
        memory[place..place + count].copy_from_slice(&data[..count]);
        self.length = place + count;
        count
    }

    fn is_full(&self) -> bool {
        self.length == STRETCH
    }

    /// Fills the last unit with zeros.
    fn fill_unit(&mut self) {
        let end = self.length.next_multiple_of(UNIT);
        self.memory.bytes()[self.length..end].fill(0);
        self.length = end;
    }

    fn data(&self) -> &[u8] {
        self.memory.written(self.length)
    }
}

#[derive(Debug)]
enum Task {
    Begin(File, PathBuf),
    Write(Stretch),
    /// The rest of the file, which need not fill its last unit.
    End(Option<Stretch>),
}

#[derive(Debug)]
enum Worker {
    Thread {
        tasks: mpsc::Sender<Task>,
        /// Stretches that can be filled again: so the number of tasks is bounded.
        emptied: mpsc::Receiver<Stretch>,
        thread: JoinHandle<Result<(), FileError>>,
    },
    /// No thread could be started.
    Here(Disk, Option<Stretch>),
    /// The error has been given.
    Failed,
}

impl Worker {
    fn start() -> Self {
        let (tasks, queue) = mpsc::channel();
        let (used, emptied) = mpsc::channel();
        let again = used.clone();
        let thread = thread::Builder::new().spawn(move || {
            let mut disk = Disk::default();
            for task in queue {
                if let Some(stretch) = disk.run(task)? {
                    // The caller may have gone.
                    let _ = again.send(stretch);
                }
            }
            Ok(())
        });
        let Ok(thread) = thread else {
            return Self::Here(Disk::default(), Some(Stretch::default()));
        };
        for _ in 0..STRETCHES {
            let _ = used.send(Stretch::default());
        }
        Self::Thread {
            tasks,
            emptied,
            thread,
        }
    }

    fn give(&mut self, task: Task) -> Result<(), FileError> {
        match self {
            Self::Thread { tasks, .. } => match tasks.send(task) {
                Ok(()) => Ok(()),
                Err(_) => self.finish(),
            },
            Self::Here(disk, emptied) => {
                *emptied = disk.run(task)?.or(emptied.take());
                Ok(())
            }
            Self::Failed => Ok(()),
        }
    }

    /// Waits while all stretches wait for the disk.
    fn empty_stretch(&mut self, offset: u64) -> Result<Stretch, FileError> {
        let stretch = match self {
            Self::Thread { emptied, .. } => emptied.recv().ok(),
            Self::Here(_, emptied) => emptied.take(),
            Self::Failed => None,
        };
        if stretch.is_none() {
            self.finish()?;
        }
        let mut stretch = stretch.unwrap_or_default();
        stretch.reset(offset);
        Ok(stretch)
    }

    fn finish(&mut self) -> Result<(), FileError> {
        let Self::Thread { tasks, thread, .. } = std::mem::replace(self, Self::Failed) else {
            return Ok(());
        };
        drop(tasks);
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What the thread does, to one file at a time.
#[derive(Debug, Default)]
struct Disk(Option<Target>);

#[derive(Debug)]
struct Target {
    file: DirectFile,
    path: PathBuf,
}

impl Disk {
    /// Returns the stretch that has been written.
    fn run(&mut self, task: Task) -> Result<Option<Stretch>, FileError> {
        match task {
            Task::Begin(file, path) => {
                let file = DirectFile::new(file);
                self.0 = Some(Target { file, path });
                Ok(None)
            }
            Task::Write(stretch) => {
                if let Some(Target { file, path }) = &self.0 {
                    file.write_aligned(stretch.data(), stretch.offset)
                        .map_err(FileError::new("write", path))?;
                }
                Ok(Some(stretch))
            }
            Task::End(rest) => {
                if let Some(target) = self.0.take() {
                    target.end(rest.as_ref())?;
                }
                Ok(rest)
            }
        }
    }
}

impl Target {
    fn end(self, rest: Option<&Stretch>) -> Result<(), FileError> {
        let Self { file, path } = self;
        let (offset, data) = rest.map_or((0, &[][..]), |rest| (rest.offset, rest.data()));
        let (units, tail) = data.split_at(data.len() - data.len() % UNIT);
        let written = file.write_aligned(units, offset).and_then(|()| {
            file.write_as_usual()?;
            file.write_aligned(tail, offset + units.len() as u64)
        });
        written.map_err(FileError::new("write", &path))?;
        file.file()
            .sync_data()
            .map_err(FileError::new("sync", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{OFlags, fcntl_getfl};

    /// Gives a target that writes directly or as usual.
    fn writer(folder: &Path, is_direct: bool) -> (Disk, PathBuf) {
        let path = folder.join("file");
        let file = DirectFile::new(File::create(&path).unwrap());
        if !is_direct {
            file.write_as_usual().unwrap();
        }
        let target = Target {
            file,
            path: path.clone(),
        };
        (Disk(Some(target)), path)
    }

    /// Pieces at odd places: within a unit, over the end of a stretch, far apart.
    const PIECES: [(u64, usize); 8] = [
        (3, 10),
        (20, 4000),
        (4020, 76),
        (4096, 9 * STRETCH + 1),
        (10 * STRETCH as u64 - 5, 5),
        (10 * STRETCH as u64 + 4096, 100_000),
        (64 * STRETCH as u64 + 7, 8185),
        (80 * STRETCH as u64, STRETCH + 4097),
    ];

    fn contents() -> Vec<u8> {
        let (last, length) = PIECES[7];
        let mut expected = vec![0; last as usize + length];
        for (offset, length) in PIECES {
            for (index, byte) in expected[offset as usize..][..length].iter_mut().enumerate() {
                *byte = (index % 251) as u8 + 1;
            }
        }
        expected
    }

    fn write_pieces(writer: &mut Writer) {
        let expected = contents();
        for (offset, length) in PIECES {
            writer
                .write(offset, &expected[offset as usize..][..length])
                .unwrap();
        }
        writer.end().unwrap();
    }

    #[test]
    fn every_byte_is_where_it_belongs_and_the_rest_is_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        for is_direct in [true, false] {
            let (disk, path) = writer(folder.path(), is_direct);
            let mut writer = Writer {
                worker: Worker::Here(disk, Some(Stretch::default())),
                current: None,
            };
            write_pieces(&mut writer);
            writer.finish().unwrap();
            assert!(fs::read(&path).unwrap() == contents());
            let written = fs::metadata(&path).unwrap().blocks() * 512;
            assert!(written < 11 * STRETCH as u64 + 200_000, "{written}");
        }
    }

    #[test]
    fn a_thread_writes_one_file_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "empty", "two"].map(|name| folder.path().join(name));
        let mut writer = Writer::new();
        let mut files = Vec::new();
        for path in &paths {
            let file = File::create_new(path).unwrap();
            files.push(file.try_clone().unwrap());
            writer.begin(file, path).unwrap();
            if path.ends_with("empty") {
                writer.end().unwrap();
            } else {
                write_pieces(&mut writer);
            }
        }
        writer.finish().unwrap();
        for (path, file) in paths.iter().zip(files) {
            let expected = if path.ends_with("empty") {
                Vec::new()
            } else {
                contents()
            };
            assert!(fs::read(path).unwrap() == expected, "{path:?}");
            assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        }
    }

    #[test]
    fn an_error_is_given_once_and_names_the_file() {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let mut writer = Writer::new();
        writer.begin(full(), Path::new("image")).unwrap();
        let error = loop {
            if let Err(error) = writer.write(0, &[1; STRETCH]) {
                break error;
            }
        };
        assert!(matches!(error, FileError::NoSpace { .. }), "{error:?}");
        assert_eq!(error.to_string(), "no space left for image");
        writer.write(0, b"more").unwrap();
        writer.finish().unwrap();

        let mut writer = Writer::new();
        writer.begin(full(), Path::new("image")).unwrap();
        writer.write(0, b"a little").unwrap();
        writer.end().unwrap();
        let _ = writer.finish().unwrap_err();
    }
}
