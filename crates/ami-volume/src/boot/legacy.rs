//! GRUB Legacy (0.97), by its own shell, which works on a plain disk image (GNU GRUB manual 0.97, "Installing GRUB natively").

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::mount::UnmountFlags;

use crate::boot::{Target, copy_named};
use crate::error::{Error, Package};
use crate::inside;
use crate::loop_device::LoopDevice;
use crate::partition::{Layout, PartitionType, SECTOR, random, write_table};
use crate::tools::{Finder, Surroundings, Tool};
use crate::workshop::Workshop;

/// Where distributions keep the stages; the last is where an installed GRUB has them.
const STAGES: [&str; 7] = [
    "/usr/lib/grub/x86_64-pc",
    "/usr/lib/grub/i386-pc",
    "/usr/share/grub/x86_64-redhat",
    "/usr/share/grub/i386-redhat",
    "/usr/share/grub/x86_64-pc",
    "/usr/share/grub/i386-pc",
    "/boot/grub",
];

const FOLDER: &str = "/boot/grub";

/// Debian's name and Red Hat's.
pub(crate) const CONFIGURATIONS: [&str; 2] = ["/boot/grub/menu.lst", "/boot/grub/grub.conf"];

/// The disk image for the rehearsal, in bytes; mkfs.xfs makes none below 300 MB.
const SCRATCH: u64 = 32 << 20;
const SCRATCH_FOR_XFS: u64 = 320 << 20;

/// What the shell calls the image.
const NAME: &str = "disk";

const PACKAGE: Package = Package {
    debian: "grub-legacy",
    red_hat: "grub",
};

/// GRUB Legacy as it is on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    stages: &'static str,
    shell: Tool,
}

impl Legacy {
    pub(crate) fn find(finder: &Finder<'_>) -> Result<Option<Self>, Error> {
        let stages = STAGES.into_iter().find(|folder| {
            ["stage1", "stage2"]
                .iter()
                .all(|file| inside::is_file(finder.view, &Path::new(folder).join(file)))
        });
        let Some(stages) = stages else {
            return Ok(None);
        };
        let shell = finder.find(&["grub"], PACKAGE)?;
        Ok(shell.map(|shell| Self { stages, shell }))
    }

    pub(crate) fn needs_volume(&self) -> bool {
        self.shell.is_on_volume()
    }

    pub(crate) fn is_configured(&self, volume: &Path) -> bool {
        CONFIGURATIONS
            .iter()
            .any(|path| inside::is_file(volume, Path::new(path)))
    }

    pub(crate) fn copy_files(&self, volume: &Path, image: &Path) -> Result<(), Error> {
        let to = inside::resolve(image, Path::new(FOLDER)).map_err(Error::io("read", image))?;
        copy_named(volume, self.stages, &to, |name| {
            name.starts_with("stage") || name.ends_with("stage1_5")
        })
    }

    /// Installs on a small disk like the image: which file systems and partition tables it can read depends on its patches.
    pub(crate) fn rehearse(
        &self,
        target: &Target<'_>,
        workshop: &Workshop<'_>,
        make: impl Fn(&LoopDevice, u64) -> Result<(), Error>,
        mount: impl Fn(&LoopDevice) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Target {
            partition,
            file_system,
            ..
        } = *target;
        if file_system == "btrfs" {
            return Err(refused(target, "it does not know that file system"));
        }
        let size = if file_system == "xfs" {
            SCRATCH_FOR_XFS
        } else {
            SCRATCH
        };
        let path = workshop.base().join("scratch");
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        file.set_len(size).map_err(Error::io("write", &path))?;
        let _ = write_table(&file, &path, partition, None, random)?;
        let layout = Layout::new(partition, size);
        let device = LoopDevice::new(
            &file,
            layout.root_offset,
            layout.root_length,
            workshop.base(),
        )?;
        make(&device, layout.root_length)?;
        mount(&device)?;
        let root = workshop.image();
        let copied = self.copy_files(&workshop.volume(), &root);
        rustix::mount::unmount(&root, UnmountFlags::empty())
            .map_err(Error::io("unmount", &root))?;
        copied?;
        device.finish()?;
        let target = Target {
            path: &path,
            partition,
            layout,
            file_system,
            subvolume: Path::new(""),
        };
        let result = self.install(&file, &target, workshop);
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        result
    }

