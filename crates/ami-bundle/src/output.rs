//! Where an image goes that comes out of a bundle.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use ami_parts::Staging;

use crate::error::{Error, StreamError};
use crate::naming::Naming;
use crate::tar::read::{Member, Receiver};
use crate::unbundle::Expected;
use crate::write_behind::WriteBehind;

/// The image's name in the private folder.
const STAGED: &str = "image";

/// Zeros in runs of this many bytes are not written but left as holes: the smallest unit of most file systems.
const HOLE: usize = 4096;

/// Refuses a member with more data than the manifest says, then passes the image on to a file, or to nowhere.
#[derive(Debug)]
pub(crate) struct ImageOutput {
    expected: Expected,
    file: Option<StagedFile>,
}

#[derive(Debug)]
struct StagedFile {
    file: File,
    path: PathBuf,
    write_behind: WriteBehind,
    destination: PathBuf,
    naming: Naming,
    /// The permission bits that the umask leaves.
    allowed: u32,
}

impl ImageOutput {
    /// Takes the image and only looks at it.
    pub(crate) fn nowhere(expected: &Expected) -> Self {
        Self {
            expected: *expected,
            file: None,
        }
    }

    /// Writes the image to a file of the private folder.
    pub(crate) fn file(
        expected: &Expected,
        staging: &Staging,
        naming: Naming,
    ) -> Result<Self, Error> {
        let path = staging.path().join(STAGED);
        let file = staging.create(STAGED, 0o666)?;
        let made = file.metadata().map_err(Error::io("read", &path))?;
        let write_behind = WriteBehind::start(&file).map_err(Error::io("open", &path))?;
        Ok(Self {
            expected: *expected,
            file: Some(StagedFile {
                file,
                path,
                write_behind,
                destination: staging.destination().to_owned(),
                naming,
                allowed: made.permissions().mode() & 0o666,
            }),
        })
    }

    /// Gives the image its mode, time and name in the destination. As in the older suite, an empty folder makes way.
    pub(crate) fn publish(self, member: &Member, staging: &Staging) -> Result<PathBuf, Error> {
        let mut target = staging.destination().join(&member.name);
        if let Some(StagedFile {
            file,
            path,
            write_behind,
            destination,
            naming,
            allowed,
        }) = self.file
        {
            write_behind.finish().map_err(Error::io("sync", &path))?;
            // It is an image, and may be somebody else's: nobody runs it, and who may read it the umask says too.
            file.set_permissions(Permissions::from_mode(member.mode & allowed))
                .map_err(Error::io("set the mode of", &path))?;
            let since_1970 = Duration::from_secs(member.mtime.unsigned_abs());
            let mtime = if member.mtime < 0 {
                UNIX_EPOCH.checked_sub(since_1970)
            } else {
                UNIX_EPOCH.checked_add(since_1970)
            };
            if let Some(mtime) = mtime {
                file.set_times(FileTimes::new().set_modified(mtime))
                    .map_err(Error::io("set the time of", &path))?;
            }
            file.sync_all().map_err(Error::io("sync", &path))?;
            // Once more: something may have got the name meanwhile.
            target = naming.target(&destination, &member.name)?;
            let named = if naming.may_replace(&member.name) {
                staging.replace(STAGED, &member.name)
            } else {
                staging.give_name(STAGED, &member.name)
            };
            let _ = named.map_err(|error| match error {
                ami_parts::Error::InTheWay { path } => Error::InTheWay { path },
                ami_parts::Error::Exists { path } => Error::Exists { path },
                error => error.into(),
            })?;
        }
        Ok(target)
    }
}

impl Receiver for ImageOutput {
    fn begin(&mut self, member: &Member) -> Result<(), Error> {
        // The image's size, or what some bundlers write there, that of the tar stream: no more data than that either way.
        if member.stored > self.expected.most() {
            let found = member.stored;
            return Err(match self.expected.size {
                Some(expected) => StreamError::Size { found, expected }.into(),
                None => StreamError::TarField("size").into(),
            });
        }
        if let Some(StagedFile {
            file,
            path,
            destination,
            naming,
            ..
        }) = &self.file
        {
            let _ = naming.target(destination, &member.name)?;
            file.set_len(member.size)
                .map_err(Error::io("make room for", path))?;
        }
        Ok(())
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(StagedFile {
            file,
            path,
            write_behind,
            ..
        }) = &mut self.file
        else {
            return Ok(());
        };
        let mut offset = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let zeros = leading_zeros(rest, offset);
            rest = &rest[zeros..];
            offset += zeros as u64;
            let data = leading_data(rest, offset);
            file.write_all_at(&rest[..data], offset)
                .map_err(Error::io("write", path))?;
            rest = &rest[data..];
            offset += data as u64;
            write_behind.wrote(data as u64, offset);
        }
        Ok(())
    }
}

