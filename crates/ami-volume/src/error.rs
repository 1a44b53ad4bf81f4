//! What can go wrong when a volume becomes an image.

use std::io;
use std::path::{Path, PathBuf};

use ami_files::FileError;

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed on a file or folder; one of the volume is called by its path there.
    #[error(transparent)]
    File(#[from] FileError),
    /// The volume's files do not fit into the image.
    #[error(
        "the volume's files need more than an image of {size} MB has: at least {needed} MB",
        size = size >> 20, needed = needed.div_ceil(1 << 20)
    )]
    TooSmall {
        /// The image's size in bytes.
        size: u64,
        /// What the files need at least, in bytes.
        needed: u64,
    },
    /// The image's file system, or the disk that the image is on, is full.
    #[error("no space left in the image while copying {path}", path = path.display())]
    Full {
        /// The file, by its path on the volume.
        path: PathBuf,
    },
    /// The destination has too little space for the image's data.
    #[error(
        "there may be too little space in {folder}: {free} bytes are free, the image needs up to {needed}",
        folder = folder.display()
    )]
    Space {
        /// The destination.
        folder: PathBuf,
        /// In bytes.
        free: u64,
        /// In bytes.
        needed: u64,
    },
    /// A tool is neither on this machine nor on the volume.
    #[error("{tool} was not found, on this machine or on the volume")]
    MissingTool {
        /// Its name.
        tool: &'static str,
        /// The package that has it.
        package: Package,
    },
    /// Only the volume has a tool, and programs of the volume may not be run.
    #[error(
        "{tool} is not on this machine, and programs of the volume {volume} are not run unless asked for",
        volume = volume.display()
    )]
    ToolOnVolume {
        /// Its name.
        tool: &'static str,
        /// The volume.
        volume: PathBuf,
        /// The package that has it.
        package: Package,
    },
    /// A tool ended with an error.
    #[error("{command} failed ({status}){}", if output.is_empty() { String::new() } else { format!(": {output}") })]
    Tool {
        /// Its name.
        command: String,
        /// How it ended: `exit status: 1`.
        status: String,
        /// What it printed last on standard error.
        output: String,
    },
    /// The user's script ended with an error; what it printed has been shown.
    #[error("the script {script} failed ({status}): nothing was bundled", script = script.display())]
    Script {
        /// The script.
        script: PathBuf,
        /// How it ended.
        status: String,
    },
    /// The volume has no boot loader that this crate can install.
    #[error(
        "no boot loader found on {volume}: a {partition} image needs GRUB 2 for BIOS or GRUB Legacy",
        volume = volume.display()
    )]
    NoBootLoader {
        /// The volume.
        volume: PathBuf,
        /// `mbr` or `gpt`.
        partition: &'static str,
    },
    /// The volume has a boot loader without a configuration.
    #[error(
        "{volume} has {loader}, but no configuration for it ({paths})",
        volume = volume.display(), paths = paths.join(" or ")
    )]
    NotConfigured {
        /// The volume.
        volume: PathBuf,
        /// `GRUB 2` or `GRUB Legacy`.
        loader: &'static str,
        /// Where a configuration is looked for, the usual path first.
        paths: Vec<String>,
    },
    /// The volume's GRUB Legacy cannot be installed into such an image.
    #[error(
        "the volume's GRUB Legacy cannot start {partition} images with {file_system} ({reason})"
    )]
    Legacy {
        /// `mbr` or `gpt`.
        partition: &'static str,
        /// The image's file system: `ext4`.
        file_system: &'static str,
        /// What its shell says.
        reason: String,
    },
    /// A part of the boot loader is damaged.
    #[error("{part} is too {flaw} to be a part of a boot loader", part = part.display())]
    BrokenLoader {
        /// The file, by its path on the volume, or its name.
        part: PathBuf,
        /// `short` or `large`.
        flaw: &'static str,
    },
    /// The boot loader does not fit in front of the image's file system.
    #[error(
        "{part} of {sectors} sectors does not fit in front of the partition, where there are {room}"
    )]
    LoaderTooLong {
        /// Its name.
        part: String,
        /// Its length in sectors of 512 bytes.
        sectors: u64,
        /// How many there are for it.
        room: u64,
    },
    /// The kernel or the container does not allow what is needed.
    #[error("cannot {need}")]
    NotAllowed {
        /// What was tried.
        need: Need,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file system of this kind does not fit into an image of that size.
    #[error("{kind} needs an image of at least {least} MB")]
    Least {
        /// The file system's name.
        kind: &'static str,
        /// In MB.
        least: u64,
    },
    /// Exclude and include patterns cannot be used.
    #[error("the exclude and include patterns are too many or too long")]
    Patterns {
        /// What the regular expressions' builder says.
        #[source]
        source: regex::Error,
    },
    /// An image is larger than its partition table can describe.
    #[error("an mbr partition table cannot describe an image of {size} MB", size = size >> 20)]
    TooLargeForMbr {
        /// The image's size in bytes.
        size: u64,
    },
    /// The system has no random numbers.
    #[error("cannot get random numbers for the image's identifiers")]
    Random(#[source] getrandom::Error),
    /// The system refuses more threads or processes.
    #[error("cannot start a thread: the limit of processes and threads is too low")]
    NoThreads(#[source] io::Error),
    /// A volume that is to be frozen has something that this run needs.
    #[error(
        "{volume} cannot be frozen: this run needs {needed}, which is on the same file system",
        volume = volume.display(), needed = needed.display()
    )]
    Needed {
        /// The volume.
        volume: PathBuf,
        /// What would wait for the volume to be thawed.
        needed: PathBuf,
    },
    /// Another program has frozen a volume.
    #[error("{volume} is frozen already, by another program", volume = volume.display())]
    FrozenAlready {
        /// The volume.
        volume: PathBuf,
    },
    /// A volume was thawed before its copy was complete.
    #[error(
        "{volume} was thawed before its copy was complete: it may be frozen for a limited time only",
        volume = volume.display()
    )]
    Thawed {
        /// The volume.
        volume: PathBuf,
    },
    /// A command that the user runs around the copy ended with an error.
    #[error("the command {moment} the copy failed ({status}){}", if output.is_empty() { String::new() } else { format!(": {output}") })]
    Command {
        /// `before` or `after`.
        moment: &'static str,
        /// How it ended.
        status: String,
        /// What it printed last.
        output: String,
    },
    /// The caller has raised its flag.
    #[error("interrupted")]
    Interrupted,
}

