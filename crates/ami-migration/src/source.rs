//! The manifest that is to be migrated.

use ami_cli::{Failure, exit, one_line};
use ami_manifest::{Certificate, Manifest, ParsedManifest};

use crate::options::MigrationOptions;

/// A manifest that the owner of the certificate has signed.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it says.
    pub manifest: Manifest,
}

impl Source {
    /// Reads a manifest of any version and checks its signature. `name` is what errors call it.
    ///
    /// # Errors
    /// It cannot be read, or is not signed by `certificate`'s owner as it stands.
    pub fn read(bytes: &[u8], name: &str, certificate: &Certificate) -> Result<Self, Failure> {
        let bad = |error: ami_manifest::Error| {
            Failure::new(
                exit::OTHER,
                format!("Bad manifest '{name}': {}", one_line(&error)),
            )
        };
        let parsed = ParsedManifest::parse(bytes).map_err(bad)?;
        parsed.verify(certificate).map_err(bad)?;
        Ok(Self {
            manifest: parsed.manifest,
        })
    }

    /// The certificate that the options name.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn certificate(options: &MigrationOptions) -> Result<Certificate, Failure> {
        use ami_cli::OrExit;
        Certificate::load(options.certificate()).or_exit(exit::OTHER)
    }
}
