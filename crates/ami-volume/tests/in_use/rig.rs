//! What the tests share: file systems on loop devices, and images of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use ami_volume::{Error, Event, Fstab, InUse, Made, Making, PartitionType, Plan, Request, make};

pub fn shell(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", &format!("PATH=$PATH:/usr/sbin:/sbin; {script}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// A file system on a loop device, mounted.
pub struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    pub fn new(size: &str, mkfs: &str) -> Self {
        Self::mounted(size, mkfs, "mount -o loop file mnt")
    }

    /// The same, mounted by these words of a shell: `file` on `mnt`.
    pub fn mounted(size: &str, mkfs: &str, mount: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let _ = shell(&format!(
            "cd '{at}'; truncate -s {size} file; {mkfs} file >&2; mkdir mnt; {mount}"
        ));
        Self { folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    pub fn device(&self) -> PathBuf {
        shell(&format!("findmnt -n -o SOURCE '{}'", self.path().display())).into()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A test that failed may have left it busy for a moment.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

pub fn ext4() -> Volume {
    Volume::new("64M", "mke2fs -q -F -t ext4")
}

pub fn btrfs() -> Volume {
    Volume::new("120M", "mkfs.btrfs -q")
}

/// The file that is read first is written first: so a copy that is not of one moment has fewer numbers in it than in the other.
pub fn fill(volume: &Path) {
    let _ = shell(&format!(
        "cd '{}'; mkdir a b etc; head -c 8000000 /dev/urandom > etc/much; echo key > key",
        volume.display()
    ));
}

pub fn request(volume: &Path, destination: &Path, in_use: InUse) -> Request {
    Request {
        volume: volume.to_owned(),
        size: 400 << 20,
        partition: Some(PartitionType::None),
        all: false,
        excludes: Vec::new(),
        includes: Vec::new(),
        filter: false,
        fstab: Fstab::Keep,
        grub_config: None,
        script: None,
        use_volume_tools: false,
        secrets: vec![volume.join("key")],
        image: destination.join("image"),
        own: Vec::new(),
        private: destination.join(".private"),
        destination: destination.to_owned(),
        is_bundled: false,
        check_space: true,
        threads: 2.try_into().unwrap(),
        in_use,
    }
}

pub fn image_of(
    request: Request,
    event: &(dyn Fn(Event<'_>) + Sync),
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Made, Error> {
    let interrupted = AtomicBool::new(false);
    let image = request.image.clone();
    let plan = Plan::new(request, &interrupted)?;
    let making = Making {
        progress,
        event,
        interrupted: &interrupted,
    };
    make(&plan, &image, &making)
}

/// What is on an image, while it is mounted.
pub fn in_image<T>(destination: &Path, look: impl FnOnce(&Path) -> T) -> T {
    let mount = destination.join("image-mount");
    let at = mount.display();
    // Its UUID may be that of a volume that is mounted: xfs and btrfs would refuse it.
    let _ = shell(&format!(
        "mkdir '{at}'; cd '{}'; case $(blkid -p -o value -s TYPE image) in
            xfs) mount -o loop,nouuid image '{at}';;
            btrfs) btrfstune -f -m image >&2; mount -o loop image '{at}';;
            *) mount -o loop image '{at}';; esac",
        destination.display()
    ));
    let found = look(&mount);
    let _ = shell(&format!("umount '{at}'"));
    found
}
