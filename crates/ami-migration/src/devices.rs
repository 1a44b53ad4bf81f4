//! The kernel and RAM disk that a migrated image starts with.

use std::collections::BTreeMap;
use std::sync::Arc;

use ami_aws::Identity;
use ami_cli::{Context, Failure, exit};
use ami_ec2::{Ec2, Error, RegionEndpoint};
use ami_manifest::MachineConfiguration;
use tracing::debug;

use crate::options::MigrationOptions;

/// A variable with one more region, `REGION@URL`, as in the older suite.
pub const REGION_ENDPOINT: &str = "AMITOOLS_EC2_REGION_ENDPOINT";

/// What an image starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// The kernel's ID.
    pub kernel: Option<String>,
    /// The RAM disk's ID.
    pub ramdisk: Option<String>,
}

/// Where it is to go.
pub struct Target<'a> {
    options: &'a MigrationOptions,
    region: &'a str,
    old: &'a MachineConfiguration,
    /// Where there is something to look up.
    ec2: Option<Arc<Ec2>>,
    asks: bool,
}

impl<'a> Target<'a> {
    /// Finds the credentials to ask EC2 with, if the image names a kernel or RAM disk and they are to be mapped.
    ///
    /// With `asks` the person is asked before something is removed or unknown; else they are only told.
    ///
    /// # Errors
    /// There are no credentials.
    pub async fn new(
        options: &'a MigrationOptions,
        region: &'a str,
        old: &'a MachineConfiguration,
        identity: impl FnOnce() -> Result<Identity, Failure>,
        asks: bool,
    ) -> Result<Self, Failure> {
        let is_bound = old.kernel_id.is_some() || old.ramdisk_id.is_some();
        let ec2 = if is_bound && !options.no_mapping {
            let ec2 = Ec2::open(&identity()?, additional_region()?).await;
            Some(Arc::new(ec2.map_err(failure)?))
        } else {
            None
        };
        Ok(Self {
            options,
            region,
            old,
            ec2,
            asks,
        })
    }

    /// The devices: those that were given, and those of that region which correspond to the image's own.
    ///
    /// # Errors
    /// EC2 cannot be asked; the region or a device is not there (exit codes 7 and 6); the person does not want to go on.
    pub async fn devices(&self, context: &Context) -> Result<Devices, Failure> {
        let given = Devices {
            kernel: self.options.kernel.clone(),
            ramdisk: self.options.ramdisk.clone(),
        };
        match &self.ec2 {
            Some(ec2) => self.mapped(ec2, given, context).await,
            None => {
                self.tell_of_removal(&given, context)?;
                Ok(given)
            }
        }
    }

    fn tell_of_removal(&self, new: &Devices, context: &Context) -> Result<(), Failure> {
        let old = self.old;
        let removed = [
            (&old.kernel_id, &new.kernel),
            (&old.ramdisk_id, &new.ramdisk),
        ];
        let removed: Vec<&str> = removed
            .into_iter()
            .filter(|(_, new)| new.is_none())
            .filter_map(|(old, _)| old.as_deref())
            .collect();
        if removed.is_empty() {
            return Ok(());
        }
        context.warn(&format!(
            "The new manifest names {} no more: the AMI may not start unless a kernel and a RAM disk are given at its launch.",
            removed.join(" and ")
        ));
        self.ask(context)
    }

    async fn mapped(
        &self,
        ec2: &Arc<Ec2>,
        given: Devices,
        context: &Context,
    ) -> Result<Devices, Failure> {
        let regions = ec2.regions_with(self.region).await.map_err(failure)?;

        let named: Vec<String> = [&given.kernel, &given.ramdisk]
            .into_iter()
            .flatten()
            .filter(|id| !id.is_empty())
            .cloned()
            .collect();
        if !named.is_empty() {
            let unknown = ec2.unknown(&named, self.region).await.map_err(failure)?;
            if !unknown.is_empty() {
                context.warn(&format!(
                    "The following identifiers do not exist in the target region:\n  [{}]",
                    unknown.join(", ")
                ));
                self.ask(context)?;
            }
        }
        let missing = |old: &Option<String>, new: &Option<String>| match new {
            Some(_) => None,
            None => old.clone(),
        };
        let kernel = missing(&self.old.kernel_id, &given.kernel);
        let ramdisk = missing(&self.old.ramdisk_id, &given.ramdisk);
        let ids: Vec<String> = [&kernel, &ramdisk].into_iter().flatten().cloned().collect();
        debug!(?ids, region = self.region, "looking for counterparts");
        let mut found = match ids.is_empty() {
            true => BTreeMap::new(),
            false => ec2
                .counterparts(&ids, &regions, self.region)
                .await
                .map_err(failure)?,
        };
        let mut counterpart = |id: Option<String>| id.and_then(|id| found.remove(&id));
        Ok(Devices {
            kernel: given.kernel.or_else(|| counterpart(kernel)),
            ramdisk: given.ramdisk.or_else(|| counterpart(ramdisk)),
        })
    }

    fn ask(&self, context: &Context) -> Result<(), Failure> {
        if self.asks {
            context.confirm_to_go_on()
        } else {
            Ok(())
        }
    }
}

fn additional_region() -> Result<Option<RegionEndpoint>, Failure> {
    let Some(text) = std::env::var(REGION_ENDPOINT)
        .ok()
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    let parsed = text.parse().map_err(|reason| {
        Failure::usage(format!(
            "{REGION_ENDPOINT} has invalid value '{text}': {reason}"
        ))
    })?;
    Ok(Some(parsed))
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Aws(ami_aws::Error::NoCredentials) => Failure::usage(
            "If using automatic mapping, --access-key must be provided (and there are no credentials in the environment, in a profile or of a role).",
        ),
        Error::UnknownRegion { .. } => Failure::new(exit::UNKNOWN_REGION, error),
        Error::NotFound { .. } | Error::NoCounterpart { .. } => {
            Failure::new(exit::NO_COUNTERPART, error)
        }
        error => Failure::new(exit::OTHER, error),
    }
}
