//! Reads manifests of three versions, with any white space, quotes, comments and order of elements.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use crate::bundle_key::WrappedKey;
use crate::certificate::Certificate;
use crate::encrypted;
use crate::error::{Error, SignatureError, in_file, shortened};
use crate::model::{Bundler, Image, MachineConfiguration, Manifest, Part, Sha1Digest, Version};
use crate::tree::{self, Element};

/// The largest manifest that is read, in bytes: enough for 100,000 parts, or 1 TB.
pub const LARGEST: u64 = 16 << 20;

/// A manifest, and what is needed to check its signature.
#[derive(Debug, Clone)]
pub struct ParsedManifest {
    /// Its contents.
    pub manifest: Manifest,
    signed: Signed,
}

/// The signed bytes of a manifest, and its signature.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    /// The bytes that are signed, as they are in the text.
    bytes: Vec<u8>,
    /// The signature's text.
    signature: Option<String>,
}

impl ParsedManifest {
    /// Reads the manifest in a file.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Manifest`] with what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::load_bytes(path).map(|(parsed, _)| parsed)
    }

    /// Reads the manifest in a file, and returns the file's bytes too.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn load_bytes(path: &Path) -> Result<(Self, Vec<u8>), Error> {
        let bytes = Self::read_file(path)?;
        let parsed = Self::parse_named(&bytes, path)?;
        Ok((parsed, bytes))
    }

    /// Parses a manifest; errors say where it is.
    ///
    /// # Errors
    /// [`Error::Manifest`] with what is wrong with it.
    pub fn parse_named(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Self::parse(bytes).map_err(in_file(path))
    }

    /// The bytes of a manifest's file; if it is too large, enough of them to show that.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let _ = ami_files::open_regular(path)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(|source| Error::Read {
                path: path.to_owned(),
                source,
            })?;
        Ok(bytes)
    }

    /// Reads a manifest: UTF-8, or UTF-16 with a byte order mark.
    ///
    /// # Errors
    /// Says what is wrong, and in which element.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = text(bytes)?;
        let root = tree::parse(&text)?;
        if root.name != "manifest" {
            return Err(Error::NoManifest(shortened(root.name)));
        }
        let version = version(&root)?;
        let machine = root.at_most_one("machine_configuration", "")?;
        Ok(Self {
            manifest: Manifest {
                version,
                bundler: bundler(&root)?,
                machine: machine_configuration(version, machine)?,
                image: read_image(version, root.one("image", "")?)?,
            },
            signed: Signed::find(version, &root, &text)?,
        })
    }

    /// Checks that the owner of `certificate` signed this text of the machine configuration and image.
    ///
    /// # Errors
    /// [`Error::Signature`].
    pub fn verify(&self, certificate: &Certificate) -> Result<(), Error> {
        self.signed.verify(certificate)
    }
}

impl Signed {
    pub(crate) fn find(version: Version, root: &Element<'_>, text: &str) -> Result<Self, Error> {
        let image = root.one("image", "")?;
        let machine = root.at_most_one("machine_configuration", "")?;
        let bytes = |element: &Element<'_>| &text.as_bytes()[element.span.clone()];
        let bytes = match machine {
            Some(machine) if version > Version::V3 => [bytes(machine), bytes(image)].concat(),
            _ => bytes(image).to_vec(),
        };
        let signature = root.at_most_one("signature", "")?;
        Ok(Self {
            bytes,
            signature: signature.map(|element| without_space(&element.text)),
        })
    }

    pub(crate) fn verify(&self, certificate: &Certificate) -> Result<(), Error> {
        let text = match self.signature.as_deref() {
            None | Some("") => return Err(SignatureError::Missing.into()),
            Some(text) => text,
        };
        let signature = hex::decode(text).map_err(|_| SignatureError::NotHex)?;
        if certificate.verifies(&signature, &self.bytes)? {
            Ok(())
        } else {
            let subject = certificate.subject().map(str::to_owned);
            Err(SignatureError::DoesNotHold { subject }.into())
        }
    }
}

