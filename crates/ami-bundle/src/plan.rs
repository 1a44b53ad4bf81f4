//! What is to be bundled, checked before the first byte is compressed.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use ami_files::FileError;
use ami_image::Image;
use ami_manifest::{
    BundleKey, Bundler, Certificate, MachineConfiguration, Manifest, PrivateKey, Sha1Digest,
    Version,
};

use crate::bundle::largest_bundle;
use crate::events::Event;
use crate::settings::Level;

/// The largest image that EC2 accepts, in bytes (EC2 user guide, "Create an instance store-backed AMI").
pub const LARGEST_IMAGE: u64 = 10 << 30;

/// What is to be bundled, and how.
#[derive(Debug)]
pub struct BundleRequest {
    /// The image. Its file name is the bundle's name unless `name` is given.
    pub image: PathBuf,
    /// The bundle's name.
    pub name: Option<String>,
    /// The user's certificate.
    pub certificate: PathBuf,
    /// The user's private key.
    pub key: PathBuf,
    /// EC2's certificate, or why there is none. The caller finds it, because where to look depends on the environment.
    pub ec2_certificate: Result<PathBuf, Box<dyn StdError + Send + Sync>>,
    /// The user's AWS account.
    pub user: String,
    /// What the manifest says about the machine that the image is for.
    pub machine: MachineConfiguration,
    /// The images that this one was made from, oldest first.
    pub ancestry: Vec<String>,
    /// The compression level.
    pub level: Level,
    /// Whether the image's size, and the space for the bundle, are checked.
    pub checks_sizes: bool,
}

/// Why something cannot be bundled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The image's name cannot be the bundle's.
    #[error("the name of the image {image} is not UTF-8, which a manifest cannot hold", image = .0.display())]
    NameNotUtf8(PathBuf),
    /// The name cannot be a bundle's.
    #[error("the name {name:?} cannot be a bundle's: {reason}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key or certificate cannot be used, or the manifest cannot be written.
    #[error(transparent)]
    Manifest(#[from] ami_manifest::Error),
    /// EC2's certificate was not found.
    #[error(transparent)]
    NoEc2Certificate(Box<dyn StdError + Send + Sync>),
    /// The image has no bytes.
    #[error("the specified image {image} is zero sized", image = .0.display())]
    Empty(PathBuf),
    /// The image is larger than [`LARGEST_IMAGE`].
    #[error("the specified image {image} is too large", image = .0.display())]
    TooLarge(PathBuf),
    /// The bundle may not fit.
    #[error(
        "there may be too little space in {folder}: {free} bytes are free, the bundle can take up to {needed}",
        folder = .folder.display()
    )]
    Space {
        /// The bundle's folder.
        folder: PathBuf,
        /// Bytes.
        free: u64,
        /// Bytes.
        needed: u64,
    },
    /// The free space in the bundle's folder cannot be determined.
    #[error(transparent)]
    UnknownSpace(FileError),
    /// The bundle's folder cannot be read, or something in it cannot be replaced.
    #[error(transparent)]
    Folder(#[from] ami_parts::Error),
    /// The bundle would replace one of the files that it is made from.
    #[error("{path} has the name of one of the bundle's own files, which would replace it", path = .0.display())]
    WouldReplace(PathBuf),
}

/// Every problem that was found, at least one, in the order in which they were found. Displays as the first.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    fn none(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self(problems))
    }

    /// The first problem, for commands that report only one.
    pub fn first(&self) -> Option<&Problem> {
        self.0.first()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().map_or(Ok(()), |first| first.fmt(f))
    }
}

impl StdError for Problems {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.first()?.source()
    }
}

/// A bundle that is ready to be made: its name and keys have been checked.
pub struct BundlePlan {
    pub(crate) name: String,
    pub(crate) key: PrivateKey,
    pub(crate) bundle_key: BundleKey,
    /// The manifest, still without the image's digest and size and without the parts.
    pub(crate) manifest: Manifest,
    pub(crate) level: Level,
    /// The files with the keys and certificates.
    inputs: Vec<PathBuf>,
    checks_sizes: bool,
}