/// The packages that have a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Debian's name.
    pub debian: &'static str,
    /// Red Hat's name.
    pub red_hat: &'static str,
}

/// What the imager needs of the kernel, or of the container that it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Mounts of its own: `CAP_SYS_ADMIN`.
    Mounts,
    /// Mounts that no other process sees: a root directory that is a mount point.
    PrivateMounts,
    /// Loop devices.
    LoopDevices,
    /// A PID namespace, for a program of the volume.
    Processes,
    /// To freeze a file system: `CAP_SYS_ADMIN`.
    Freeze,
    /// Snapshots of a btrfs volume.
    Snapshots,
    /// A second process that thaws and cleans up if this one is killed.
    Keeper,
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mounts => "make mounts of its own (unshare)",
            Self::PrivateMounts => "make mounts private",
            Self::LoopDevices => "use a loop device",
            Self::Processes => "run a program of the volume by itself (unshare)",
            Self::Freeze => "freeze a file system",
            Self::Snapshots => "make snapshots of a btrfs volume",
            Self::Keeper => "start a second process that cleans up if this one is killed",
        })
    }
}

impl Error {
    /// Returns a function for `map_err` that says what was tried on which file.
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let on_file = FileError::new(operation, path);
        move |source| Self::File(on_file(source.into()))
    }
}