/// The text of a manifest's file, which must not be too large or encrypted.
pub(crate) fn text(bytes: &[u8]) -> Result<String, Error> {
    if bytes.len() as u64 > LARGEST {
        return Err(Error::TooLarge { limit: LARGEST });
    }
    if encrypted::is_encrypted(bytes) {
        return Err(Error::IsEncrypted);
    }
    decode(bytes)
}

fn decode(bytes: &[u8]) -> Result<String, Error> {
    let utf16 = |from: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().copied().map(from).collect();
        rest.is_empty()
            .then(|| String::from_utf16(&units).ok())
            .flatten()
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => utf16(u16::from_be_bytes, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    };
    let text = text.ok_or_else(|| Error::Xml("it is neither UTF-8 nor UTF-16".to_owned()))?;
    match text.trim_start() {
        // Usually there is nothing to trim, so it need not be copied.
        trimmed if trimmed.len() == text.len() => Ok(text),
        trimmed => Ok(trimmed.to_owned()),
    }
}

pub(crate) fn version(root: &Element<'_>) -> Result<Version, Error> {
    let text = root.text_of("version", "")?;
    let refused = |reason| {
        Err(Error::Version {
            found: shortened(&text),
            reason,
        })
    };
    match text.as_str() {
        "3" => return Ok(Version::V3),
        "20070829" | "2007-08-29" => return Ok(Version::V20070829),
        "2007-10-10" => return Ok(Version::V20071010),
        _ => {}
    }
    // By the number at the beginning, as in the older suite.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text[..digits].parse::<u64>() {
        Ok(number) if number > 20_071_010 => refused("too new"),
        Ok(number) if number < 3 => refused("too old"),
        Ok(_) => refused("not known"),
        Err(_) if digits > 0 => refused("too new"),
        Err(_) => refused("not a version"),
    }
}

fn bundler(root: &Element<'_>) -> Result<Bundler, Error> {
    let bundler = root.one("bundler", "")?;
    let text = |name| bundler.text_of(name, "bundler/");
    Ok(Bundler {
        name: text("name")?,
        version: text("version")?,
        release: text("release")?,
    })
}

fn machine_configuration(
    version: Version,
    element: Option<&Element<'_>>,
) -> Result<MachineConfiguration, Error> {
    const PATH: &str = "machine_configuration/";
    let none = MachineConfiguration {
        // The only one in version 3.
        architecture: "i386".to_owned(),
        block_device_mapping: BTreeMap::new(),
        kernel_id: None,
        ramdisk_id: None,
        product_codes: Vec::new(),
    };
    if version == Version::V3 {
        return Ok(none);
    }
    let element = element.ok_or_else(|| Error::Missing {
        element: "machine_configuration".to_owned(),
    })?;
    let architecture = element.text_of("architecture", PATH)?;
    if version == Version::V20070829 {
        return Ok(MachineConfiguration {
            architecture,
            ..none
        });
    }
    let mut block_device_mapping = BTreeMap::new();
    if let Some(mappings) = element.at_most_one("block_device_mapping", PATH)? {
        for mapping in mappings.all("mapping") {
            let path = "machine_configuration/block_device_mapping/mapping/";
            let (virtual_name, device) = (
                mapping.text_of("virtual", path)?,
                mapping.text_of("device", path)?,
            );
            let _ = block_device_mapping.insert(virtual_name, device);
        }
    }
    let optional = |name| -> Result<Option<String>, Error> {
        let found = element.at_most_one(name, PATH)?;
        Ok(found.map(|element| element.text.trim().to_owned()))
    };
    Ok(MachineConfiguration {
        architecture,
        block_device_mapping,
        kernel_id: optional("kernel_id")?,
        ramdisk_id: optional("ramdisk_id")?,
        product_codes: element.list("product_codes", "product_code", PATH)?,
    })
}

