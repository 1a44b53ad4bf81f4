//! The user's private key.

use std::io::{self, Read};
use std::path::Path;

use ami_files::LimitReader;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::Signer;
use openssl::x509::X509;
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::error::{Error, KeyProblem};

/// The largest key or certificate file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// An RSA private key. OpenSSL wipes it when it is dropped.
pub struct PrivateKey(PKey<Private>);

impl PrivateKey {
    /// Reads a key in PEM or DER, PKCS#1 or PKCS#8. The file may contain other things too.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::PrivateKey`] if it is not an RSA private key, or is locked with a passphrase, which is not asked for.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = read(path, |problem| Error::PrivateKey {
            path: path.to_owned(),
            problem,
        })?;
        Self::parse(&bytes).map_err(|problem| Error::PrivateKey {
            path: path.to_owned(),
            problem,
        })
    }

    /// Reads the key in `path`, which must belong to `certificate`, whose file is `certificate_path`.
    ///
    /// # Errors
    /// As of [`load`](Self::load); [`Error::NotOfCertificate`].
    pub fn load_of(
        certificate: &Certificate,
        certificate_path: &Path,
        path: &Path,
    ) -> Result<Self, Error> {
        let key = Self::load(path)?;
        if certificate.belongs_to(&key) {
            return Ok(key);
        }
        Err(Error::NotOfCertificate {
            certificate: certificate_path.to_owned(),
            subject: certificate.subject().map(str::to_owned),
            key: path.to_owned(),
        })
    }

    /// Reads a key from a file's contents.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyProblem> {
        if bytes.is_empty() {
            return Err(KeyProblem::Empty);
        }
        let mut locked = false;
        let key = PKey::private_key_from_pem_callback(bytes, |_| {
            locked = true;
            Ok(0)
        })
        .or_else(|_| PKey::private_key_from_der(bytes));
        match key {
            Ok(key) if key.rsa().is_ok() => Ok(Self(key)),
            Ok(_) => Err(KeyProblem::NotRsa),
            Err(_) if locked => Err(KeyProblem::Locked),
            Err(_) if X509::from_pem(bytes).is_ok() || X509::from_der(bytes).is_ok() => {
                Err(KeyProblem::IsCertificate)
            }
            Err(_) if PKey::public_key_from_pem(bytes).is_ok() => Err(KeyProblem::IsPublicKey),
            Err(_) => Err(KeyProblem::NotAPrivateKey),
        }
    }

    /// OpenSSL's key.
    pub(crate) fn as_rsa(&self) -> Option<Rsa<Private>> {
        self.0.rsa().ok()
    }

    /// Signs with SHA-1 and PKCS#1 v1.5, as manifests are signed.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        Signer::new(MessageDigest::sha1(), &self.0)
            .and_then(|mut signer| signer.sign_oneshot_to_vec(bytes))
            .map_err(failed_to("sign the manifest"))
    }

    /// Decrypts a PKCS#1 v1.5 cryptogram; `None` if it was not made for this key. Newer versions of OpenSSL return random bytes in that case,
    /// so the caller must check the result (draft-irtf-cfrg-rsa-guidance, implicit rejection).
    pub(crate) fn decrypt(&self, cryptogram: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let rsa = self.as_rsa()?;
        let mut plain = Zeroizing::new(vec![0; rsa.size() as usize]);
        let length = rsa
            .private_decrypt(cryptogram, &mut plain, Padding::PKCS1)
            .ok()?;
        plain.truncate(length);
        Some(plain)
    }
}

pub(crate) fn failed_to(
    operation: &'static str,
) -> impl FnOnce(openssl::error::ErrorStack) -> Error {
    move |source| Error::OpenSsl { operation, source }
}

/// Reads a file with a key or certificate.
pub(crate) fn read(
    path: &Path,
    problem: impl FnOnce(KeyProblem) -> Error,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let cannot = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = ami_files::open_regular(path).map_err(cannot)?;
    // Allocated in full, because a growing buffer would leave copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST_FILE as usize + 1));
    match LimitReader::new(file, LARGEST_FILE).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(problem(KeyProblem::TooLarge))
        }
        Err(error) => Err(cannot(error)),
    }
}
