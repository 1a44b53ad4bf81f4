//! Turns the arguments into the imager's request.

use std::path::PathBuf;

use ami_bundle::LARGEST_IMAGE;
use ami_cli::{Failure, OrExit, exit};
use ami_parts::Staging;
use ami_volume::{Fstab, InUse, Request};

use crate::args::Arguments;

/// The bundle's default name.
const PREFIX: &str = "image";

/// The imager's request, and how its paths are shown to the user.
#[derive(Debug)]
pub struct ImageRequest {
    pub request: Request,
    /// Patterns that match nothing on the volume, each as a usage error.
    pub idle_patterns: Vec<Failure>,
    shown: Shown,
    size: i64,
    no_size_checks: bool,
}

/// Paths as the older suite shows them.
#[derive(Debug, Clone)]
pub struct Shown {
    /// With a slash at its end.
    pub volume: String,
    pub image: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(
        "You need to be root to run ec2-bundle-vol: use sudo, or --dry-run to see what it would do"
    )]
    NotRoot,
    #[error("the specified size {0}MB is too large")]
    TooLarge(i64),
    #[error("the specified image file {image} already exists", image = .0.display())]
    ImageExists(PathBuf),
}

impl ImageRequest {
    /// Checks the command line: its options against each other.
    pub fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let fstab = arguments.image.fstab(false)?;
        let prefix = arguments
            .bundle
            .manifest
            .prefix
            .as_deref()
            .unwrap_or(PREFIX);
        if prefix == "." || prefix == ".." || prefix.starts_with(".ec2-ami-tools") {
            return Err(Failure::usage(format!(
                "--prefix has invalid value '{prefix}': it is not a valid name for a bundle."
            )));
        }
        let volume = &arguments.volume;
        let idle_patterns = arguments.selection.idle_patterns(volume);
        let destination = arguments.bundle.destination.clone();
        let image = destination.join(prefix);
        let own = ami_parts::replaced_files(&destination, prefix).or_exit(exit::BUNDLING)?;
        let size = u64::try_from(arguments.size)
            .ok()
            .filter(|size| *size > 0 && *size < 1 << 40);
        let size = size.ok_or_else(|| {
            Failure::usage(format!(
                "--size has invalid value '{}': a number of MB is needed.",
                arguments.size
            ))
        })?;
        let request = Request {
            volume: volume.clone(),
            size: size << 20,
            partition: arguments.image.partition,
            all: arguments.selection.all,
            excludes: arguments.selection.excludes(),
            includes: arguments.selection.includes(),
            filter: !arguments.selection.no_filter,
            fstab,
            grub_config: arguments.image.grub_config.clone(),
            script: arguments.image.script.clone(),
            use_volume_tools: arguments.selection.use_volume_tools,
            secrets: arguments.identity.privatekey.iter().cloned().collect(),
            private: Staging::paths_begin(&destination),
            destination,
            image: image.clone(),
            own,
            is_bundled: !arguments.clone_only,
            check_space: !arguments.bundle.manifest.no_size_checks,
            threads: arguments.running.threads(),
            in_use: InUse::default(),
        };
        let mut shown_volume = volume.display().to_string();
        if !shown_volume.ends_with('/') {
            shown_volume.push('/');
        }
        let shown = Shown {
            volume: shown_volume,
            image,
        };
        Ok(Self {
            request,
            idle_patterns,
            shown,
            size: arguments.size,
            no_size_checks: arguments.bundle.manifest.no_size_checks,
        })
    }

    pub fn check_root(&self) -> Result<(), Failure> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(Failure::new(exit::OTHER, RequestError::NotRoot))
    }

    pub fn check_size(&self) -> Result<(), Failure> {
        if self.size <= (LARGEST_IMAGE >> 20).cast_signed() || self.no_size_checks {
            return Ok(());
        }
        Err(Failure::new(exit::OTHER, RequestError::TooLarge(self.size)))
    }

    pub fn check_image(&self) -> Result<(), Failure> {
        let image = &self.shown.image;
        if image.symlink_metadata().is_err() {
            return Ok(());
        }
        Err(Failure::new(
            exit::OTHER,
            RequestError::ImageExists(image.clone()),
        ))
    }

    pub fn shown_and_request(self, architecture: &str) -> (Shown, Request) {
        let mut request = self.request;
        if let Fstab::Generate { is_i386 } = &mut request.fstab {
            *is_i386 = architecture == "i386";
        }
        (self.shown, request)
    }
}
