//! Unpacks bundles with only OpenSSL, gunzip and GNU tar, and makes bundles of any stream.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ami_manifest::{
    BundleKey, Bundler, Certificate, Image, MachineConfiguration, Manifest, ParsedManifest, Part,
    PrivateKey, Sha1Digest, Version,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use openssl::symm::{Cipher, encrypt};
use sha1::{Digest, Sha1};

use crate::{key, shell};

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> String {
    let start = xml.find(&format!("<{name}")).unwrap();
    let start = start + xml[start..].find('>').unwrap() + 1;
    let end = start + xml[start..].find('<').unwrap();
    xml[start..end].to_owned()
}

/// A bundle's AES key and IV in hex, decrypted by OpenSSL's command.
pub fn secrets(manifest: &Path, private_key: &Path) -> [String; 2] {
    secrets_for("user", manifest, private_key)
}

/// The same, from those encrypted for `user` or `ec2`.
pub fn secrets_for(reader: &str, manifest: &Path, private_key: &Path) -> [String; 2] {
    let xml = fs::read_to_string(manifest).unwrap();
    ["key", "iv"].map(|name| {
        let script = format!(
            "echo {} | xxd -r -p | openssl pkeyutl -decrypt -inkey '{}'",
            element(&xml, &format!("{reader}_encrypted_{name}")),
            private_key.display()
        );
        shell(&script, Path::new("/"))
    })
}

/// Checks a manifest's signature with OpenSSL's command.
pub fn verify(manifest: &Path, certificate: &Path) {
    let xml = fs::read_to_string(manifest).unwrap();
    let element = |name: &str| {
        let begin = xml.find(&format!("<{name}>")).unwrap();
        let end = xml.find(&format!("</{name}>")).unwrap();
        &xml[begin..end + name.len() + 3]
    };
    let work = tempfile::tempdir().unwrap();
    let signed = [element("machine_configuration"), element("image")].concat();
    fs::write(work.path().join("signed"), signed).unwrap();
    let script = format!(
        "openssl x509 -in '{}' -noout -pubkey > key; echo {} | xxd -r -p > signature
         openssl dgst -sha1 -verify key -signature signature signed",
        certificate.display(),
        self::element(&xml, "signature")
    );
    assert_eq!(shell(&script, work.path()), "Verified OK");
}

/// Checks a bundle with OpenSSL and coreutils, and unpacks it with gunzip and GNU tar, into `destination`.
pub fn take_apart(manifest: &Path, destination: &Path) {
    let folder = manifest.parent().unwrap();
    let private_key = key("user2048.key");
    let [aes_key, iv] = secrets(manifest, &private_key);
    let xml = fs::read_to_string(manifest).unwrap();
    // The names and digests of the parts, in the manifest's order.
    let parts: Vec<(String, String)> = xml
        .split("<part index=")
        .skip(1)
        .map(|part| (element(part, "filename"), element(part, "digest")))
        .collect();
    let list: String = parts
        .iter()
        .map(|(name, _)| format!("./'{name}' "))
        .collect();
    for (name, digest) in &parts {
        let found = shell(&format!("sha1sum < ./'{name}'"), folder);
        assert_eq!(found, format!("{digest}  -"), "{name}");
    }
    let sizes: u64 = parts
        .iter()
        .map(|(name, _)| fs::metadata(folder.join(name)).unwrap().len())
        .sum();
    assert_eq!(element(&xml, "bundled_size"), sizes.to_string());
    let digest = shell(
        &format!(
            "cat {list} | openssl enc -d -aes-128-cbc -K {aes_key} -iv {iv} | gunzip > '{out}/.tar'
             tar -xf '{out}/.tar' -C '{out}'; sha1sum < '{out}/.tar'; rm '{out}/.tar'",
            out = destination.display()
        ),
        folder,
    );
    let image = &xml[xml.find("<image>").unwrap()..];
    assert_eq!(digest, format!("{}  -", element(image, "digest")));
}

