//! Reading an image: a plain file with its holes, or a block device.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ami_files::NotRegular;
use rustix::fs::SeekFrom as FsSeek;
use rustix::io::Errno;

use crate::error::Error;

/// What `st_blocks` counts in, in bytes (stat(2)).
const STAT_BLOCK: u64 = 512;

/// A run of data in an image, in bytes. What lies between two extents is a hole: zeros that take no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// An open image and its properties.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    size: u64,
    /// One for an image without holes, none for an empty one.
    extents: Vec<Extent>,
    has_holes: bool,
    mode: u32,
    mtime: i64,
    /// The state when it was opened; `None` for a block device, whose node does not tell when its contents change.
    opened_as: Option<Metadata>,
}

impl Image {
    /// Opens an image and reads its sparse map.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::NotAnImage`] when it is something else.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut file = ami_files::open_regular_or_block_device(path).map_err(|error| {
            if error.get_ref().is_some_and(|e| e.is::<NotRegular>()) {
                return Error::NotAnImage {
                    path: path.to_owned(),
                };
            }
            Error::io("read", path)(error)
        })?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if metadata.file_type().is_block_device() {
            let size = file
                .seek(SeekFrom::End(0))
                .map_err(Error::io("read the size of", path))?;
            // What somebody has read of the device may be older than what a file system on it has written since: the kernel keeps the
            // two apart.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            return Ok(Self {
                file,
                path: path.to_owned(),
                size,
                extents: whole(size),
                has_holes: false,
                mode: 0o644,
                mtime: now.map_or(0, |now| now.as_secs().cast_signed()),
                opened_as: None,
            });
        }
        let size = metadata.len();
        let found = if metadata.blocks() < size.div_ceil(STAT_BLOCK) {
            find_extents(&file, size).map_err(Error::io("read the holes of", path))?
        } else {
            None
        };
        let extents = found.unwrap_or_else(|| whole(size));
        // Only speed depends on it.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        Ok(Self {
            file,
            path: path.to_owned(),
            size,
            // File systems without holes report that everything is data.
            has_holes: extents != whole(size),
            extents,
            mode: metadata.mode() & 0o7777,
            mtime: metadata.mtime(),
            opened_as: Some(metadata),
        })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size in bytes, holes included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size of its data in bytes, without the holes.
    pub fn data_size(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }

    /// Where its data is, in order and apart from each other.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The same of an image with holes; `None` for one without.
    pub fn sparse_map(&self) -> Option<&[Extent]> {
        self.has_holes.then_some(&self.extents)
    }

    /// Permission bits.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Seconds since 1970.
    pub fn mtime(&self) -> i64 {
        self.mtime
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`Error::Changed`] when the image ends before.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => self.changed("it became smaller"),
                _ => Error::io("read", &self.path)(e),
            })
    }

    /// Compares the image with what it was when it was opened.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check_unchanged(&self) -> Result<(), Error> {
        let Some(before) = &self.opened_as else {
            return Ok(());
        };
        let now = self
            .file
            .metadata()
            .map_err(Error::io("read", &self.path))?;
        let written = |m: &Metadata| (m.mtime(), m.mtime_nsec());
        // A writer can set the modification time back, but not the change time.
        let changed = |m: &Metadata| (m.ctime(), m.ctime_nsec());
        if now.len() != before.len() {
            Err(self.changed("its size is another"))
        } else if written(&now) != written(before) {
            Err(self.changed("it was written to"))
        } else if changed(&now) != changed(before) {
            Err(self.changed("it or its attributes were changed"))
        } else {
            Ok(())
        }
    }

    fn changed(&self, what: &'static str) -> Error {
        Error::Changed {
            path: self.path.clone(),
            what,
        }
    }
}

/// All of an image as data.
fn whole(size: u64) -> Vec<Extent> {
    let all = Extent {
        offset: 0,
        length: size,
    };
    if size > 0 { vec![all] } else { Vec::new() }
}

/// Asks the file system where the data is; `None` where it does not know (all of it is data then).
fn find_extents(file: &File, size: u64) -> io::Result<Option<Vec<Extent>>> {
    let mut extents = Vec::new();
    let mut position = 0;
    while position < size {
        let offset = match rustix::fs::seek(file, FsSeek::Data(position)) {
            Ok(offset) => offset,
            Err(Errno::NXIO) => break, // a hole up to the end
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(file, FsSeek::Hole(offset))?.min(size);
        if end <= offset {
            break; // data that was added behind `size` since
        }
        extents.push(Extent {
            offset,
            length: end - offset,
        });
        position = end;
    }
    Ok(Some(extents))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse_file(folder: &Path, size: u64, data: &[(u64, usize)]) -> PathBuf {
        let path = folder.join("image");
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for &(offset, length) in data {
            file.write_all_at(&vec![1; length], offset).unwrap();
        }
        file.sync_all().unwrap();
        path
    }

    #[test]
    fn holes_and_data_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = sparse_file(folder.path(), 1 << 20, &[(65_536, 4096), (200_704, 8192)]);
        let image = Image::open(&path).unwrap();
        assert_eq!(image.size(), 1 << 20);
        assert_eq!(image.data_size(), 12_288);
        let expected =
            [(65_536, 4096), (200_704, 8192)].map(|(offset, length)| Extent { offset, length });
        assert_eq!(image.sparse_map(), Some(&expected[..]));

        let path = sparse_file(folder.path(), 1 << 20, &[]);
        assert_eq!(Image::open(&path).unwrap().sparse_map(), Some(&[][..]));
        let path = sparse_file(folder.path(), 5000, &[(0, 5000)]);
        let image = Image::open(&path).unwrap();
        assert_eq!(image.sparse_map(), None);
        let all = Extent {
            offset: 0,
            length: 5000,
        };
        assert_eq!(image.extents(), [all]);
        let path = sparse_file(folder.path(), 0, &[]);
        let image = Image::open(&path).unwrap();
        assert_eq!((image.sparse_map(), image.extents()), (None, &[][..]));
    }

    #[test]
    fn folders_fifos_and_character_devices_are_no_images() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        for path in [folder.path(), &fifo, Path::new("/dev/zero")] {
            assert!(matches!(Image::open(path), Err(Error::NotAnImage { .. })));
        }
        assert!(matches!(
            Image::open(Path::new("/nonexistent")),
            Err(Error::File(_))
        ));
    }

    #[test]
    fn a_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = sparse_file(folder.path(), 9000, &[(0, 9000)]);
        let image = Image::open(&path).unwrap();
        image.check_unchanged().unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(8000)
            .unwrap();
        let told = |result: Result<(), Error>| result.unwrap_err().to_string();
        assert!(told(image.check_unchanged()).contains("its size is another"));
        assert!(told(image.read(7000, &mut [0; 2000])).contains("it became smaller"));

        let image = Image::open(&path).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        assert!(told(image.check_unchanged()).contains("it was written to"));
    }

    #[test]
    fn finding_22_a_writer_that_sets_the_time_of_writing_back_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = sparse_file(folder.path(), 9000, &[(0, 9000)]);
        let image = Image::open(&path).unwrap();
        let before = path.metadata().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        // The kernel's clock for such times ticks some hundred times a second.
        while path.metadata().unwrap().ctime_nsec() == before.ctime_nsec() {
            file.write_all_at(b"another", 5000).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        assert_eq!(
            path.metadata().unwrap().modified().unwrap(),
            before.modified().unwrap()
        );
        let told = image.check_unchanged().unwrap_err().to_string();
        assert!(told.contains("it or its attributes were changed"), "{told}");
    }
}
