//! Which name an unbundled image may have.
//!
//! The name of the tar member was chosen by whoever made the bundle. It must not be that of a start-up file, and the image must not
//! replace a file that the user did not mean.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// What an unbundled image may replace, and what it must not.
#[derive(Debug, Clone, Default)]
pub struct Naming {
    /// The bundle's name, taken from its manifest's file name. The image may replace a file of that name.
    pub bundle: Option<String>,
    /// The files that the image is made from: the parts, the manifest, the key.
    pub sources: Vec<PathBuf>,
}

impl Naming {
    /// For the bundle with this manifest: its name is `NAME` if the file is called `NAME.manifest.xml`. There are no sources yet.
    pub fn of_manifest(manifest: &Path) -> Self {
        let file = manifest.file_name().and_then(|name| name.to_str());
        let bundle = file.and_then(|file| file.strip_suffix(".manifest.xml"));
        Self {
            bundle: bundle.map(str::to_owned),
            sources: Vec::new(),
        }
    }

    /// The path of the image that the tar stream calls `name`, which is a single component.
    ///
    /// # Errors
    /// [`Error::Hidden`], [`Error::WouldReplace`], [`Error::Exists`].
    pub(crate) fn target(&self, destination: &Path, name: &str) -> Result<PathBuf, Error> {
        if ami_parts::is_hidden(name) {
            return Err(Error::Hidden {
                name: name.to_owned(),
            });
        }
        let path = destination.join(name);
        if ami_files::first_same_file(&self.sources, [path.as_path()].into_iter()).is_some() {
            return Err(Error::WouldReplace { path });
        }
        if !self.may_replace(name) && path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path });
        }
        Ok(path)
    }

    /// Whether the image may replace a file of that name.
    pub(crate) fn may_replace(&self, name: &str) -> bool {
        self.bundle.as_deref() == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn finding_02_only_the_file_that_the_manifest_is_called_after_makes_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a.img", "other", "pk.pem"] {
            fs::write(path(name), "precious").unwrap();
        }
        symlink("pk.pem", path("link")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        let sources = vec![path("pk.pem")];
        let target = |manifest: &str, name: &str| {
            let naming = Naming {
                sources: sources.clone(),
                ..Naming::of_manifest(manifest.as_ref())
            };
            naming.target(folder.path(), name)
        };
        assert_eq!(
            target("/m/a.img.manifest.xml", "a.img").unwrap(),
            path("a.img")
        );
        for manifest in ["/m/a.img.manifest.xml", "a.img", ".manifest.xml", "m"] {
            assert_eq!(target(manifest, "new").unwrap(), path("new"), "{manifest}");
            for name in ["other", "dangling"] {
                let error = target(manifest, name).unwrap_err();
                assert!(
                    matches!(error, Error::Exists { .. }),
                    "{manifest} {name}: {error}"
                );
            }
        }
        for name in ["pk.pem", "link"] {
            let manifest = format!("{name}.manifest.xml");
            let error = target(&manifest, name).unwrap_err();
            assert!(matches!(error, Error::WouldReplace { .. }), "{error}");
        }
        let error = target(".bashrc.manifest.xml", ".bashrc").unwrap_err();
        assert!(matches!(error, Error::Hidden { .. }), "{error}");
    }
}
