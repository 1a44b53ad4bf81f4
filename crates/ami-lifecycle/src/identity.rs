//! Digests by which something is known again.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// What tells machines apart: systemd's ID (machine-id(5)), and the firmware's, which on EC2 is the instance's.
const MACHINE: [&str; 3] = [
    "/etc/machine-id",
    "/sys/class/dmi/id/product_uuid",
    "/sys/class/dmi/id/board_asset_tag",
];

/// What identifies a file or device on this machine, whatever it holds. Another machine's is another one, also if that is a copy of this machine.
pub(crate) fn of_file(path: &Path) -> [u8; 32] {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let metadata = fs::metadata(&path).ok();
    let numbers = metadata.map_or([0; 3], |found| [found.dev(), found.ino(), found.rdev()]);
    let mut fields = of_machine();
    fields.add(path.as_os_str().as_bytes());
    for number in numbers {
        fields.add(&number.to_be_bytes());
    }
    fields.finish()
}

/// What identifies a bundle on this machine: where it is, and its manifest, which names what it holds. Two machines that read the same
/// bundle make a snapshot each: neither can know how far the other has come.
pub(crate) fn of_bundle(place: &[&[u8]], manifest: &[u8]) -> [u8; 32] {
    let mut fields = of_machine();
    for field in place {
        fields.add(field);
    }
    fields.add(manifest);
    fields.finish()
}

fn of_machine() -> Fields {
    let mut fields = Fields::default();
    for file in MACHINE {
        fields.add(&fs::read(file).unwrap_or_default());
    }
    fields.add(rustix::system::uname().nodename().to_bytes());
    fields
}

/// What identifies a source of which there is no second: nothing goes on with it.
pub(crate) fn unique() -> [u8; 32] {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH);
    let mut fields = Fields::default();
    fields.add(&now.map_or(0, |now| now.as_nanos()).to_be_bytes());
    fields.add(&std::process::id().to_be_bytes());
    fields.add(&fs::read("/proc/sys/kernel/random/uuid").unwrap_or_default());
    fields.finish()
}

/// What identifies a snapshot that somebody else made.
pub(crate) fn of_snapshot(id: &str) -> [u8; 32] {
    let mut fields = Fields::default();
    fields.add(id.as_bytes());
    fields.finish()
}

/// Fields with their lengths, so that no two lists of fields have the same bytes.
#[derive(Default)]
pub(crate) struct Fields(Sha256);

impl Fields {
    pub(crate) fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
