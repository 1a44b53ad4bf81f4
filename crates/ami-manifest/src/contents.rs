//! The contents of a manifest that unbundling needs, from any bundler.
//!
//! Other bundlers omit what only EC2 or a new manifest needs, because the older suite's `ec2-unbundle` never reads it.

use std::path::Path;

use crate::bundle_key::WrappedKey;
use crate::certificate::Certificate;
use crate::error::{Error, in_file, shortened};
use crate::model::{Part, Sha1Digest, Version};
use crate::read::{self, ParsedManifest, Signed};
use crate::tree::{self, Element};

/// A manifest's bundle: its parts, their key, and the image.
#[derive(Debug)]
pub struct BundleContents {
    /// The manifest's format.
    pub version: Version,
    /// The bundle's name, a single path component.
    pub name: Option<String>,
    /// SHA-1 of the tar stream.
    pub digest: Sha1Digest,
    /// The image's size in bytes, holes included.
    pub size: Option<u64>,
    /// The sum of the parts' sizes in bytes.
    pub bundled_size: Option<u64>,
    /// The bundle's key and IV for the user.
    pub user_key: WrappedKey,
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// What this manifest lacks compared with a complete one, in the order of a manifest.
    pub lacks: Vec<Error>,
    signed: Signed,
}

impl BundleContents {
    /// Reads the manifest in a file.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Manifest`] with what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse_named(&ParsedManifest::read_file(path)?, path)
    }

    /// Parses a manifest; errors say where it is.
    ///
    /// # Errors
    /// [`Error::Manifest`] with what is wrong with it.
    pub fn parse_named(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Self::parse(bytes).map_err(in_file(path))
    }

    /// Parses a manifest as [`ParsedManifest::parse`] does, but accepts one that lacks what unbundling does not need.
    ///
    /// # Errors
    /// Says what is wrong, and in which element.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = read::text(bytes)?;
        let root = tree::parse(&text)?;
        let version = read::version(&root)?;
        let image = root.one("image", "")?;
        let size = |name| {
            has(image, name)
                .then(|| read::size(image, name))
                .transpose()
        };
        Ok(Self {
            version,
            name: has(image, "name").then(|| read::name(image)).transpose()?,
            digest: read::digest(image, "image/")?,
            size: size("size")?,
            bundled_size: size("bundled_size")?,
            user_key: read::wrapped_key(image, "user_encrypted_key", "user_encrypted_iv")?,
            parts: read::parts(image.one("parts", "image/")?)?,
            lacks: lacks(version, &root, image),
            signed: Signed::find(version, &root, &text)?,
        })
    }

    /// Refuses a manifest without a name, for commands that need one.
    ///
    /// # Errors
    /// [`Error::Manifest`] for the manifest at `path`.
    pub fn with_name(self, path: &Path) -> Result<Self, Error> {
        match self.name {
            Some(_) => Ok(self),
            None => Err(in_file(path)(missing("image/name"))),
        }
    }

    /// Checks that the owner of `certificate` signed this text of the machine configuration and image.
    ///
    /// # Errors
    /// [`Error::Signature`].
    pub fn verify(&self, certificate: &Certificate) -> Result<(), Error> {
        self.signed.verify(certificate)
    }
}

fn missing(element: &str) -> Error {
    Error::Missing {
        element: element.to_owned(),
    }
}

/// Whether it has a child of this name with text.
fn has(parent: &Element<'_>, name: &str) -> bool {
    parent.all(name).any(|found| !found.text.trim().is_empty())
}

fn lacks(version: Version, root: &Element<'_>, image: &Element<'_>) -> Vec<Error> {
    let mut lacks = Vec::new();
    if root.name != "manifest" {
        lacks.push(Error::NoManifest(shortened(root.name)));
    }
    let mut look = |parent: Option<&Element<'_>>, path: &str, names: &[&str]| {
        let Some(parent) = parent else {
            lacks.push(missing(path));
            return;
        };
        let names = names.iter().filter(|name| !has(parent, name));
        lacks.extend(names.map(|name| missing(&format!("{path}/{name}"))));
    };
    let child = |name| root.all(name).next();
    look(child("bundler"), "bundler", &["name", "version", "release"]);
    if version > Version::V3 {
        let name = "machine_configuration";
        look(child(name), name, &["architecture"]);
    }
    let kind: &[&str] = match version {
        Version::V20071010 => &["type"],
        Version::V3 | Version::V20070829 => &[],
    };
    for names in [
        &["name", "user"],
        kind,
        &[
            "size",
            "bundled_size",
            "ec2_encrypted_key",
            "ec2_encrypted_iv",
        ],
    ] {
        look(Some(image), "image", names);
    }
    lacks
}
