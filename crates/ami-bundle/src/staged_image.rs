//! An image in a private folder, which gets its name when it is complete.

use std::path::PathBuf;

use ami_image::{Description, ImageFile, ImageSink};
use ami_parts::Staging;

use crate::error::Error;
use crate::naming::Naming;

/// The image's name in the private folder.
const STAGED: &str = "image";

/// Writes an image to a file in a private folder, and moves it to its name in the destination when it is finished.
#[derive(Debug)]
pub struct StagedImage {
    file: ImageFile,
    naming: Naming,
    /// Set by `begin`.
    name: String,
    staging: Staging,
}

impl StagedImage {
    /// An image in the private folder `staging`, for the folder's destination. The image's name comes from the bundle, so `naming` says
    /// what it may replace.
    ///
    /// # Errors
    /// [`Error::File`] if the private folder cannot be written.
    pub fn new(staging: Staging, naming: Naming) -> Result<Self, Error> {
        let file = staging.create(STAGED, 0o666)?;
        Ok(Self {
            file: ImageFile::new(file, &staging.path().join(STAGED))?,
            naming,
            name: String::new(),
            staging,
        })
    }
}

impl ImageSink for StagedImage {
    type Error = Error;
    /// Where the image is.
    type Finished = PathBuf;

    /// # Errors
    /// [`Error::Hidden`], [`Error::WouldReplace`] and [`Error::Exists`] for the name; [`Error::Image`].
    fn begin(&mut self, image: &Description) -> Result<(), Error> {
        let _ = self
            .naming
            .target(self.staging.destination(), &image.name)?;
        self.name.clone_from(&image.name);
        Ok(self.file.begin(image)?)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        Ok(self.file.write(offset, data)?)
    }

    /// As in the older suite, an empty folder of the image's name is replaced.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin); [`Error::InTheWay`] for a folder with files.
    fn finish(self) -> Result<PathBuf, Error> {
        let Self {
            file,
            naming,
            name,
            staging,
        } = self;
        let _ = file.finish()?;
        // Checked again: something may have been created under the name since `begin`.
        let target = naming.target(staging.destination(), &name)?;
        let named = if naming.may_replace(&name) {
            staging.replace(STAGED, &name)
        } else {
            staging.give_name(STAGED, &name)
        };
        match named {
            Ok(_) => Ok(target),
            Err(ami_parts::Error::InTheWay { path }) => Err(Error::InTheWay { path }),
            Err(ami_parts::Error::Exists { path }) => Err(Error::Exists { path }),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use ami_image::conformance::{Sinks, check_sink};

    use super::*;

    fn naming(bundle: &str) -> Naming {
        Naming {
            bundle: Some(bundle.to_owned()),
            sources: Vec::new(),
        }
    }

    fn staged(folder: &tempfile::TempDir, naming: Naming) -> StagedImage {
        StagedImage::new(Staging::new(folder.path()).unwrap(), naming).unwrap()
    }

    fn description(name: &str, size: u64) -> Description {
        Description {
            name: name.into(),
            size,
            mode: 0o4755,
            mtime: -86_400,
        }
    }

    /// The mode that a new file usually gets here.
    fn usual_mode() -> u32 {
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("new");
        fs::write(&path, "").unwrap();
        fs::metadata(path).unwrap().mode() & 0o777
    }

    struct InFolder(tempfile::TempDir);

    impl Sinks for InFolder {
        type Sink = StagedImage;

        fn sink(&mut self) -> StagedImage {
            staged(&self.0, Naming::default())
        }

        fn image(&mut self, name: &str) -> Option<Vec<u8>> {
            fs::read(self.0.path().join(name)).ok()
        }

        fn has_remains(&mut self) -> bool {
            let names = fs::read_dir(self.0.path()).unwrap();
            let mut names = names.map(|entry| entry.unwrap().file_name());
            names.any(|name| !name.to_str().unwrap().ends_with(".img"))
        }
    }

    #[test]
    fn it_is_an_image_sink() {
        check_sink(&mut InFolder(tempfile::tempdir().unwrap()));
    }

    #[test]
    fn an_image_takes_its_name_mode_and_time_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a.img")).unwrap();
        let mut sink = staged(&folder, naming("a.img"));
        sink.begin(&description("a.img", 100_000)).unwrap();
        sink.write(10, b"abc").unwrap();
        assert!(folder.path().join("a.img").is_dir());
        let path = sink.finish().unwrap();

        assert_eq!(path, folder.path().join("a.img"));
        let mut expected = vec![0; 100_000];
        expected[10..13].copy_from_slice(b"abc");
        assert!(fs::read(&path).unwrap() == expected);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o755 & usual_mode());
        assert_eq!(metadata.mtime(), -86_400);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_the_image_is_made_from_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("part");
        fs::write(&source, "precious").unwrap();
        let mut naming = naming("image");
        naming.sources.push(source.clone());
        let image = folder.path().join("image");
        fs::hard_link(&source, &image).unwrap();
        let early = staged(&folder, naming.clone()).begin(&description("image", 0));
        assert!(matches!(early, Err(Error::WouldReplace { .. })));

        fs::remove_file(&image).unwrap();
        let mut sink = staged(&folder, naming);
        sink.begin(&description("image", 0)).unwrap();
        fs::hard_link(&source, &image).unwrap();
        assert!(matches!(sink.finish(), Err(Error::WouldReplace { .. })));
        assert_eq!(fs::read(&image).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_with_files_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let mut sink = staged(&folder, naming("a"));
        sink.begin(&description("a", 0)).unwrap();
        assert!(matches!(sink.finish(), Err(Error::InTheWay { .. })));
        assert!(folder.path().join("a/b").is_dir());
    }
}
