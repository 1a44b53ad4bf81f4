//! Turns the arguments into the imager's request.

use std::path::{Path, PathBuf};

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
        if arguments.fstab.is_some() && arguments.generate_fstab {
            return Err(Failure::not_both("fstab", "generate-fstab"));
        }
        let prefix = arguments.bundle.prefix.as_deref().unwrap_or(PREFIX);
        if prefix == "." || prefix == ".." || prefix.starts_with(".ec2-ami-tools") {
            return Err(Failure::usage(format!(
                "--prefix has invalid value '{prefix}': it is not a valid name for a bundle."
            )));
        }
        let volume = &arguments.volume;
        let [excludes, includes] = [&arguments.exclude, &arguments.include].map(|given| {
            let patterns = given.as_deref().unwrap_or_default().split(',');
            let patterns = patterns.filter(|pattern| !pattern.is_empty());
            patterns.map(str::to_owned).collect::<Vec<_>>()
        });
        let idle = idle_patterns("exclude", &excludes, volume);
        let idle = idle.chain(idle_patterns("include", &includes, volume));
        let idle_patterns = idle.collect();
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
            partition: arguments.partition,
            all: arguments.all,
            excludes,
            includes,
            filter: !arguments.no_filter,
            fstab: match &arguments.fstab {
                Some(path) => Fstab::File(path.clone()),
                None if arguments.generate_fstab => Fstab::Generate { is_i386: false },
                None => Fstab::Keep,
            },
            grub_config: arguments.grub_config.clone(),
            script: arguments.script.clone(),
            use_volume_tools: arguments.use_volume_tools,
            secrets: arguments.identity.privatekey.iter().cloned().collect(),
            private: Staging::paths_begin(&destination),
            destination,
            image: image.clone(),
            own,
            is_bundled: !arguments.clone_only,
            check_space: !arguments.bundle.no_size_checks,
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
            no_size_checks: arguments.bundle.no_size_checks,
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

/// The patterns that match nothing on the volume.
fn idle_patterns<'a>(
    option: &'a str,
    patterns: &'a [String],
    volume: &'a Path,
) -> impl Iterator<Item = Failure> + 'a {
    let root = glob::Pattern::escape(&volume.to_string_lossy());
    let separator = if root.ends_with('/') { "" } else { "/" };
    patterns.iter().filter_map(move |pattern| {
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
    })
}
