//! The manifest of an EC2 bundle: its contents, reading, writing and signing, and the keys for it.
//!
//! Not here: the image and its parts (`ami-bundle`, `ami-parts`).
//!
//! - [`ParsedManifest`]: reads every version and dialect, refuses damaged and hostile ones, checks the signature.
//! - [`Manifest`]: its contents; [`Manifest::to_signed_xml`] writes it.
//! - [`PrivateKey`], [`Certificate`]: RSA keys from files. [`CertificateInfo`]: a certificate's description. [`BundleKey`]: the AES key
//!   and IV, and their encryption.
//! - [`NewIdentity`]: a new key and its certificate.
//! - [`is_encrypted`], [`decrypt`]: manifests that are themselves encrypted.
//!
//! ```no_run
//! # fn main() -> Result<(), ami_manifest::Error> {
//! let parsed = ami_manifest::ParsedManifest::load("image.manifest.xml".as_ref())?;
//! parsed.verify(&ami_manifest::Certificate::load("cert.pem".as_ref())?)?;
//! println!("{} bytes in {} parts", parsed.manifest.image.size, parsed.manifest.image.parts.len());
//! # Ok(()) }
//! ```

mod bundle_key;
mod certificate;
mod contents;
mod encrypted;
mod error;
mod generate;
mod keys;
mod model;
mod read;
mod tree;
mod write;

pub use bundle_key::{BundleKey, WrappedKey};
pub use certificate::{Certificate, CertificateInfo, Validity};
pub use contents::BundleContents;
pub use encrypted::{decrypt, is_encrypted};
pub use error::{Error, KeyProblem, SignatureError};
pub use generate::NewIdentity;
pub use keys::PrivateKey;
pub use model::{Bundler, Image, MachineConfiguration, Manifest, Part, Sha1Digest, Version};
pub use read::{LARGEST as LARGEST_MANIFEST, ParsedManifest};
