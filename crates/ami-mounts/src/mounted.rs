//! Which mounts stand on a disk.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ami_files::FileError;

use crate::mounts::{Mount, Mounts};
use crate::stack::Stack;

/// Where the file systems of a block device, its partitions and what is made of them are mounted, one path each.
///
/// # Errors
/// [`FileError`] if it cannot be looked at, or is no block device.
pub fn mounted_from(device: &Path) -> Result<Vec<PathBuf>, FileError> {
    let metadata = fs::metadata(device).map_err(FileError::new("read", device))?;
    if !metadata.file_type().is_block_device() {
        let error = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        return Err(FileError::new("find the mounts of", device)(error));
    }
    let mounts = Mounts::load()?;
    let mut found: Vec<&Mount> = Vec::new();
    for mount in mounts.all() {
        let is_new = found.iter().all(|other| other.device != mount.device);
        if is_new
            && Stack::of(mount, &mounts).has_disk(&metadata)
            && fs::metadata(&mount.mount_point).is_ok()
        {
            found.push(mount);
        }
    }
    Ok(found
        .into_iter()
        .map(|mount| mount.mount_point.clone())
        .collect())
}

/// Where a block device, or a disk image behind a loop device, or something on it, is mounted so that it can be written to; the first of
/// them. `None` also if that cannot be found out.
pub fn mounted_for_writing(disk: &Path) -> Option<PathBuf> {
    let metadata = fs::metadata(disk).ok()?;
    let mounts = Mounts::load().ok()?;
    let mut writable = mounts.all().filter(|mount| mount.is_writable);
    let found = writable.find(|mount| Stack::of(mount, &mounts).has_disk(&metadata))?;
    Some(found.mount_point.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_not_mounted() {
        assert_eq!(mounted_for_writing(Path::new("/proc/self/exe")), None);
    }
}
