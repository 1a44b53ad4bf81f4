//! A piece of the image file as a block device.
//!
//! Partitions are loop devices with an offset and a length: partition scanning and the device mapper are missing in many kernels
//! and containers. The device clears itself when nobody uses it any more, which holds for a killed process too.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, makedev};
use tracing::debug;

use crate::error::{Error, Need};
use crate::kernel;

/// include/linux/major.h, LOOP_MAJOR; include/linux/miscdevice.h, MISC_MAJOR and LOOP_CTRL_MINOR.
const LOOP_MAJOR: u32 = 7;
const CONTROL: (u32, u32) = (10, 237);

/// How often another process may take the device that was free a moment ago.
const TRIES: u32 = 1000;

/// A loop device in use.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    file: File,
}

impl LoopDevice {
    /// Shows `length` bytes of `image` from `offset` on. Device nodes that are not in `/dev` are made in `nodes`.
    pub(crate) fn new(image: &File, offset: u64, length: u64, nodes: &Path) -> Result<Self, Error> {
        let control_path = node("loop-control", FileType::CharacterDevice, CONTROL, nodes)?;
        let control = File::open(&control_path).map_err(no_loop_devices)?;
        for _ in 0..TRIES {
            let number = kernel::free_loop_device(&control).map_err(no_loop_devices)?;
            let name = format!("loop{number}");
            let path = node(&name, FileType::BlockDevice, (LOOP_MAJOR, number), nodes)?;
            let file = File::options()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(no_loop_devices)?;
            match kernel::configure_loop_device(&file, image, offset, length) {
                Ok(()) => {
                    debug!(path = %path.display(), offset, length, "loop device");
                    return Ok(Self { path, file });
                }
                Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {}
                Err(e) => return Err(no_loop_devices(e)),
            }
        }
        Err(no_loop_devices(std::io::ErrorKind::ResourceBusy.into()))
    }

    /// The device's node.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its major and minor number.
    pub(crate) fn number(&self) -> Result<u64, Error> {
        let metadata = self
            .file
            .metadata()
            .map_err(Error::io("read", &self.path))?;
        Ok(metadata.rdev())
    }

    /// Waits until everything is in the image file, and lets the device go.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("write", &self.path))
    }
}

/// A device's path: in `/dev`, or made in `nodes` where `/dev` does not have it, as in containers.
fn node(
    name: &str,
    kind: FileType,
    (major, minor): (u32, u32),
    nodes: &Path,
) -> Result<PathBuf, Error> {
    let usual = Path::new("/dev").join(name);
    let is_it = |m: std::fs::Metadata| {
        let is_device = m.file_type().is_block_device() || m.file_type().is_char_device();
        is_device && m.rdev() == makedev(major, minor)
    };
    if usual.metadata().is_ok_and(is_it) {
        return Ok(usual);
    }
    let path = nodes.join(name);
    match rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        kind,
        Mode::RUSR | Mode::WUSR,
        makedev(major, minor),
    ) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(path),
        Err(e) => Err(no_loop_devices(e.into())),
    }
}

fn no_loop_devices(source: std::io::Error) -> Error {
    Error::NotAllowed {
        need: Need::LoopDevices,
        source,
    }
}
