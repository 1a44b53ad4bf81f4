//! What can go wrong when a volume becomes an image.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate. The cause, where there is one, is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed on a file or folder.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb: `read`, `mount`.
        operation: &'static str,
        /// The file or folder; of the volume, by its path there.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// What the volume holds does not go into the image.
    #[error(
        "the volume's files need more than an image of {size} MB has: at least {needed} MB; give a larger --size or leave out more with --exclude",
        size = size >> 20, needed = needed.div_ceil(1 << 20)
    )]
    TooSmall {
        /// The image's size in bytes.
        size: u64,
        /// What the files need at least, in bytes.
        needed: u64,
    },
    /// The image's file system, or the disk below it, ran full.
    #[error("no space left in the image while copying {path}: give a larger --size, leave out more with --exclude, or free space at the destination", path = path.display())]
    Full {
        /// The file, by its path on the volume.
        path: PathBuf,
    },
    /// The destination has too little space for the image's data.
    #[error(
        "there may be too little space in {folder}: {free} bytes are free, the image needs up to {needed}; \
         free some, choose another --destination, or try all the same with --no-size-checks",
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
    #[error(
        "{tool} was not found, on this machine or on the volume: install it (Debian: {debian}; Red Hat: {red_hat})"
    )]
    MissingTool {
        /// Its name.
        tool: &'static str,
        /// Debian's package.
        debian: &'static str,
        /// Red Hat's package.
        red_hat: &'static str,
    },
    /// Only the volume has a tool, and its programs may not be run.
    #[error(
        "{tool} is not on this machine, and programs of the volume {volume} are not run unless asked for: install it \
         (Debian: {debian}; Red Hat: {red_hat}), or, if you trust the volume, give --use-volume-tools",
        volume = volume.display()
    )]
    ToolOnVolume {
        /// Its name.
        tool: &'static str,
        /// The volume.
        volume: PathBuf,
        /// Debian's package.
        debian: &'static str,
        /// Red Hat's package.
        red_hat: &'static str,
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
        "no boot loader found on {volume}: a {partition} image needs GRUB 2 for BIOS (Debian: grub-pc-bin and grub2-common; \
         Red Hat: grub2-pc-modules and grub2-tools) or GRUB Legacy; install one, or use --partition none for a paravirtual image",
        volume = volume.display()
    )]
    NoBootLoader {
        /// The volume.
        volume: PathBuf,
        /// `mbr` or `gpt`.
        partition: &'static str,
    },
    /// The volume's boot loader cannot do what was asked for.
    #[error("{0}")]
    BootLoader(String),
    /// The kernel or the container does not allow what is needed.
    #[error("cannot {operation}: {hint}")]
    NotAllowed {
        /// What was tried.
        operation: &'static str,
        /// What to do.
        hint: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file system of this kind does not fit into an image of that size.
    #[error("{kind} needs an image of at least {least} MB: give a larger --size")]
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
    /// The partition table could not be read or written.
    #[error("cannot {operation} the partition table of {path}", path = path.display())]
    PartitionTable {
        /// `read` or `write`.
        operation: &'static str,
        /// The device or image.
        path: PathBuf,
        /// What the library says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system gives no more threads or processes.
    #[error(
        "cannot start a thread: the limit of processes and threads is too low (ulimit -u, or that of the container)"
    )]
    NoThreads(#[source] io::Error),
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Returns a function for `map_err` that says what was tried on which file.
    pub fn io<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source: source.into(),
        }
    }
}