impl fmt::Debug for BundlePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundlePlan")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl BundlePlan {
    /// Checks the name, the keys and certificates, and that the manifest can be written and signed.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn new(request: BundleRequest) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let name = note(name_of(&request), &mut problems);
        let certificate = note(Certificate::load(&request.certificate), &mut problems);
        let ec2_path = request.ec2_certificate.map_err(Problem::NoEc2Certificate);
        let ec2_path = note(ec2_path, &mut problems);
        let ec2_certificate = ec2_path
            .as_deref()
            .and_then(|path| note(Certificate::load(path), &mut problems));
        let (certificate_path, key_path) = (&request.certificate, &request.key);
        let key = match &certificate {
            Some(certificate) => PrivateKey::load_of(certificate, certificate_path, key_path),
            None => PrivateKey::load(key_path),
        };
        let key = note(key, &mut problems);
        let wrapped = match (&certificate, &ec2_certificate) {
            (Some(certificate), Some(ec2_certificate)) => {
                note(new_bundle_key(certificate, ec2_certificate), &mut problems)
            }
            _ => None,
        };
        let (Some(name), Some(ec2_path), Some(key), Some((bundle_key, ec2_key, user_key)), true) =
            (name, ec2_path, key, wrapped, problems.is_empty())
        else {
            return Err(Problems(problems));
        };
        let manifest = Manifest {
            version: Version::V20071010,
            bundler: Bundler::default(),
            machine: request.machine,
            image: ami_manifest::Image {
                name: name.clone(),
                user: request.user,
                image_type: "machine".to_owned(),
                kernel_name: None,
                ancestry: request.ancestry,
                digest: Sha1Digest([0; 20]),
                size: 0,
                bundled_size: 0,
                ec2_key,
                user_key,
                parts: Vec::new(),
            },
        };
        // Written once as a test: otherwise an ID with a control character would be noticed only at the end.
        if let Err(error) = manifest.to_signed_xml(&key) {
            return Err(Problem::from(error).into());
        }
        Ok(Self {
            name,
            key,
            bundle_key,
            manifest,
            level: request.level,
            inputs: vec![request.certificate, request.key, ec2_path],
            checks_sizes: request.checks_sizes,
        })
    }

    /// The bundle's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks the image and, if the bundle is written to a folder, that folder.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(
        &self,
        image: &Image,
        folder: Option<&Path>,
        events: &dyn Fn(Event<'_>),
    ) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let _ = note(
            check_size(image.path(), image.size(), self.checks_sizes),
            &mut problems,
        );
        if let Some(folder) = folder {
            let _ = note(self.spare_inputs(image.path(), folder), &mut problems);
            let _ = note(self.check_space(image, folder, events), &mut problems);
        }
        Problems::none(problems)
    }

    /// Refuses to replace an input that has the name of a part of an older bundle.
    fn spare_inputs(&self, image: &Path, folder: &Path) -> Result<(), Problem> {
        let replaced = ami_parts::replaced_files(folder, &self.name)?;
        let inputs = self.inputs.iter().map(PathBuf::as_path).chain([image]);
        match ami_files::first_same_file(&replaced, inputs) {
            None => Ok(()),
            Some(path) => Err(Problem::WouldReplace(path.to_owned())),
        }
    }

    fn check_space(
        &self,
        image: &Image,
        folder: &Path,
        events: &dyn Fn(Event<'_>),
    ) -> Result<(), Problem> {
        let needed = largest_bundle(image, &self.name);
        let free = ami_files::free_space(folder)
            .map_err(FileError::new("read the free space of", folder))
            .map_err(Problem::UnknownSpace)?;
        events(Event::Space { free, needed });
        if free < needed && self.checks_sizes {
            return Err(Problem::Space {
                folder: folder.to_owned(),
                free,
                needed,
            });
        }
        Ok(())
    }
}

/// Refuses images that are empty, or larger than EC2 accepts.
///
/// # Errors
/// [`Problem::Empty`]; [`Problem::TooLarge`] unless `checks_sizes` is false.
pub fn check_size(image: &Path, size: u64, checks_sizes: bool) -> Result<(), Problem> {
    if size == 0 {
        Err(Problem::Empty(image.to_owned()))
    } else if size > LARGEST_IMAGE && checks_sizes {
        Err(Problem::TooLarge(image.to_owned()))
    } else {
        Ok(())
    }
}

/// Returns the value, or adds the error to `problems` and returns `None`.
fn note<T, E: Into<Problem>>(result: Result<T, E>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|error| problems.push(error.into())).ok()
}

type WrappedTwice = (
    BundleKey,
    ami_manifest::WrappedKey,
    ami_manifest::WrappedKey,
);

/// A new key, and its encrypted forms for EC2 and for the user.
fn new_bundle_key(
    user: &Certificate,
    ec2: &Certificate,
) -> Result<WrappedTwice, ami_manifest::Error> {
    let key = BundleKey::generate()?;
    let (for_ec2, for_user) = (key.wrap(ec2)?, key.wrap(user)?);
    Ok((key, for_ec2, for_user))
}

fn name_of(request: &BundleRequest) -> Result<String, Problem> {
    let of_image = || request.image.file_name().and_then(|name| name.to_str());
    let name = request.name.as_deref().or_else(of_image);
    let name = name.ok_or_else(|| Problem::NameNotUtf8(request.image.clone()))?;
    check_name(name)?;
    Ok(name.to_owned())
}

/// The longest name of a bundle in bytes: with `.manifest.xml`, or `.part.` and digits, it must still be a valid file name.
const MAX_NAME: usize = 255 - ".manifest.xml".len();

/// Refuses names that cannot be a bundle's.
///
/// # Errors
/// [`Problem::Name`] says why.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.starts_with(char::is_whitespace) {
        // Readers of manifests strip leading blanks, so they would not find the parts.
        "it begins with a blank"
    } else if name.contains('/') {
        "it has a slash"
    } else if name == "." || name == ".." {
        "it is that of a folder"
    } else if ami_parts::is_hidden(name) {
        "it begins with a dot, and no hidden file is ever made of a bundle"
    } else if name.len() > MAX_NAME {
        "it is too long"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(Problem::Name {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_a_bundles_are_refused() {
        for name in ["a", "-x", "it's", "a b;c", "ü.img", &"n".repeat(MAX_NAME)] {
            check_name(name).unwrap();
        }
        for name in [
            "",
            "a/b",
            ".",
            "..",
            ".img",
            "a\nb",
            "a\0",
            &"n".repeat(MAX_NAME + 1),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn finding_25h_names_that_would_be_read_as_others_are_refused() {
        for name in [" ", "\u{a0}", "\u{2003}", " a", "\u{a0}a", "\t"] {
            let said = check_name(name).unwrap_err().to_string();
            assert!(said.contains("it begins with a blank"), "{said}");
        }
        check_name("a ").unwrap();
    }
}
