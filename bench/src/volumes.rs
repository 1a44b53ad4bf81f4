//! Copies and bundles a volume, which is mounted from the image, with the older suite's steps and with ours.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::measure::{Measured, measured, shell};

/// A mounted volume and a folder to work in; unmounted when dropped.
pub struct Volume {
    folder: PathBuf,
    commands: PathBuf,
}

impl Volume {
    /// Mounts the ext4 file system in `image` read-only.
    pub fn new(image: &Path) -> Result<Self> {
        let commands = std::env::current_exe()?
            .parent()
            .ok_or("no folder of commands")?
            .to_owned();
        let folder = image
            .canonicalize()?
            .parent()
            .ok_or("the image has no folder")?
            .join("bench-volume");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let volume = Self { folder, commands };
        let _ = volume.shell(&format!(
            "mkdir volume mnt; mount -o loop,ro '{}' volume
             openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout key -out crt",
            image.display()
        ))?;
        Ok(volume)
    }

    fn shell(&self, script: &str) -> Result<String> {
        shell(&format!("cd '{}'; {script}", self.folder.display()))
    }

    fn measured(&self, script: &str) -> Result<Measured> {
        // Fills the page cache, so that all copies read from memory.
        let _ = self.shell("rm -rf out; mkdir out; tar -cf - volume | cat > /dev/null; sync")?;
        measured(&format!(
            "cd '{}'; PATH=$PATH:/usr/sbin:/sbin; {script}",
            self.folder.display()
        ))
    }

    /// What the older suite does before it bundles an image of `megabytes` MB.
    pub fn older_steps(&self, megabytes: u64) -> Result<Measured> {
        let excludes = ["/dev", "/media", "/mnt", "/proc", "/sys"]
            .map(|path| format!("--exclude {path}"))
            .join(" ");
        let last = megabytes - 1;
        self.measured(&format!(
            "dd if=/dev/zero status=none of=out/image bs=1M count=1 seek={last}
             mkfs.ext4 -q -F -L x out/image; tune2fs -i 0 out/image > /dev/null; sync; mount -o loop out/image mnt
             rsync -rlpgoD -t -r -S -l {excludes} -X volume/* mnt; umount mnt"
        ))
    }

    fn ours(&self, megabytes: u64, more: &str) -> String {
        format!(
            "'{}/ec2-bundle-vol' -k key -c crt --ec2cert crt -u 123456789012 -r x86_64 --batch --no-inherit --no-filter \
             -v volume -d out -s {megabytes} -P none --threads 2 {more} > /dev/null 2>&1",
            self.commands.display()
        )
    }

    /// Ours, only the image, fully synced.
    pub fn copy(&self, megabytes: u64) -> Result<Measured> {
        let copied = self.measured(&self.ours(megabytes, "--clone-only"))?;
        // Checks that the copy is equal to the volume.
        let differing = self.shell(
            "mount -o loop,ro out/image mnt
             rsync -naHAXi --delete --exclude=/dev --exclude=/mnt --exclude=/proc --exclude=/sys --exclude=/lost+found volume/ mnt/
             umount mnt",
        )?;
        if differing.is_empty() {
            Ok(copied)
        } else {
            Err(format!("the copy differs: {differing}").into())
        }
    }

    /// Ours, from the volume to the bundle.
    pub fn bundle(&self, megabytes: u64) -> Result<Measured> {
        self.measured(&self.ours(megabytes, ""))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = self.shell("umount volume");
        let _ = fs::remove_dir_all(&self.folder);
    }
}
