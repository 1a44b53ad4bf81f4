//! The parts of a bundle in a private folder, which get their names together.

use std::fs::File;
use std::path::PathBuf;

use ami_files::Writer;

use crate::dir::Dir;
use crate::error::Error;
use crate::folder::Folder;
use crate::publish::NewFile;
use crate::sink::{PartDigest, PartSink, WrittenPart};
use crate::staging::Staging;
use crate::wait::Waiting;

/// The manifest's name in the private folder.
const MANIFEST: &str = "manifest";

fn staged_name(index: usize) -> String {
    format!("part.{index}")
}

/// Writes a bundle to a private folder. Publishing gives the parts, the manifest and other files of that folder their names in the
/// destination, all or none, and replaces an older bundle of that name.
///
/// Parts are written and synced by a separate thread, if one can be started, so that the disk and the processors work at the same time.
#[derive(Debug)]
pub struct StagedBundle<'a> {
    folder: Dir,
    bundle: String,
    also: Vec<NewFile>,
    writer: Option<Writer>,
    /// How much of the current part has been written, in bytes.
    written: u64,
    staging: Staging,
    waiting: Waiting<'a>,
}

/// A published bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBundle {
    /// The manifest's path.
    pub manifest: PathBuf,
    /// Folders with older files of interrupted runs that could not be restored.
    pub saved: Vec<PathBuf>,
}

impl<'a> StagedBundle<'a> {
    /// A bundle of that name in the private folder `staging`, for its destination.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn new(staging: Staging, bundle: &str, waiting: Waiting<'a>) -> Result<Self, Error> {
        Ok(Self {
            folder: staging.folder()?,
            bundle: bundle.to_owned(),
            also: Vec::new(),
            writer: None,
            written: 0,
            staging,
            waiting,
        })
    }

    /// Publishes this file of the private folder together with the bundle, before its parts.
    #[must_use]
    pub fn with(mut self, file: NewFile) -> Self {
        self.also.push(file);
        self
    }
}

impl PartSink for StagedBundle<'_> {
    type Error = Error;
    type Published = PublishedBundle;

    fn can_rename(&self) -> bool {
        true
    }

    fn begin(&mut self, index: usize, _: &str) -> Result<(), Error> {
        let name = staged_name(index);
        let path = self.folder.path().join(&name);
        let file = self.folder.create(&name, 0o666);
        let file = file.map_err(Error::io("create", &path))?;
        self.written = 0;
        Ok(self
            .writer
            .get_or_insert_with(Writer::new)
            .begin(file, &path)?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(writer) = &mut self.writer {
            writer.write(self.written, bytes)?;
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    fn end(&mut self, _: PartDigest) -> Result<(), Error> {
        Ok(self.writer.as_mut().map_or(Ok(()), Writer::end)?)
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(self.writer.take().map_or(Ok(()), Writer::finish)?)
    }

    /// # Errors
    /// Those of [`Staging::publish`].
    fn publish(
        self,
        parts: &[WrittenPart],
        (name, manifest): (&str, &[u8]),
    ) -> Result<PublishedBundle, Error> {
        let Self {
            also,
            bundle,
            staging,
            waiting,
            ..
        } = self;
        for file in &also {
            let path = staging.own_path(&file.staged);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            file.sync_all().map_err(Error::io("sync", &path))?;
        }
        staging.write(MANIFEST, manifest, 0o666)?;
        let named = |(index, part): (usize, &WrittenPart)| {
            NewFile::replacing(staged_name(index), &part.name)
        };
        let files: Vec<NewFile> = also
            .into_iter()
            .chain(parts.iter().enumerate().map(named))
            .chain([NewFile::replacing(MANIFEST, name)])
            .collect();
        let saved = staging.publish(&files, Some(&bundle), waiting)?;
        Ok(PublishedBundle {
            manifest: staging.destination().join(name),
            saved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartWriter;
    use crate::conformance::{PartSinks, check_sink};
    use crate::cut::PART_SIZE;
    use std::collections::BTreeMap;
    use std::fs;

    struct InFolder(tempfile::TempDir);

    impl PartSinks for InFolder {
        type Sink = StagedBundle<'static>;

        fn sink(&mut self, bundle: &str) -> StagedBundle<'static> {
            let staging = Staging::new(self.0.path()).unwrap();
            StagedBundle::new(staging, bundle, Waiting::silent()).unwrap()
        }

        fn sink_that_fails(&mut self, bundle: &str, part: usize) -> StagedBundle<'static> {
            let sink = self.sink(bundle);
            fs::write(sink.staging.path().join(staged_name(part)), "in the way").unwrap();
            sink
        }

        fn files(&mut self) -> BTreeMap<String, Vec<u8>> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let file = |entry: fs::DirEntry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap_or_default())
            };
            entries.map(|entry| file(entry.unwrap())).collect()
        }
    }

    #[test]
    fn it_is_a_part_sink() {
        check_sink(&mut InFolder(tempfile::tempdir().unwrap()));
    }

    #[test]
    fn other_files_come_with_the_bundle_or_not_at_all() {
        let mut folder = InFolder(tempfile::tempdir().unwrap());
        let image = NewFile::fresh("image", "a.img");
        let bundle = |folder: &mut InFolder| {
            let sink = folder.sink("a.img").with(image.clone());
            sink.staging.write("image", b"an image", 0o666).unwrap();
            let writer = PartWriter::new(sink, "a.img", PART_SIZE, 1);
            let (sink, parts) = writer.finish().unwrap();
            sink.publish(&parts, ("a.img.manifest.xml", b"<manifest/>"))
        };
        let published = bundle(&mut folder).unwrap();
        assert_eq!(
            published,
            PublishedBundle {
                manifest: folder.0.path().join("a.img.manifest.xml"),
                saved: vec![],
            }
        );
        let files = folder.files();
        assert_eq!(files["a.img"], b"an image");
        assert_eq!(files.len(), 2);

        // The image's name must be free.
        assert!(matches!(bundle(&mut folder), Err(Error::Exists { .. })));
        assert_eq!(folder.files(), files);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_that_names_the_part() {
        let mut folder = InFolder(tempfile::tempdir().unwrap());
        let mut sink = folder.sink("a.img");
        folder.0.close().unwrap();
        let error = sink.begin(0, "a.img.part.0").unwrap_err();
        assert!(error.to_string().ends_with("part.0"), "{error}");
    }
}
