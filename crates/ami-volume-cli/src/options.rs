//! Groups of options.

use std::path::{Path, PathBuf};

use ami_cli::markers::{New, Shape};
use ami_cli::{Failure, values};
use ami_volume::{Fstab, PartitionType};
use clap::ArgAction::SetTrue;
use clap::Args;

const VOLUME: &str = "The volume";
const IMAGE: &str = "The image and its bundle";

/// What is copied of a volume.
#[derive(Debug, Clone, Args)]
pub struct SelectionOptions {
    /// Also copy mounts of other than local file systems
    #[arg(short = 'a', long, action = SetTrue, help_heading = VOLUME)]
    pub all: bool,
    /// Leave out what matches one of these patterns
    #[arg(short = 'e', long, value_name = "P1,P2,…", add = Shape::TextOrNothing, help_heading = VOLUME)]
    pub exclude: Option<String>,
    /// Copy what matches one of these, even if it would be left out
    #[arg(short = 'i', long, value_name = "P1,P2,…", add = Shape::TextOrNothing, help_heading = VOLUME)]
    pub include: Option<String>,
    /// Copy files that look like secrets or leftovers too
    #[arg(long, action = SetTrue, help_heading = VOLUME)]
    pub no_filter: bool,
    /// Run programs of the volume where this machine lacks them
    #[arg(long, action = SetTrue, add = New, help_heading = VOLUME)]
    pub use_volume_tools: bool,
}

/// What is made of the copy.
#[derive(Debug, Clone, Args)]
pub struct ImageOptions {
    /// mbr, gpt or none [default: as the volume's disk]
    #[arg(short = 'P', long, value_name = "TYPE", value_parser = partition, add = Shape::OneOf(&["gpt", "mbr", "none"]), help_heading = IMAGE)]
    pub partition: Option<PartitionType>,
    /// Replace the image's /etc/fstab by this file
    #[arg(long, value_name = "FILE", value_parser = values::existing_file, help_heading = IMAGE)]
    pub fstab: Option<PathBuf>,
    /// Replace the image's /etc/fstab by one for EC2
    #[arg(long, action = SetTrue, help_heading = IMAGE)]
    pub generate_fstab: bool,
    /// Replace the image's boot configuration by this file
    #[arg(long, value_name = "FILE", value_parser = values::existing_file, help_heading = IMAGE)]
    pub grub_config: Option<PathBuf>,
    /// Run this program, with the image's mount point as its argument, before the image is closed
    #[arg(short = 'S', long, value_name = "FILE", value_parser = values::executable_file, help_heading = IMAGE)]
    pub script: Option<PathBuf>,
}

fn partition(text: &str) -> Result<PartitionType, String> {
    match text {
        "gpt" => Ok(PartitionType::Gpt),
        "mbr" => Ok(PartitionType::Mbr),
        "none" => Ok(PartitionType::None),
        _ => Err("mbr, gpt or none is needed".to_owned()),
    }
}

impl SelectionOptions {
    /// The patterns of --exclude.
    pub fn excludes(&self) -> Vec<String> {
        patterns(self.exclude.as_deref())
    }

    /// The patterns of --include.
    pub fn includes(&self) -> Vec<String> {
        patterns(self.include.as_deref())
    }

    /// The patterns that match nothing on the volume, each as a usage error.
    pub fn idle_patterns(&self, volume: &Path) -> Vec<Failure> {
        let mut idle = idle_patterns("exclude", &self.excludes(), volume);
        idle.extend(idle_patterns("include", &self.includes(), volume));
        idle
    }
}

impl ImageOptions {
    /// What becomes of the table of file systems; one that is made is for an architecture.
    ///
    /// # Errors
    /// Both options for it are given.
    pub fn fstab(&self, is_i386: bool) -> Result<Fstab, Failure> {
        match &self.fstab {
            Some(_) if self.generate_fstab => Err(Failure::not_both("fstab", "generate-fstab")),
            Some(path) => Ok(Fstab::File(path.clone())),
            None if self.generate_fstab => Ok(Fstab::Generate { is_i386 }),
            None => Ok(Fstab::Keep),
        }
    }
}

fn patterns(given: Option<&str>) -> Vec<String> {
    let patterns = given.unwrap_or_default().split(',');
    let patterns = patterns.filter(|pattern| !pattern.is_empty());
    patterns.map(str::to_owned).collect()
}

fn idle_patterns(option: &str, patterns: &[String], volume: &Path) -> Vec<Failure> {
    let root = glob::Pattern::escape(&volume.to_string_lossy());
    let separator = if root.ends_with('/') { "" } else { "/" };
    let idle = patterns.iter().filter_map(|pattern| {
        let below = pattern.trim_start_matches('/');
        let path = volume.join(below);
        let matches = match glob::glob(&format!("{root}{separator}{below}")) {
            Ok(mut paths) => path.symlink_metadata().is_ok() || paths.next().is_some(),
            // The filter may understand patterns that glob does not.
            Err(_) => true,
        };
        (!matches).then(|| {
            Failure::usage(format!(
                "--{option} has invalid value '{}': File or directory does not exist.",
                path.display()
            ))
        })
    });
    idle.collect()
}
