//! Temporary file systems on loop devices. They need root, and say so.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::shell;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    folder: TempDir,
}

impl Mount {
    /// A new file system of `size` (in truncate(1)'s notation), made by the command `mkfs`.
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

    /// An ext4 file system image, mounted read-only by a program (fuse2fs) that does not say where holes are.
    pub fn without_seek_hole(image: &Path) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "this test mounts a file system by FUSE: /dev/fuse is missing"
        );
        let folder = crate::folder();
        let script = format!("mkdir mnt; fuse2fs -o ro '{}' mnt >&2", image.display());
        let _ = shell(&script, folder.path());
        Self { folder }
    }

    /// The file system at byte `offset` of an image, mounted read-only with these additional options.
    pub fn of_image(image: &Path, offset: u64, options: &str) -> Self {
        let folder = crate::folder();
        let script = format!(
            "mkdir mnt; mount -o loop,ro,offset={offset}{options} '{}' mnt",
            image.display()
        );
        let _ = shell(&script, folder.path());
        Self { folder }
    }

    /// The file with the file system, if it was made by [`Mount::new`].
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("fs")
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