    pub(crate) fn install(
        &self,
        image: &File,
        target: &Target<'_>,
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        match target.partition {
            PartitionType::Gpt => self.install_on_gpt(image, target, workshop),
            _ => self.ask(target, &["setup (hd0)"], workshop).map(drop),
        }
    }

    /// With a GRUB Legacy that reads GPT: stage 1.5 goes into the BIOS boot partition, for there is no gap behind sector 0.
    fn install_on_gpt(
        &self,
        image: &File,
        target: &Target<'_>,
        workshop: &Workshop<'_>,
    ) -> Result<(), Error> {
        let printed = self.ask(target, &[], workshop)?;
        if !printed.contains("Filesystem type is") || printed.contains("unknown") {
            return Err(refused(target, last_words(&printed)));
        }
        let stage = stage_1_5(target.file_system);
        let path = Path::new(self.stages).join(stage);
        let code =
            inside::read_needed(&workshop.volume(), &path).map_err(Error::io("read", &path))?;
        let (first, room) = target.layout.boot_area.unwrap_or_default();
        let sectors = (code.len() as u64).div_ceil(SECTOR);
        if sectors > room {
            return Err(Error::LoaderTooLong {
                part: format!("GRUB Legacy's {stage}"),
                sectors,
                room,
            });
        }
        image
            .write_all_at(&code, first * SECTOR)
            .map_err(Error::io("write", target.path))?;
        let configuration = CONFIGURATIONS
            .into_iter()
            .find(|path| inside::is_file(&workshop.volume(), Path::new(path)))
            .unwrap_or(CONFIGURATIONS[0]);
        let install = format!(
            "install {FOLDER}/stage1 (hd0) (hd0){first}+{sectors} p (hd0,0){FOLDER}/stage2 {configuration}"
        );
        self.ask(target, &[&install], workshop).map(drop)
    }

    /// Has the shell work on a disk image, and returns what it printed. Its exit code says nothing.
    fn ask(
        &self,
        target: &Target<'_>,
        commands: &[&str],
        workshop: &Workshop<'_>,
    ) -> Result<String, Error> {
        let run = |disk: &Path, surroundings: &Surroundings<'_>| {
            let input = format!(
                "device (hd0) {}\nroot (hd0,0)\n{}\nquit\n",
                disk.display(),
                commands.join("\n")
            );
            let arguments = ["--batch", "--no-floppy", "--device-map=/dev/null"].map(OsStr::new);
            self.shell.run(surroundings, &arguments, input.as_bytes())
        };
        // By a name of its own, for it takes no blanks in one.
        let room = workshop.make_room()?;
        let shown = room.show_file(NAME, target.path)?;
        let printed = if self.shell.is_on_volume() {
            room.run(|surroundings| run(&shown, surroundings))?
        } else {
            run(&room.path_here(NAME), &workshop.surroundings())?
        };
        let text = String::from_utf8_lossy(&printed.stdout).into_owned();
        tracing::debug!(printed = %text, "GRUB Legacy");
        match error_line(&text) {
            Some(line) => Err(refused(target, line)),
            None => Ok(text),
        }
    }
}

/// GRUB Legacy prints `Error 17: Cannot mount selected partition`.
fn error_line(printed: &str) -> Option<&str> {
    printed.lines().map(str::trim).find(|line| {
        line.strip_prefix("Error ")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn last_words(printed: &str) -> &str {
    let mut lines = printed
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("partition type"));
    lines
        .next_back()
        .unwrap_or("it does not know the partition")
}

fn stage_1_5(file_system: &str) -> &'static str {
    match file_system {
        "xfs" => "xfs_stage1_5",
        _ => "e2fs_stage1_5",
    }
}

fn refused(target: &Target<'_>, reason: &str) -> Error {
    Error::Legacy {
        partition: target.partition.name(),
        file_system: target.file_system,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_in_what_the_shell_prints() {
        let printed = "grub> root (hd0,0)\n Filesystem type unknown, partition type 0xee\n\nError 17: Cannot mount selected partition\n";
        assert_eq!(
            error_line(printed),
            Some("Error 17: Cannot mount selected partition")
        );
        assert_eq!(error_line(" Running \"embed\"... succeeded\nDone.\n"), None);
        assert_eq!(
            last_words(printed),
            "Filesystem type unknown, partition type 0xee"
        );
    }
}
