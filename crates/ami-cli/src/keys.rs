//! A user's certificate and private key, which belong together.

use std::path::{Path, PathBuf};

use ami_manifest::{Certificate, PrivateKey};

use crate::failure::{Failure, OrExit, exit};

#[derive(Debug, thiserror::Error)]
#[error(
    "the certificate {certificate} is not that of the private key {key}: EC2 would refuse the bundle",
    certificate = .certificate.display(), key = .key.display()
)]
struct NotOfKey {
    certificate: PathBuf,
    key: PathBuf,
}

/// Reads the private key in `key_path`, which must be that of the certificate.
///
/// # Errors
/// Exit code 254.
pub fn private_key_of(
    certificate: &Certificate,
    certificate_path: &Path,
    key_path: &Path,
) -> Result<PrivateKey, Failure> {
    let key = PrivateKey::load(key_path).or_exit(exit::OTHER)?;
    if certificate.belongs_to(&key) {
        return Ok(key);
    }
    let error = NotOfKey {
        certificate: certificate_path.to_owned(),
        key: key_path.to_owned(),
    };
    Err(Failure::new(exit::OTHER, error))
}
