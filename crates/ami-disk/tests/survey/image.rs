//! A disk image in a file, what the real programs do with it, and noise.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use ami_disk::{Allocation, BLOCK, Survey, Unread};
use ami_image::{Extent, Image};
use tempfile::TempDir;

/// Runs a script in a folder and returns what it prints. Panics if it fails.
pub(crate) fn sh(folder: &Path, script: &str) -> String {
    match try_sh(folder, script) {
        Ok(printed) => printed,
        Err(told) => panic!("{script}: {told}"),
    }
}

fn try_sh(folder: &Path, script: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        // mkfs.xfs makes small file systems for those who say by these that they test.
        .envs(["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"].map(|name| (name, "1")))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(printed)
    } else {
        Err(printed + &String::from_utf8_lossy(&output.stderr))
    }
}

/// Fills the folder `m`: many files, one of written zeros, one with holes; then some are deleted. The rest stays where it is.
pub(crate) const FILL: &str = "
    mkdir m/tree
    for i in $(seq 120); do seq $i $((i * 40)) > m/tree/$i; done
    for i in $(seq 12); do head -c 1500000 /dev/urandom > m/big.$i; done
    head -c 6000000 /dev/zero > m/zeros
    truncate -s 3M m/hole; echo end >> m/hole
    sync -f m
    rm m/tree/*[13579] m/big.3 m/big.4 m/big.7
    ln -s tree/2 m/link
";

/// An image in a folder of its own.
pub(crate) struct Disk {
    pub(crate) folder: TempDir,
}

impl Disk {
    /// An image `disk` of that size (as for truncate), made by a script.
    pub(crate) fn new(size: &str, script: &str) -> Self {
        // In memory: file systems are synced often.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let _ = sh(
            folder.path(),
            &format!("mkdir m; truncate -s {size} disk; {script}"),
        );
        Self { folder }
    }

    pub(crate) fn sh(&self, script: &str) -> String {
        sh(self.folder.path(), script)
    }

    /// Runs a script while the image is mounted on `m`.
    pub(crate) fn mounted(&self, options: &str, script: &str) -> String {
        self.sh(&format!(
            "mount -o loop{options} disk m; trap 'umount m' EXIT; {script}"
        ))
    }

    pub(crate) fn fill(&self) {
        let _ = self.mounted("", FILL);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(crate) fn survey(&self) -> Survey {
        let image = Image::open(&self.path()).unwrap();
        ami_disk::survey(&image, &AtomicBool::new(false)).unwrap()
    }

    /// Why its only volume was not read.
    pub(crate) fn unread(&self) -> Unread {
        let survey = self.survey();
        assert_eq!(survey.free, []);
        match survey.volumes.as_slice() {
            [volume] => match &volume.allocation {
                Allocation::Unread(reason) => reason.clone(),
                Allocation::Read { .. } => panic!("it was read: {survey:?}"),
            },
            volumes => panic!("{volumes:?}"),
        }
    }

    /// How many bytes its only volume has free.
    pub(crate) fn free_bytes(&self) -> u64 {
        free_bytes(&self.survey())
    }

    /// A digest over the names and contents of all files.
    pub(crate) fn digest(&self) -> Result<String, String> {
        let script = "mount -o loop,ro disk m; trap 'umount m' EXIT
            (cd m; find . -type f | sort | xargs sha256sum) | sha256sum";
        try_sh(self.folder.path(), script)
    }

    /// Overwrites everything that is called free with noise.
    pub(crate) fn add_noise(&self, free: &[Extent]) {
        let file = File::options().write(true).open(self.path()).unwrap();
        let noise: Vec<u8> = (0..1_u32 << 18)
            .flat_map(|i| (i.wrapping_mul(0x9E37_79B9) | 1).to_be_bytes())
            .collect();
        for extent in free {
            let mut offset = extent.offset;
            let end = extent.offset + extent.length;
            while offset < end {
                let length = noise.len().min((end - offset) as usize);
                file.write_all_at(&noise[..length], offset).unwrap();
                offset += length as u64;
            }
        }
    }

    /// Whether the image passes that program's check, and has the same files, with noise in `free`.
    fn survives(&self, free: &[Extent], check: &str) -> Result<(), String> {
        let before = self.digest()?;
        self.add_noise(free);
        let _ = try_sh(self.folder.path(), check)?;
        if self.digest()? == before {
            Ok(())
        } else {
            Err("files have changed".into())
        }
    }

    /// The blocks that have nothing but zeros in them: what must not be taken for free.
    fn zeros(&self) -> Vec<Extent> {
        let bytes = std::fs::read(self.path()).unwrap();
        (0..)
            .zip(bytes.chunks_exact(BLOCK as usize))
            .filter(|(_, block)| block.iter().all(|&byte| byte == 0))
            .map(|(index, _)| Extent {
                offset: index * BLOCK,
                length: BLOCK,
            })
            .collect()
    }

    /// Holds that noise in what is called free harms nothing.
    pub(crate) fn survives_noise(&self, check: &str) {
        self.survives(&self.survey().free, check).unwrap();
    }

    /// Holds that the above can fail: noise in everything that is zeros is noticed.
    pub(crate) fn does_not_survive_noise_in_zeros(&self, check: &str) {
        let told = self.survives(&self.zeros(), check);
        assert!(told.is_err(), "the check takes anything");
    }
}

pub(crate) fn free_bytes(survey: &Survey) -> u64 {
    match survey.volumes.as_slice() {
        [volume] => match volume.allocation {
            Allocation::Read { free_bytes } => free_bytes,
            Allocation::Unread(_) => panic!("{survey:?}"),
        },
        _ => panic!("{survey:?}"),
    }
}

/// Those of these extents that hold a block, as a survey has them: sorted, those that touch joined.
pub(crate) fn with_blocks(mut extents: Vec<(u64, u64)>) -> Vec<Extent> {
    extents.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (offset, length) in extents {
        match joined.last_mut() {
            Some((start, sum)) if *start + *sum == offset => *sum += length,
            _ => joined.push((offset, length)),
        }
    }
    joined
        .into_iter()
        .filter(|(offset, length)| offset.next_multiple_of(BLOCK) + BLOCK <= offset + length)
        .map(|(offset, length)| Extent { offset, length })
        .collect()
}
