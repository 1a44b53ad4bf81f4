//! Migrating a manifest on disk to another region.

use std::path::PathBuf;

use ami_aws::Identity;
use ami_manifest::ParsedManifest;
use serde::Serialize;

use crate::error::Error;
use crate::kernels::KernelMapping;
use crate::migration::{Migration, Signer, signed_manifest};
use crate::observer::{Event, Observer, Stopped};
use crate::replacement::Replacement;

/// Settings of a manifest's migration.
pub struct MigrateManifest<'a> {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// The target region. May be `None` only if no kernel or RAM disk is mapped.
    pub region: Option<String>,
    /// Keys, kernel and RAM disk.
    pub migration: Migration<'a>,
    /// Returns the credentials for EC2. Called only if they are needed.
    pub identity: &'a dyn Fn() -> Result<Identity, Stopped>,
}

/// What was migrated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigratedManifest {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// The file with the old manifest.
    pub backup: PathBuf,
    /// The target region, if one was given.
    pub region: Option<String>,
    /// The kernel that the new manifest names.
    pub kernel_id: Option<String>,
    /// The RAM disk that the new manifest names.
    pub ramdisk_id: Option<String>,
}

/// Replaces a manifest by one for another region, and keeps the old one beside it. If this fails, nothing has changed.
///
/// # Errors
/// [`Error::Manifest`], [`Error::BadManifest`], [`Error::BackupExists`], [`Error::Ec2Certificate`], [`Error::Ec2`],
/// [`Error::Declined`], [`Error::Write`], [`Error::Files`].
pub async fn migrate_manifest(
    request: &MigrateManifest<'_>,
    observer: &impl Observer,
) -> Result<MigratedManifest, Error> {
    let (path, migration) = (&request.manifest, &request.migration);
    let region = request.region.as_deref();
    let certificate = migration.certificate()?;
    let bytes = ParsedManifest::read_file(path)?;
    let manifest = signed_manifest(&bytes, &path.display().to_string(), &certificate)?;
    let replacement = Replacement::prepare(path, bytes)?;
    let mapping = KernelMapping::new(
        migration,
        region.unwrap_or_default(),
        &manifest.machine,
        || Ok((request.identity)()?),
        true,
    );
    let mapping = mapping.await?;

    observer.tell(Event::BackingUp)?;
    replacement.check_writable()?;
    let signer = Signer::new(migration, &certificate, region)?;
    let boot = mapping.boot_images(observer).await?;
    let migrated = signer.sign(manifest, boot.clone())?;
    replacement.replace(&migrated, observer)?;
    Ok(MigratedManifest {
        manifest: path.clone(),
        backup: replacement.backup().to_owned(),
        region: request.region.clone(),
        kernel_id: boot.kernel,
        ramdisk_id: boot.ramdisk,
    })
}
