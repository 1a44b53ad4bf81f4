//! What the manifest inherits from the instance.

use ami_cli::{Context, Failure, InstanceMetadata, OrExit, exit};

use crate::args::Arguments;

#[derive(Debug, thiserror::Error)]
#[error(
    "Can't access instance metadata. If you are not bundling on an EC2 instance use --no-inherit"
)]
struct NoMetadata(#[source] ami_imds::Error);

/// Reads the instance's metadata, unless nothing is to be inherited. Items that an option gives do not count as missing, except kernel and
/// RAM disk, which the older suite reports in any case.
pub fn read(arguments: &Arguments, context: &Context) -> Result<InstanceMetadata, Failure> {
    if arguments.no_inherit {
        return Ok(InstanceMetadata::default());
    }
    let options = &arguments.bundle.manifest;
    let found = match ami_imds::InstanceMetadata::read(context.interrupted()) {
        Err(ami_imds::Error::Interrupted) => return Err(Failure::interrupted()),
        found => found.map_err(NoMetadata).or_exit(exit::NO_METADATA)?,
    };
    let items = [
        ("ancestor-ami-ids", found.ancestor_ami_ids.is_none()),
        ("ami-id", found.ami_id.is_none()),
        ("kernel-id", found.kernel_id.is_none()),
        ("ramdisk-id", found.ramdisk_id.is_none()),
        (
            "product-codes",
            found.product_codes.is_none() && options.productcodes.is_none(),
        ),
        (
            "block-device-mapping",
            found.block_device_mapping.is_none() && options.block_device_mapping.is_none(),
        ),
    ];
    let mut ancestry = found.ancestor_ami_ids.unwrap_or_default();
    ancestry.extend(found.ami_id.filter(|id| !ancestry.contains(id)));
    Ok(InstanceMetadata {
        kernel_id: found.kernel_id,
        ramdisk_id: found.ramdisk_id,
        product_codes: found.product_codes,
        region: found.region,
        block_device_mapping: found.block_device_mapping,
        ancestry,
        missing: items
            .into_iter()
            .filter(|(_, is_missing)| *is_missing)
            .map(|(name, _)| name)
            .collect(),
    })
}
