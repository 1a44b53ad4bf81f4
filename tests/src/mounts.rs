//! File systems of the test's own on loop devices. They need root, and say so.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::shell;

/// A mounted file system, taken away when dropped.
#[derive(Debug)]
pub struct Mount {
    folder: TempDir,
}

impl Mount {
    /// A new file system of `size` (as truncate(1) takes it), made by `mkfs` with its options.
    pub fn new(size: &str, mkfs: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a file system: run it as root"
        );
        let folder = crate::folder();
        let script =
            format!("truncate -s {size} fs; {mkfs} fs >&2; mkdir mnt; mount -o loop fs mnt");
        let _ = shell(&script, folder.path());
        Self { folder }
    }

    /// Mounts a file system image that is there already.
    pub fn of_image(image: &Path) -> Self {
        let folder = crate::folder();
        let _ = shell(
            &format!("mkdir mnt; mount -o loop,ro '{}' mnt", image.display()),
            folder.path(),
        );
        Self { folder }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = shell("umount mnt", self.folder.path());
    }
}
