//! What is changed in the image after the copy: the folders that start empty, the table of file systems, the user's script.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use rustix::fs::{FileType, makedev};
use tracing::debug;

use crate::error::Error;
use crate::format::Twin;
use crate::inside;
use crate::kernel;
use crate::partition::PartitionType;
use crate::tools::{kill_group, read_pipe};
use crate::workshop::{DEVICES, make_device};

const FSTAB: &str = "/etc/fstab";

/// The folders that the older suite makes; /media only if the volume has one.
const FOLDERS: [&str; 4] = ["dev", "mnt", "proc", "sys"];

/// The most that is kept of what a script prints, in bytes.
const MOST_OUTPUT: u64 = 64 << 10;

/// The time between two looks at a running script.
const MOMENT: Duration = Duration::from_millis(20);

/// The image's table of file systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fstab {
    /// The volume's.
    Keep,
    /// This file's.
    File(PathBuf),
    /// One of those below.
    Generate {
        /// The older suite has another one for `i386`.
        is_i386: bool,
    },
}

/// The older suite's table: where EC2's x86_64 instance types have their root and their first ephemeral volume.
const X86_64: &str = "\
/dev/sda1\t/\text3\tdefaults\t1\t1
/dev/sdb\t/mnt\text3\tdefaults\t0\t0
none\t/dev/pts\tdevpts\tgid=5,mode=620\t0\t0
none\t/proc\tproc\tdefaults\t0\t0
none\t/sys\tsysfs\tdefaults\t0\t0
";

/// The older suite's table for i386.
const I386: &str = "\
/dev/sda1\t/\text3\tdefaults\t1\t1
/dev/sda2\t/mnt\text3\tdefaults\t0\t0
/dev/sda3\tswap\tswap\tdefaults\t0\t0
none\t/proc\tproc\tdefaults\t0\t0
none\t/sys\tsysfs\tdefaults\t0\t0
";

/// What systems without systemd need in a table besides the root.
const KERNELS: &str = "\
none\t/dev/pts\tdevpts\tgid=5,mode=620\t0\t0
none\t/dev/shm\ttmpfs\tdefaults\t0\t0
none\t/proc\tproc\tdefaults\t0\t0
none\t/sys\tsysfs\tdefaults\t0\t0
";

