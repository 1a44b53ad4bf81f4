//! What makes every machine look like a new one to the commands: no certificate of EC2's, the usual umask, no name taken in /tmp.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use rustix::fs::Mode;

/// Where commands look for EC2's certificates on the machine itself.
const INSTALLED: [&str; 2] = ["/etc/ec2", "/opt/aws/amitools"];

/// What the tests' own commands make in /tmp, as the older suite did.
const IN_TMP: &str = "rm -rf /tmp/ec2-unbundle-image-digest-pipe /tmp/ec2golden-my-prefix.* /tmp/ami-migration-image.img.manifest.xml";

/// Two runs of the tests take turns with these names: it is locked meanwhile.
const TURN: &str = "/run/lock/ami-tools-tests";

/// Gives this process, and all that it starts, the umask that the older suite was recorded with.
pub fn settle_umask() {
    static SETTLED: Once = Once::new();
    SETTLED.call_once(|| {
        let _ = rustix::process::umask(Mode::from_raw_mode(0o022));
    });
}

/// A program that does not find the certificates that are installed on this machine: where there are any, it has a mount namespace of
/// its own, with empty folders in their place.
pub fn on_new_machine(program: impl AsRef<OsStr>) -> Command {
    settle_umask();
    let is_there = |folder: &&str| Path::new(folder).is_dir();
    let installed: Vec<&str> = INSTALLED.into_iter().filter(is_there).collect();
    if installed.is_empty() {
        return Command::new(program);
    }
    // By their paths: the program may be given a PATH without them.
    let hide = "while [ \"$1\" != -- ]; do /bin/mount -t tmpfs none \"$1\"; shift; done; shift; exec \"$@\"";
    let mut command = Command::new("/usr/bin/unshare");
    let _ = command
        .args(["--mount", "/bin/sh", "-euc", hide, "sh"])
        .args(installed)
        .arg("--")
        .arg(program);
    command
}

/// The names in /tmp that commands of the older suite use, taken by nobody else while this lives.
#[derive(Debug)]
pub struct TmpNames {
    _turn: File,
}

impl TmpNames {
    /// Waits for its turn, and takes away what an aborted run has left.
    pub fn take() -> Self {
        fs::create_dir_all("/run/lock").unwrap();
        let turn = File::create(TURN).unwrap();
        turn.lock().unwrap();
        let _ = crate::shell(IN_TMP, Path::new("/"));
        Self { _turn: turn }
    }
}

impl Drop for TmpNames {
    fn drop(&mut self) {
        let _ = crate::shell(IN_TMP, Path::new("/"));
    }
}

/// A new UUID: the kernel mounts no two file systems of one.
pub fn new_uuid() -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    uuid.trim().to_owned()
}
