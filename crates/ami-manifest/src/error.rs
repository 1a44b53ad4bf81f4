//! What can go wrong with manifests and keys.

use std::io;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The manifest in this file is not usable.
    #[error("cannot use the manifest {path}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },
    /// The manifest is larger than any real one.
    #[error("it is larger than {limit} bytes, which no manifest is")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The manifest has more elements than any real one.
    #[error("it has more than {limit} elements and attributes, which no manifest has")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// The text is not well-formed XML.
    #[error("it is not well-formed XML: {0}")]
    Xml(String),
    /// The text has a document type declaration, which manifests do not have and which can be used for attacks.
    #[error("it has a document type declaration (DOCTYPE), which is refused")]
    DocType,
    /// The manifest is encrypted.
    #[error("it is encrypted")]
    IsEncrypted,
    /// The root element is not `manifest`.
    #[error("it is not a manifest: its root element is {0:?}")]
    NoManifest(String),
    /// An element is missing.
    #[error("the element {element} is missing")]
    Missing {
        /// Its path, as `image/digest`.
        element: String,
    },
    /// An element appears twice where one is expected.
    #[error("the element {element} appears twice")]
    Twice {
        /// Its path.
        element: String,
    },
    /// An element's text, or an attribute, is invalid.
    #[error("{element} is {found:?}: it should be {expected}")]
    Invalid {
        /// Its path.
        element: String,
        /// What it says, shortened.
        found: String,
        /// What is valid.
        expected: &'static str,
    },
    /// The manifest's version cannot be read.
    #[error(
        "its version is {found:?}, which is {reason}: versions 3, 20070829 and 2007-10-10 are read"
    )]
    Version {
        /// What it says, shortened.
        found: String,
        /// Why it is not read.
        reason: &'static str,
    },
    /// A text has a character that XML cannot contain.
    #[error("{element} would hold the control character {character:?}, which a manifest cannot")]
    ControlCharacter {
        /// The element's path.
        element: &'static str,
        /// The character.
        character: char,
    },
    /// The private key in this file is not usable.
    #[error("error reading private key from file {path}: {problem}", path = path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The certificate in this file is not usable.
    #[error("error reading certificate file {path}: {problem}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The private key is not that of the certificate.
    #[error(
        "the certificate {certificate}{} is not that of the private key {key}: EC2 would refuse the bundle",
        .subject.as_ref().map(|subject| format!(" ({subject:?})")).unwrap_or_default(),
        certificate = .certificate.display(), key = .key.display()
    )]
    NotOfCertificate {
        /// The certificate's file.
        certificate: PathBuf,
        /// Its subject, if it has one.
        subject: Option<String>,
        /// The key's file.
        key: PathBuf,
    },
    /// This private key cannot decrypt the bundle's key.
    #[error("the bundle was not made for this private key")]
    WrongKey,
    /// The signature is not the certificate owner's for this text.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// An encrypted manifest is damaged, or of an unknown kind.
    #[error("the encrypted manifest cannot be decrypted: {0}")]
    Encrypted(&'static str),
    /// OpenSSL failed, which can be caused here only by a lack of memory or randomness.
    #[error("OpenSSL failed to {operation}")]
    OpenSsl {
        /// What was tried.
        operation: &'static str,
        /// What OpenSSL said.
        #[source]
        source: ErrorStack,
    },
}

/// What is wrong with a file that should hold a key or certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// The file is empty.
    #[error("it is empty")]
    Empty,
    /// It is larger than any real key file.
    #[error("it is too large to be one")]
    TooLarge,
    /// It is something else.
    #[error("it holds no private key in PEM or DER form")]
    NotAPrivateKey,
    /// It is something else.
    #[error("it holds no X.509 certificate in PEM or DER form")]
    NotACertificate,
    /// It is a certificate, where a private key should be.
    #[error("it holds a certificate, not a private key")]
    IsCertificate,
    /// It is a public key, where a private key should be.
    #[error("it holds a public key, a private key is needed")]
    IsPublicKey,
    /// It is a private key, where a certificate should be.
    #[error("it holds a private key, not a certificate")]
    IsPrivateKey,
    /// It is locked.
    #[error("it is locked with a passphrase")]
    Locked,
    /// It is not an RSA key.
    #[error("it is not an RSA key: bundles can only be made with RSA keys")]
    NotRsa,
}

/// Why a signature is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is none.
    #[error("the manifest has no signature")]
    Missing,
    /// It is not hexadecimal.
    #[error("the manifest's signature is damaged: it is not hexadecimal")]
    NotHex,
    /// It is wrong.
    #[error(
        "the manifest's signature is invalid: the manifest was changed after it was signed, or signed with another key{}",
        .subject.as_ref().map(|subject| format!(" than that of {subject:?}")).unwrap_or_default()
    )]
    DoesNotHold {
        /// The subject of the certificate that it was checked with, if it has one.
        subject: Option<String>,
    },
}

/// Shortens text from a file for an error, so that it stays one readable line.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns a function for `map_err` that says which manifest it is about.
pub(crate) fn in_file(path: &Path) -> impl FnOnce(Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Manifest {
        path,
        source: Box::new(source),
    }
}
