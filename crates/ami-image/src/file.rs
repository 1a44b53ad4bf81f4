//! An image that becomes a file with holes.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ami_files::Writer;

use crate::error::Error;
use crate::sink::{Description, ImageSink};

/// Zeros in runs of this many bytes are not written but left as holes: the smallest unit of most file systems.
const HOLE: usize = 4096;

/// Writes an image to an open file. The caller gives the file its name when it is finished, or removes it.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    /// For messages.
    path: PathBuf,
    writer: Writer,
    /// The permission bits that the file was made with.
    allowed: u32,
    mode: u32,
    mtime: i64,
}

impl ImageFile {
    /// Writes into `file`, which has just been made and is empty. Its path is for messages.
    ///
    /// The image gets no permission that the file does not have, and never one to execute it.
    ///
    /// # Errors
    /// The file's mode cannot be read, or there are too many open files.
    pub fn new(file: File, path: &Path) -> Result<Self, Error> {
        let made = file.metadata().map_err(Error::io("read", path))?;
        let mut writer = Writer::new();
        writer.begin(file.try_clone().map_err(Error::io("open", path))?, path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            writer,
            allowed: made.permissions().mode() & 0o666,
            mode: 0,
            mtime: 0,
        })
    }
}

impl ImageSink for ImageFile {
    type Error = Error;
    type Finished = File;

    fn begin(&mut self, image: &Description) -> Result<(), Error> {
        (self.mode, self.mtime) = (image.mode, image.mtime);
        self.file
            .set_len(image.size)
            .map_err(Error::io("make room for", &self.path))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        Ok(write_sparse(offset, data, |offset, run| {
            self.writer.write(offset, run)
        })?)
    }

    /// Gives the file its mode and time and syncs it.
    fn finish(self) -> Result<File, Error> {
        let Self {
            file,
            path,
            mut writer,
            ..
        } = self;
        writer.end()?;
        writer.finish()?;
        // The mode comes from the bundle, which may be hostile: no execute bits, and no more than the umask allows.
        file.set_permissions(Permissions::from_mode(self.mode & self.allowed))
            .map_err(Error::io("set the mode of", &path))?;
        if let Some(mtime) = time(self.mtime) {
            file.set_times(FileTimes::new().set_modified(mtime))
                .map_err(Error::io("set the time of", &path))?;
        }
        file.sync_all().map_err(Error::io("sync", &path))?;
        Ok(file)
    }
}

/// Calls `write` with each run of data and its place. Zeros are left out, in runs of the smallest unit of most file systems: a file that
/// has a hole there keeps it.
///
/// # Errors
/// Those of `write`.
pub fn write_sparse<E>(
    mut offset: u64,
    data: &[u8],
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = data;
    while !rest.is_empty() {
        let zeros = leading_zeros(rest, offset);
        rest = &rest[zeros..];
        offset += zeros as u64;
        let length = leading_data(rest, offset);
        write(offset, &rest[..length])?;
        rest = &rest[length..];
        offset += length as u64;
    }
    Ok(())
}

/// `None` if no file can have such a time.
fn time(seconds_since_1970: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds_since_1970.unsigned_abs());
    if seconds_since_1970 < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
}

/// How many bytes at the beginning of `bytes`, which are at `offset`, are units of zeros.
fn leading_zeros(bytes: &[u8], offset: u64) -> usize {
    units(bytes, offset)
        .take_while(|unit| is_hole(unit))
        .map(<[u8]>::len)
        .sum()
}

/// How many bytes come before the next unit of zeros.
fn leading_data(bytes: &[u8], offset: u64) -> usize {
    units(bytes, offset)
        .take_while(|unit| !is_hole(unit))
        .map(<[u8]>::len)
        .sum()
}

fn is_hole(unit: &[u8]) -> bool {
    const ZEROS: &[u8] = &[0; HOLE];
    ZEROS.starts_with(unit)
}

/// Cuts bytes that are at `offset` where the file system's units begin.
fn units(bytes: &[u8], offset: u64) -> impl Iterator<Item = &[u8]> {
    let into_unit = (offset % HOLE as u64) as usize;
    let first = (HOLE - into_unit) % HOLE;
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    std::iter::once(head)
        .filter(|head| !head.is_empty())
        .chain(rest.chunks(HOLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn file(folder: &Path) -> (ImageFile, PathBuf) {
        let path = folder.join("image");
        let sink = ImageFile::new(File::create(&path).unwrap(), &path).unwrap();
        (sink, path)
    }

    #[test]
    fn zeros_become_holes_and_mode_and_time_are_set() {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, path) = file(folder.path());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let usual = fs::metadata(&path).unwrap();
        let description = |mtime| Description {
            name: "image".into(),
            size: 100_000,
            mode: 0o4755,
            mtime,
        };
        sink.begin(&description(-86_400)).unwrap();
        sink.write(10, b"abc").unwrap();
        let mut block = vec![0; 3 * HOLE];
        block[HOLE + 5] = b'x';
        sink.write(8 * HOLE as u64 - 7, &block).unwrap();
        let _ = sink.finish().unwrap();

        let mut expected = vec![0; 100_000];
        expected[10..13].copy_from_slice(b"abc");
        expected[9 * HOLE - 2] = b'x';
        assert!(fs::read(&path).unwrap() == expected);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mtime(), -86_400);
        assert_eq!(metadata.mode() & 0o777, 0o644);
        assert_eq!(usual.mode() & 0o777, 0o640);
        let written = metadata.blocks() * 512;
        assert!(written <= 2 * HOLE as u64, "zeros were written");
    }

    #[test]
    fn a_file_gets_no_permission_that_it_was_not_made_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let made = File::create(&path).unwrap();
        made.set_permissions(Permissions::from_mode(0o600)).unwrap();
        let mut sink = ImageFile::new(made, &path).unwrap();
        sink.begin(&Description {
            name: "image".into(),
            size: 0,
            mode: 0o777,
            mtime: i64::MAX,
        })
        .unwrap();
        // No file has that time: it keeps its own.
        let file = sink.finish().unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    }

    /// More than is written at a time, and in pieces of odd sizes.
    #[test]
    fn a_large_image_comes_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, path) = file(folder.path());
        let data: Vec<u8> = (0..1_000_003u32).map(|i| (i % 251) as u8 + 1).collect();
        let length = data.len() as u64;
        sink.begin(&Description {
            name: "image".into(),
            size: 60 * length,
            mode: 0o644,
            mtime: 0,
        })
        .unwrap();
        for index in 0..60 {
            sink.write(index * length, &data).unwrap();
        }
        let _ = sink.finish().unwrap();
        assert!(fs::read(path).unwrap() == data.repeat(60));
    }
}