/// Compresses with flate2's gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A bundle of any stream, as a hostile or unusual bundler could make it, with correct digests.
#[derive(Debug)]
pub struct Forged<'a> {
    /// What is encrypted: gzip data, for a valid bundle.
    pub compressed: &'a [u8],
    /// The digest in the manifest: that of the tar stream, for a valid bundle.
    pub digest: [u8; 20],
    /// The image's size in the manifest.
    pub size: u64,
    /// The size of the parts in bytes.
    pub part_size: usize,
    /// Whose bundle it is: the name of a key and certificate of `fixtures/golden/keys`.
    pub user: &'a str,
}

impl<'a> Forged<'a> {
    /// A bundle of the tar stream of an image of `size` bytes, which has been compressed by gzip.
    pub fn new(compressed: &'a [u8], tar: &[u8], size: u64) -> Self {
        Self {
            compressed,
            digest: Sha1::digest(tar).into(),
            size,
            part_size: 10 << 20,
            user: "user2048",
        }
    }

    /// Writes the parts and the manifest to a folder, and returns the manifest's path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let bundle_key = BundleKey::from_bytes([7; 16], [9; 16]);
        let cipher = Cipher::aes_128_cbc();
        let encrypted = encrypt(
            cipher,
            bundle_key.key(),
            Some(bundle_key.iv()),
            self.compressed,
        )
        .unwrap();
        let certificate = Certificate::load(&key(&format!("{}.crt", self.user))).unwrap();
        let wrapped = bundle_key.wrap(&certificate).unwrap();
        let mut parts = Vec::new();
        for (index, bytes) in encrypted.chunks(self.part_size).enumerate() {
            let filename = format!("forged.part.{index}");
            fs::write(folder.join(&filename), bytes).unwrap();
            parts.push(Part {
                filename,
                digest: Sha1Digest(Sha1::digest(bytes).into()),
            });
        }
        let manifest = Manifest {
            version: Version::V20071010,
            bundler: Bundler::default(),
            machine: MachineConfiguration {
                architecture: "x86_64".to_owned(),
                block_device_mapping: [].into(),
                kernel_id: None,
                ramdisk_id: None,
                product_codes: Vec::new(),
            },
            image: Image {
                name: "forged".to_owned(),
                user: "123456789012".to_owned(),
                image_type: "machine".to_owned(),
                kernel_name: None,
                ancestry: Vec::new(),
                digest: Sha1Digest(self.digest),
                size: self.size,
                bundled_size: encrypted.len() as u64,
                ec2_key: wrapped.clone(),
                user_key: wrapped,
                parts,
            },
        };
        let private_key = PrivateKey::load(&key(&format!("{}.key", self.user))).unwrap();
        let path = folder.join("forged.manifest.xml");
        fs::write(&path, manifest.to_signed_xml(&private_key).unwrap()).unwrap();
        path
    }
}

/// A bundle in `folder` with an image that has this name and mode in the tar stream; its manifest is `forged.manifest.xml`.
pub fn forge_image(folder: &Path, name: &str, mode: &str) -> PathBuf {
    let work = crate::folder();
    fs::write(work.path().join(name), "the image").unwrap();
    let script = format!("tar -cf t --owner 0 --group 0 --mode {mode} -- '{name}'");
    let _ = shell(&script, work.path());
    let tar = fs::read(work.path().join("t")).unwrap();
    Forged::new(&gzip(&tar), &tar, 9).write(folder)
}

/// A bundle of a user's in `folder`, of an image of which GNU tar leaves out the zeros; the parts have this size in bytes.
pub fn forge_in_parts(folder: &Path, user: &str, image: &Path, part_size: usize) -> PathBuf {
    let work = crate::folder();
    let script = format!(
        "cp --sparse=always '{}' image; tar -cf t -b 1 --owner 0 --group 0 --sparse --hole-detection=raw image",
        image.display()
    );
    let _ = shell(&script, work.path());
    let tar = fs::read(work.path().join("t")).unwrap();
    let size = fs::metadata(image).unwrap().len();
    let compressed = gzip(&tar);
    let bundle = Forged {
        part_size,
        user,
        ..Forged::new(&compressed, &tar, size)
    };
    bundle.write(folder)
}

/// The number of parts that a manifest names.
pub fn part_count(manifest: &Path) -> usize {
    let parsed = ParsedManifest::load(manifest).unwrap();
    parsed.manifest.image.parts.len()
}
