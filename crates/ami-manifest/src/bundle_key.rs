//! A bundle's AES key and IV, which the manifest holds encrypted for EC2 and for the user.

use openssl::rand::rand_bytes;
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::error::Error;
use crate::keys::{PrivateKey, failed_to};

/// Bytes of an AES-128 key, and of its IV.
const LENGTH: usize = 16;

/// A bundle's AES-128 key and IV. Wiped when dropped; can be neither printed nor copied.
pub struct BundleKey {
    key: Zeroizing<[u8; LENGTH]>,
    iv: Zeroizing<[u8; LENGTH]>,
}

impl BundleKey {
    /// A random key, for one bundle.
    ///
    /// # Errors
    /// [`Error::OpenSsl`] if the system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut new = Self::from_bytes([0; LENGTH], [0; LENGTH]);
        rand_bytes(new.key.as_mut_slice())
            .and_then(|()| rand_bytes(new.iv.as_mut_slice()))
            .map_err(failed_to("make a random key"))?;
        Ok(new)
    }

    /// A known key and IV.
    pub fn from_bytes(key: [u8; LENGTH], iv: [u8; LENGTH]) -> Self {
        Self {
            key: Zeroizing::new(key),
            iv: Zeroizing::new(iv),
        }
    }

    /// The key.
    pub fn key(&self) -> &[u8; LENGTH] {
        &self.key
    }

    /// The initialisation vector.
    pub fn iv(&self) -> &[u8; LENGTH] {
        &self.iv
    }

    /// Encrypts both for the owner of `certificate`.
    ///
    /// # Errors
    /// [`Error::OpenSsl`].
    pub fn wrap(&self, certificate: &Certificate) -> Result<WrappedKey, Error> {
        let wrap = |bytes: &[u8; LENGTH]| {
            // The format encrypts the bytes' hex digits, not the bytes (format.md).
            let mut text = Zeroizing::new([0; 2 * LENGTH]);
            let _ = hex::encode_to_slice(bytes, text.as_mut_slice());
            certificate.encrypt(text.as_slice())
        };
        Ok(WrappedKey {
            key: wrap(&self.key)?,
            iv: wrap(&self.iv)?,
        })
    }
}

/// A bundle's key and IV encrypted for one reader: each an RSA cryptogram (PKCS#1 v1.5) of its 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The key's cryptogram.
    pub key: Vec<u8>,
    /// The IV's cryptogram.
    pub iv: Vec<u8>,
}

impl WrappedKey {
    /// Decrypts both.
    ///
    /// # Errors
    /// [`Error::WrongKey`] if they were encrypted for another key.
    pub fn unwrap_with(&self, key: &PrivateKey) -> Result<BundleKey, Error> {
        let mut unwrapped = BundleKey::from_bytes([0; LENGTH], [0; LENGTH]);
        for (cryptogram, bytes) in [
            (&self.key, &mut unwrapped.key),
            (&self.iv, &mut unwrapped.iv),
        ] {
            let text = key.decrypt(cryptogram).ok_or(Error::WrongKey)?;
            hex::decode_to_slice(&*text, bytes.as_mut_slice()).map_err(|_| Error::WrongKey)?;
        }
        Ok(unwrapped)
    }
}
