//! Devices as manifests and instance store-backed AMIs name them (EC2 user guide, "Block device mappings").

use ami_ec2::BlockDeviceMapping;

/// How the virtual name of an instance store volume begins; a number follows.
const INSTANCE_STORE: &str = "ephemeral";

/// Whether a virtual name is that of an instance store volume. `ami` and `root` are what an instance starts from.
pub(crate) fn is_instance_store(name: &str) -> bool {
    name.strip_prefix(INSTANCE_STORE).is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A device's name with its folder, which the older suite's manifests leave out.
pub(crate) fn with_folder(name: &str) -> String {
    match name.starts_with('/') {
        true => name.to_owned(),
        false => format!("/dev/{name}"),
    }
}

/// Adds those of other devices whose names are neither the root's nor taken.
pub fn add_devices(
    devices: &mut Vec<BlockDeviceMapping>,
    others: impl IntoIterator<Item = BlockDeviceMapping>,
    root: Option<&str>,
) {
    for device in others {
        let name = device.device_name.as_str();
        let is_taken = devices.iter().any(|taken| taken.device_name == name);
        if root != Some(name) && !is_taken {
            devices.push(device);
        }
    }
}
