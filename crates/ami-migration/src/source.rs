//! The manifest that is to be migrated.

use ami_cli::{Failure, exit, one_line};
use ami_manifest::{Certificate, Manifest, ParsedManifest};

/// Reads a manifest of any version, which the owner of `certificate` must have signed as it stands. `name` is what errors call it.
///
/// # Errors
/// It cannot be read, or its signature does not hold.
pub fn signed_manifest(
    bytes: &[u8],
    name: &str,
    certificate: &Certificate,
) -> Result<Manifest, Failure> {
    let bad = |error: ami_manifest::Error| {
        let text = format!("Bad manifest '{name}': {}", one_line(&error));
        Failure::new(exit::OTHER, text)
    };
    let parsed = ParsedManifest::parse(bytes).map_err(bad)?;
    parsed.verify(certificate).map_err(bad)?;
    Ok(parsed.manifest)
}
