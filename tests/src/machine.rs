//! Makes every machine look new to the commands: no certificates of EC2 installed, the usual umask, no name taken in /tmp.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use rustix::fs::Mode;

/// Where commands look for EC2's certificates on the machine.
const INSTALLED: [&str; 2] = ["/etc/ec2", "/opt/aws/amitools"];

/// Removes what the tests' commands make in /tmp, as the older suite did.
const IN_TMP: &str = "rm -rf /tmp/ec2-unbundle-image-digest-pipe /tmp/ec2golden-my-prefix.* /tmp/ami-migration-image.img.manifest.xml";

/// The lock with which concurrent runs of the tests take turns using these names.
const TURN: &str = "/run/lock/ami-tools-tests";

/// Gives this process and its children the umask with which the older suite was recorded.
pub fn settle_umask() {
    static SETTLED: Once = Once::new();
    SETTLED.call_once(|| {
        let _ = rustix::process::umask(Mode::from_raw_mode(0o022));
    });
}

/// A program that does not find certificates installed on this machine: if there are any, it runs in its own mount namespace, with empty
/// folders in their place.
pub fn on_new_machine(program: impl AsRef<OsStr>) -> Command {
    settle_umask();
    let is_there = |folder: &&str| Path::new(folder).is_dir();
    let installed: Vec<&str> = INSTALLED.into_iter().filter(is_there).collect();
    if installed.is_empty() {
        return Command::new(program);
    }
    // With full paths, because the program's PATH may lack these programs.
    let hide = "while [ \"$1\" != -- ]; do /bin/mount -t tmpfs none \"$1\"; shift; done; shift; exec \"$@\"";
    let mut command = Command::new("/usr/bin/unshare");
    let _ = command
        .args(["--mount", "/bin/sh", "-euc", hide, "sh"])
        .args(installed)
        .arg("--")
        .arg(program);
    command
}

/// Reserves the names in /tmp that commands of the older suite use, while this value lives.
#[derive(Debug)]
pub struct TmpNames {
    _turn: File,
}

impl TmpNames {
    /// Waits for its turn, and removes what an aborted run has left.
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

/// A new UUID, because the kernel does not mount two file systems with the same one.
pub fn new_uuid() -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    uuid.trim().to_owned()
}
