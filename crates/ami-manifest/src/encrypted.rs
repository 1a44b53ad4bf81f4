//! Manifests that are encrypted to the user's key, as old versions of EC2's tools stored them in S3.
//!
//! | bytes | scheme 2 | scheme 1 |
//! |---|---|---|
//! | version | `02` | `01` |
//! | length L of the RSA block | 2, big-endian | 1 |
//! | RSA block: PKCS#1 v1.5 of 16 key bytes and 16 IV bytes | L | L |
//! | the manifest: AES-128-CBC, PKCS#7 padding | the rest | the rest |

use openssl::symm::{Cipher, decrypt as aes_decrypt};

use crate::bundle_key::BundleKey;
use crate::error::Error;
use crate::keys::PrivateKey;

/// Whether a manifest's bytes are encrypted: they begin with a scheme's version, which text never does.
pub fn is_encrypted(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(1 | 2))
}

/// Decrypts a manifest's bytes to its text.
///
/// # Errors
/// [`Error::WrongKey`]; [`Error::Encrypted`] says what is damaged.
pub fn decrypt(bytes: &[u8], key: &PrivateKey) -> Result<Vec<u8>, Error> {
    const TRUNCATED: Error = Error::Encrypted("it ends too early");
    let (length, rest) = match bytes {
        [2, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]).into(), rest),
        [1, length, rest @ ..] => ((*length).into(), rest),
        [1 | 2, ..] => return Err(TRUNCATED),
        _ => return Err(Error::Encrypted("its encryption scheme is unknown")),
    };
    let (block, text) = rest.split_at_checked(length).ok_or(TRUNCATED)?;
    let plain = key.decrypt(block).ok_or(Error::WrongKey)?;
    let (Ok(aes_key), Ok(iv)) = (
        plain.get(..16).unwrap_or_default().try_into(),
        plain.get(16..).unwrap_or_default().try_into(),
    ) else {
        return Err(Error::WrongKey);
    };
    let bundle_key = BundleKey::from_bytes(aes_key, iv);
    aes_decrypt(
        Cipher::aes_128_cbc(),
        bundle_key.key(),
        Some(bundle_key.iv()),
        text,
    )
    .map_err(|_| Error::Encrypted("it is damaged, or was made for another private key"))
}
