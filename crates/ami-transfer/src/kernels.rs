//! Mapping an image's kernel and RAM disk to those of another region.

use std::collections::BTreeMap;
use std::sync::Arc;

use ami_aws::Identity;
use ami_ec2::{Ec2, RegionEndpoint};
use ami_manifest::MachineConfiguration;
use tracing::debug;

use crate::error::Error;
use crate::migration::Migration;
use crate::observer::{Event, Observer, ask_to_continue};

/// The kernel and RAM disk that an image starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootImages {
    /// The kernel's ID.
    pub kernel: Option<String>,
    /// The RAM disk's ID.
    pub ramdisk: Option<String>,
}

/// Finds the kernel and RAM disk of another region that correspond to those of an image.
pub(crate) struct KernelMapping<'a> {
    given: &'a BootImages,
    region: &'a str,
    old: &'a MachineConfiguration,
    /// `None`: nothing is looked up.
    ec2: Option<Arc<Ec2>>,
    asks: bool,
}

impl<'a> KernelMapping<'a> {
    /// Finds the credentials for EC2, if the image names a kernel or RAM disk that is to be mapped.
    ///
    /// With `asks`, [`Question::Continue`](crate::Question::Continue) is asked after each warning.
    ///
    /// # Errors
    /// There are no credentials.
    pub(crate) async fn new(
        migration: &'a Migration<'_>,
        region: &'a str,
        old: &'a MachineConfiguration,
        identity: impl FnOnce() -> Result<Identity, Error>,
        asks: bool,
    ) -> Result<Self, Error> {
        let is_bound = old.kernel_id.is_some() || old.ramdisk_id.is_some();
        let ec2 = if is_bound && migration.maps_boot_images {
            let identity = identity()?;
            let ec2 = Ec2::open(&identity, additional_region(migration)?).await?;
            Some(Arc::new(ec2))
        } else {
            None
        };
        Ok(Self {
            given: &migration.boot_images,
            region,
            old,
            ec2,
            asks,
        })
    }

    /// The kernel and RAM disk that were given, or else the region's counterparts of the image's own.
    ///
    /// # Errors
    /// [`Error::Ec2`]; [`Error::Declined`].
    pub(crate) async fn boot_images(&self, observer: &impl Observer) -> Result<BootImages, Error> {
        match &self.ec2 {
            Some(ec2) => self.mapped(ec2, observer).await,
            None => {
                self.tell_of_removal(observer)?;
                Ok(self.given.clone())
            }
        }
    }

    fn tell_of_removal(&self, observer: &impl Observer) -> Result<(), Error> {
        let (old, new) = (self.old, self.given);
        let ids: Vec<String> = [
            (&old.kernel_id, &new.kernel),
            (&old.ramdisk_id, &new.ramdisk),
        ]
        .into_iter()
        .filter(|(_, new)| new.is_none())
        .filter_map(|(old, _)| old.clone())
        .collect();
        if ids.is_empty() {
            return Ok(());
        }
        observer.tell(Event::BootImagesRemoved { ids })?;
        self.ask(observer)
    }

    async fn mapped(&self, ec2: &Arc<Ec2>, observer: &impl Observer) -> Result<BootImages, Error> {
        let given = self.given.clone();
        let regions = ec2.regions_with(self.region).await?;

        let named: Vec<String> = [&given.kernel, &given.ramdisk]
            .into_iter()
            .flatten()
            .filter(|id| !id.is_empty())
            .cloned()
            .collect();
        if !named.is_empty() {
            let ids = ec2.unknown(&named, self.region).await?;
            if !ids.is_empty() {
                observer.tell(Event::UnknownBootImages { ids })?;
                self.ask(observer)?;
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
            false => ec2.counterparts(&ids, &regions, self.region).await?,
        };
        let mut counterpart = |id: Option<String>| id.and_then(|id| found.remove(&id));
        Ok(BootImages {
            kernel: given.kernel.or_else(|| counterpart(kernel)),
            ramdisk: given.ramdisk.or_else(|| counterpart(ramdisk)),
        })
    }

    fn ask(&self, observer: &impl Observer) -> Result<(), Error> {
        if self.asks {
            ask_to_continue(observer)
        } else {
            Ok(())
        }
    }
}

fn additional_region(migration: &Migration<'_>) -> Result<Option<RegionEndpoint>, Error> {
    let parse = |text: &String| {
        text.parse().map_err(|reason| Error::AdditionalRegion {
            text: text.clone(),
            reason,
        })
    };
    migration.additional_region.as_ref().map(parse).transpose()
}