/// Makes the folders that are to be there in every image, and the first devices.
pub(crate) fn make_folders(image: &Path) -> Result<(), Error> {
    for name in FOLDERS {
        let path = image.join(name);
        if path.symlink_metadata().is_err() {
            fs::create_dir(&path).map_err(Error::io("create", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(Error::io("create", &path))?;
        }
    }
    let dev = inside::resolve(image, Path::new("/dev")).map_err(Error::io("read", image))?;
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        make_device(&path, FileType::CharacterDevice, makedev(major, minor))?;
        let mode = if name == "console" { 0o600 } else { 0o666 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(Error::io("create", &path))?;
    }
    let link = dev.join("X0R");
    std::os::unix::fs::symlink("null", &link).map_err(Error::io("create", &link))
}

/// Replaces the image's table, keeps the old one as fstab.old, and returns the new text; `None` if the table is kept.
pub(crate) fn write_fstab(
    image: &Path,
    fstab: &Fstab,
    partition: PartitionType,
    twin: &Twin,
    uuid: &str,
) -> Result<Option<String>, Error> {
    let text = match fstab {
        Fstab::Keep => return Ok(None),
        Fstab::File(path) => ami_files::open_regular(path)
            .and_then(std::io::read_to_string)
            .map_err(Error::io("read", path))?,
        Fstab::Generate { is_i386 } => generated(*is_i386, partition, twin, uuid),
    };
    let path = inside::resolve(image, Path::new(FSTAB)).map_err(Error::io("read", image))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    if path.exists() {
        let old = path.with_file_name("fstab.old");
        fs::rename(&path, &old).map_err(Error::io("rename", &path))?;
    }
    fs::write(&path, &text).map_err(Error::io("write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
        .map_err(Error::io("write", &path))?;
    Ok(Some(text))
}

fn generated(is_i386: bool, partition: PartitionType, twin: &Twin, uuid: &str) -> String {
    match (partition, is_i386) {
        (PartitionType::None, false) => X86_64.to_owned(),
        (PartitionType::None, true) => I386.to_owned(),
        // A partitioned image starts on a kernel of its own, which may call the disk xvda, sda or nvme0n1.
        _ => {
            let subvolume = match twin.subvolume.to_str() {
                None | Some("") => String::new(),
                Some(subvolume) => format!(",subvol=/{subvolume}"),
            };
            format!(
                "UUID={uuid}\t/\t{}\tdefaults{subvolume}\t1\t1\n{KERNELS}",
                twin.name
            )
        }
    }
}

/// Replaces the boot configurations that the image has, or makes the first if it has none.
pub(crate) fn copy_configuration(image: &Path, file: &Path, paths: &[String]) -> Result<(), Error> {
    let mut text = Vec::new();
    let _ = ami_files::open_regular(file)
        .and_then(|mut opened| opened.read_to_end(&mut text))
        .map_err(Error::io("read", file))?;
    let mut targets: Vec<&String> = paths
        .iter()
        .filter(|path| inside::is_file(image, Path::new(path)))
        .collect();
    if targets.is_empty() {
        targets.extend(paths.first());
    }
    for path in targets {
        let path = inside::resolve(image, Path::new(path)).map_err(Error::io("read", image))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        if !path.is_file() {
            // To write into a FIFO would wait for a reader.
            let _ = fs::remove_file(&path);
        }
        fs::write(&path, &text).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// Runs the user's script with the mount point as its only argument. `output` gets what a script that failed has printed.
pub(crate) fn run_script(
    script: &Path,
    mount_point: &Path,
    interrupted: &AtomicBool,
    output: impl Fn(&[u8]),
) -> Result<(), Error> {
    // A name without a slash would be looked for in PATH.
    let program = std::path::absolute(script).map_err(Error::io("find", script))?;
    let mut command = Command::new(program);
    let _ = command
        .arg(mount_point)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // So that it can be ended with all that it has started.
        .process_group(0);
    kernel::bind_to_thread(&mut command);
    debug!(?command, "running");
    let (stdout_pipe, stdout_piped) = std::sync::mpsc::channel();
    let (stderr_pipe, stderr_piped) = std::sync::mpsc::channel();
    let (status, stdout, stderr) = std::thread::scope(|scope| {
        // Before the script is started: it is not, where a thread is not to be had.
        let stderr = Builder::new()
            .spawn_scoped(scope, move || {
                read_pipe(stderr_piped.recv().unwrap_or_default(), MOST_OUTPUT)
            })
            .map_err(Error::NoThreads)?;
        // On a thread of its own: the namespace is for its children, and it can start no threads then.
        let run = move || {
            if let Err(error) = kernel::unshare_processes() {
                debug!(%error, "what the script leaves running may stay");
            }
            let mut child = command.spawn().map_err(Error::io("run", script))?;
            // The other side waits for it.
            let _ = stdout_pipe.send(child.stdout.take());
            let _ = stderr_pipe.send(child.stderr.take());
            drop((stdout_pipe, stderr_pipe));
            wait_for_end(&mut child, script, interrupted)
        };
        let running = Builder::new()
            .spawn_scoped(scope, run)
            .map_err(Error::NoThreads)?;
        let stdout = read_pipe(stdout_piped.recv().unwrap_or_default(), MOST_OUTPUT);
        let stderr = stderr.join().unwrap_or_default();
        match running.join() {
            Ok(status) => status.map(|status| (status, stdout, stderr)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    if status.success() {
        return Ok(());
    }
    for printed in [stdout, stderr] {
        output(&printed);
    }
    Err(Error::Script {
        script: script.to_owned(),
        status: status.to_string(),
    })
}

fn wait_for_end(
    child: &mut Child,
    script: &Path,
    interrupted: &AtomicBool,
) -> Result<ExitStatus, Error> {
    let status = loop {
        if interrupted.load(Ordering::Relaxed) {
            end(child);
            return Err(Error::Interrupted);
        }
        match child.try_wait().map_err(Error::io("run", script))? {
            Some(status) => break status,
            None => std::thread::sleep(MOMENT),
        }
    };
    // What it has left in the background would keep the image busy, and the pipes open.
    end(child);
    Ok(status)
}

/// Ends a script, if it has not ended, and what it has started.
fn end(child: &mut Child) {
    kill_group(child);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sh");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_script_gets_the_mount_point_and_fails_with_its_output() {
        let (folder, path) = script("touch \"$1/made\"");
        run_script(&path, folder.path(), &AtomicBool::new(false), |_| {}).unwrap();
        assert!(folder.path().join("made").exists());
        let (folder, path) = script("echo out; echo oops >&2; exit 3");
        let shown = std::sync::Mutex::new(Vec::new());
        let result = run_script(&path, folder.path(), &AtomicBool::new(false), |text| {
            shown.lock().unwrap().extend_from_slice(text);
        });
        assert!(matches!(result, Err(Error::Script { status, .. }) if status == "exit status: 3"));
        assert_eq!(shown.into_inner().unwrap(), b"out\noops\n");
    }

    #[test]
    fn an_interrupted_script_ends_with_all_that_it_has_started() {
        // A number of seconds that no other process sleeps for.
        let (folder, path) = script("sleep 4242.4242 & touch \"$1/runs\"; wait");
        let sleeps = || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            processes
                .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
                .any(|line| line == b"sleep\x004242.4242\0")
        };
        let interrupted = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run_script(&path, folder.path(), &interrupted, |_| {}));
            while !folder.path().join("runs").exists() || !sleeps() {
                std::thread::sleep(MOMENT);
            }
            interrupted.store(true, Ordering::Relaxed);
            assert!(matches!(running.join().unwrap(), Err(Error::Interrupted)));
        });
        // It was killed, and dies when it is scheduled next.
        while sleeps() {
            std::thread::sleep(MOMENT);
        }
    }

    #[test]
    fn finding_25d_the_table_for_i386_is_the_older_suites() {
        let text = generated(true, PartitionType::None, &Twin::of(None), "u");
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines,
            [
                ["/dev/sda1", "/", "ext3", "defaults", "1", "1"],
                ["/dev/sda2", "/mnt", "ext3", "defaults", "0", "0"],
                ["/dev/sda3", "swap", "swap", "defaults", "0", "0"],
                ["none", "/proc", "proc", "defaults", "0", "0"],
                ["none", "/sys", "sysfs", "defaults", "0", "0"],
            ]
        );
    }

    #[test]
    fn a_generated_table_is_the_older_suites_or_mounts_by_uuid() {
        let mut twin = Twin::of(None);
        assert!(
            generated(false, PartitionType::None, &twin, "u").starts_with("/dev/sda1\t/\text3\t")
        );
        twin.subvolume = "@rootfs".into();
        let text = generated(false, PartitionType::Gpt, &twin, "0123-45");
        assert!(
            text.starts_with("UUID=0123-45\t/\text4\tdefaults,subvol=/@rootfs\t1\t1\n"),
            "{text}"
        );
    }
}