fn read_image(version: Version, image: &Element<'_>) -> Result<Image, Error> {
    const PATH: &str = "image/";
    let name = name(image)?;
    let image_type = match version {
        Version::V20071010 => image.text_of("type", PATH)?,
        _ => "machine".to_owned(),
    };
    let kernel_name = image.at_most_one("kernel_name", PATH)?;
    Ok(Image {
        name,
        user: image.text_of("user", PATH)?,
        image_type,
        kernel_name: kernel_name.map(|element| element.text.trim().to_owned()),
        ancestry: image.list("ancestry", "ancestor_ami_id", PATH)?,
        digest: digest(image, PATH)?,
        size: size(image, "size")?,
        bundled_size: size(image, "bundled_size")?,
        ec2_key: wrapped_key(image, "ec2_encrypted_key", "ec2_encrypted_iv")?,
        user_key: wrapped_key(image, "user_encrypted_key", "user_encrypted_iv")?,
        parts: parts(image.one("parts", PATH)?)?,
    })
}

/// The bundle's name.
pub(crate) fn name(image: &Element<'_>) -> Result<String, Error> {
    let name = image.text_of("name", "image/")?;
    plain_file_name("image/name", &name)?;
    Ok(name)
}

pub(crate) fn wrapped_key(image: &Element<'_>, key: &str, iv: &str) -> Result<WrappedKey, Error> {
    let cryptogram = |name: &str| {
        let element = image.one(name, "image/")?;
        element.expect_algorithm("AES-128-CBC", "image/")?;
        cryptogram(element, "image/")
    };
    Ok(WrappedKey {
        key: cryptogram(key)?,
        iv: cryptogram(iv)?,
    })
}

/// The parts in the order of their indices. An index that is missing or not a number is 0, as in the older suite.
pub(crate) fn parts(element: &Element<'_>) -> Result<Vec<Part>, Error> {
    const PATH: &str = "image/parts/part/";
    let invalid = |index: &str, expected| Error::Invalid {
        element: "image/parts/part/@index".to_owned(),
        found: shortened(index),
        expected,
    };
    let count = element.all("part").count();
    let mut parts: Vec<Option<Part>> = vec![None; count];
    for part in element.all("part") {
        let text = part.attribute("index").unwrap_or_default().trim();
        let is_number = text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty();
        let index = match text.parse::<usize>() {
            Ok(index) => index,
            Err(_) if is_number || text.starts_with('-') => usize::MAX,
            Err(_) => 0,
        };
        let slot = parts
            .get_mut(index)
            .ok_or_else(|| invalid(text, "less than the number of parts"))?;
        let filename = part.text_of("filename", PATH)?;
        plain_file_name("image/parts/part/filename", &filename)?;
        let digest = digest(part, PATH)?;
        if slot.replace(Part { filename, digest }).is_some() {
            return Err(invalid(text, "another for each part"));
        }
    }
    if parts.is_empty() {
        return Err(Error::Missing {
            element: "image/parts/part".to_owned(),
        });
    }
    // There are as many indices as parts, all different and below their number, so none is missing.
    Ok(parts.into_iter().flatten().collect())
}

pub(crate) fn digest(parent: &Element<'_>, path: &str) -> Result<Sha1Digest, Error> {
    let element = parent.one("digest", path)?;
    element.expect_algorithm("SHA1", path)?;
    let text = without_space(&element.text);
    Sha1Digest::from_str(&text).map_err(|_| element.invalid(path, "40 hex digits, a SHA-1"))
}

fn cryptogram(element: &Element<'_>, path: &str) -> Result<Vec<u8>, Error> {
    match hex::decode(without_space(&element.text)) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(element.invalid(path, "hex digits, two for each byte")),
    }
}

pub(crate) fn size(image: &Element<'_>, name: &str) -> Result<u64, Error> {
    let element = image.one(name, "image/")?;
    let text = element.text.trim();
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(size) if is_number => Ok(size),
        _ => Err(element.invalid("image/", "a number of bytes")),
    }
}

/// Refuses a name that would lead out of the folder in which the reader uses it.
fn plain_file_name(element: &str, name: &str) -> Result<(), Error> {
    if name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(Error::Invalid {
            element: element.to_owned(),
            found: shortened(name),
            expected: "a file name without a folder, so that it cannot leave the bundle's",
        });
    }
    Ok(())
}

fn without_space(text: &str) -> String {
    text.split_whitespace().collect()
}