/// How many bytes at the beginning of `bytes`, which stand at `offset`, are units of zeros.
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

/// Cuts bytes that stand at `offset` where the file system's units begin.
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
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn naming(bundle: &str) -> Naming {
        Naming {
            bundle: Some(bundle.to_owned()),
            sources: Vec::new(),
        }
    }

    fn expected(size: u64) -> Expected {
        Expected {
            digest: [0; 20],
            size: Some(size),
            bundled_size: 0,
        }
    }

    fn member(name: &str, size: u64) -> Member {
        Member {
            name: name.into(),
            size,
            stored: size,
            mode: 0o4755,
            mtime: -86_400,
        }
    }

    /// What a new file of a usual program gets here.
    fn usual_mode() -> u32 {
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("new");
        fs::write(&path, "").unwrap();
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn an_image_takes_its_name_mode_and_time_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a.img")).unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let mut output = ImageOutput::file(&expected(100_000), &staging, naming("a.img")).unwrap();
        output.begin(&member("a.img", 100_000)).unwrap();
        output.data(10, b"abc").unwrap();
        let mut block = vec![0; 3 * HOLE];
        block[HOLE + 5] = b'x';
        output.data(8 * HOLE as u64 - 7, &block).unwrap();
        assert!(folder.path().join("a.img").is_dir());
        let path = output.publish(&member("a.img", 100_000), &staging).unwrap();
        drop(staging);

        let mut expected = vec![0; 100_000];
        expected[10..13].copy_from_slice(b"abc");
        expected[9 * HOLE - 2] = b'x';
        assert!(fs::read(&path).unwrap() == expected);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o755 & usual_mode());
        assert_eq!(metadata.mtime(), -86_400);
        assert!(
            metadata.blocks() * 512 <= 2 * HOLE as u64,
            "zeros were written"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn finding_25g_without_a_size_the_parts_limit_what_is_written() {
        let without = Expected {
            size: None,
            bundled_size: 1000,
            ..expected(0)
        };
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let mut output = ImageOutput::file(&without, &staging, naming("a")).unwrap();
        output.begin(&member("a", 1_032_000)).unwrap();
        let error = output.begin(&member("a", 1_032_001)).unwrap_err();
        assert!(matches!(
            error,
            Error::Stream(StreamError::TarField("size"))
        ));
    }

    #[test]
    fn more_data_than_the_manifest_says_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let mut output = ImageOutput::file(&expected(5), &staging, Naming::default()).unwrap();
        let error = output.begin(&member("a", u64::MAX)).unwrap_err();
        assert!(matches!(
            error,
            Error::Stream(StreamError::Size {
                found: u64::MAX,
                expected: 5
            })
        ));
    }

    /// Enough data for several stretches of write-behind.
    #[test]
    fn a_large_image_comes_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let data: Vec<u8> = (0..1_000_003u32).map(|i| (i % 251) as u8 + 1).collect();
        let size = 60 * data.len() as u64;
        let mut output = ImageOutput::file(&expected(size), &staging, Naming::default()).unwrap();
        output.begin(&member("a", size)).unwrap();
        for index in 0..60 {
            output.data(index * data.len() as u64, &data).unwrap();
        }
        let path = output.publish(&member("a", size), &staging).unwrap();
        assert!(fs::read(path).unwrap() == data.repeat(60));
    }

    #[test]
    fn a_file_that_the_image_is_made_from_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("part");
        fs::write(&source, "precious").unwrap();
        fs::hard_link(&source, folder.path().join("image")).unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let mut naming = naming("image");
        naming.sources.push(source);
        let mut output = ImageOutput::file(&expected(0), &staging, naming).unwrap();
        let early = output.begin(&member("image", 0)).unwrap_err();
        assert!(matches!(early, Error::WouldReplace { .. }));
        let late = output.publish(&member("image", 0), &staging).unwrap_err();
        assert!(matches!(late, Error::WouldReplace { .. }));
        assert_eq!(fs::read(folder.path().join("image")).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_with_files_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let staging = Staging::new(folder.path()).unwrap();
        let output = ImageOutput::file(&expected(0), &staging, naming("a")).unwrap();
        let error = output.publish(&member("a", 0), &staging).unwrap_err();
        assert!(matches!(error, Error::InTheWay { .. }));
        assert!(folder.path().join("a/b").is_dir());
    }
}
