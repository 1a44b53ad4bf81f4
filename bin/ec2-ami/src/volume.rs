//! A mounted volume as FROM: the imager makes a disk of it first, as ec2-bundle-vol does.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ami_cli::{Context, Failure, OrExit, shown_path};
use ami_ebs::BoxError;
use ami_lifecycle::Still;
use ami_parts::Staging;
use ami_volume::{Error, Event, FREEZE_LIMIT, Freeze, Freezing, InUse, Plan, Request, Survey};
use ami_volume_cli::{ImageOptions, SelectionOptions, warnings};
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::{exit, state, values};

/// The disk's name in the private folder: one of those that are cleared away with it.
const STAGED: &str = "image";

/// The disk's size where none is given, in GiB. Space that is free in it is not sent, and costs nothing.
pub const SIZE: u64 = 10;

/// Where the disk lies meanwhile, unless TMPDIR says: /tmp is in memory on many machines.
const TEMPORARY: &str = "/var/tmp";

#[derive(Debug, thiserror::Error)]
#[error("only root can make an image of a volume")]
struct NotRoot;

const HEADING: &str = "The volume";

/// What is mounted from a device, frozen while the device is read.
pub struct FrozenDevice(Mutex<Option<Freeze>>);

impl FrozenDevice {
    /// Freezes it. What is mounted from it cannot have any of these files and folders on it.
    fn new(device: &Path, freezing: &Freezing, context: &Context) -> Result<Self, Failure> {
        let frozen = Freeze::of_device(
            device,
            &freezing.ours,
            freezing.limit,
            context.interrupted(),
        );
        let frozen = frozen.map_err(|error| failed(error, context))?;
        for volume in frozen.volumes().filter(|_| !context.is_json()) {
            let volume = shown_path(volume);
            context.warn(&format!("{volume} is frozen until the device is read."));
        }
        Ok(Self(Mutex::new(Some(frozen))))
    }

    fn frozen(&self) -> MutexGuard<'_, Option<Freeze>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it is not frozen any more")]
struct NotFrozen;

impl Still for FrozenDevice {
    fn check(&self) -> Result<(), BoxError> {
        let frozen = self.frozen();
        Ok(frozen.as_ref().ok_or(NotFrozen)?.check()?)
    }

    fn finish(&self) -> Result<(), BoxError> {
        let frozen = self.frozen().take();
        Ok(frozen.ok_or(NotFrozen)?.thaw()?)
    }
}

/// A device that would be frozen: nothing is, for a plan.
struct Unfrozen;

impl Still for Unfrozen {
    fn check(&self) -> Result<(), BoxError> {
        Ok(())
    }

    fn finish(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What is done about a volume that others write to while it is copied.
#[derive(Debug, Clone, Args)]
pub struct InUseOptions {
    /// Freeze the volume, or what is mounted from a device, while it is read: nobody can write to it. Not the one that this machine runs from
    #[arg(long, action = SetTrue, help_heading = HEADING)]
    freeze: bool,
    /// For how many seconds at most; then it is thawed, and the command fails
    #[arg(long, value_name = "SECONDS", default_value_t = FREEZE_LIMIT.as_secs(), value_parser = values::number::<1, 3600>, help_heading = HEADING)]
    freeze_limit: u64,
    /// Run this in a shell before the copy, to flush a database, say; if it fails, nothing is copied
    #[arg(long, value_name = "COMMAND", help_heading = HEADING)]
    before: Option<OsString>,
    /// Run this in a shell after the copy, whatever came of it
    #[arg(long, value_name = "COMMAND", help_heading = HEADING)]
    after: Option<OsString>,
}

impl InUseOptions {
    fn in_use(&self) -> InUse {
        let freezing = Freezing {
            limit: Duration::from_secs(self.freeze_limit),
            ours: vec![state::folder()],
        };
        InUse {
            second_pass: true,
            snapshots: true,
            freeze: self.freeze.then_some(freezing),
            before: self.before.clone(),
            after: self.after.clone(),
        }
    }

    /// Freezes what is mounted from a device, if that is asked for; for a plan it is only checked whether that can be done.
    pub fn still(
        &self,
        device: &Path,
        journal: Option<&PathBuf>,
        is_plan: bool,
        context: &Context,
    ) -> Result<Option<Arc<dyn Still>>, Failure> {
        let Some(mut freezing) = self.in_use().freeze else {
            return Ok(None);
        };
        freezing.ours.extend(journal.cloned());
        if !is_plan {
            return Ok(Some(Arc::new(FrozenDevice::new(
                device, &freezing, context,
            )?)));
        }
        let checked = Freeze::check_device(device, &freezing.ours);
        checked.map_err(|error| failed(error, context))?;
        Ok(Some(Arc::new(Unfrozen)))
    }

    /// An option that was given and is of a folder only; `--freeze` is of a device too.
    pub fn given(&self, is_device: bool) -> Option<&'static str> {
        let given = [
            (self.freeze && !is_device, "freeze"),
            (self.before.is_some(), "before"),
            (self.after.is_some(), "after"),
        ];
        given
            .into_iter()
            .find_map(|(is_given, option)| is_given.then_some(option))
    }
}

/// What is asked of the imager.
pub struct Volume {
    request: Request,
    idle_patterns: Vec<Failure>,
}

impl Volume {
    /// A volume whose disk has so many GiB.
    pub fn new(
        folder: &Path,
        gib: u64,
        architecture: Option<&str>,
        selection: &SelectionOptions,
        image: &ImageOptions,
        in_use: &InUseOptions,
    ) -> Result<Self, Failure> {
        let temporary = std::env::var_os("TMPDIR").map(PathBuf::from);
        let temporary = temporary.filter(|folder| folder.is_absolute());
        let destination = temporary.unwrap_or_else(|| TEMPORARY.into());
        let cores = std::thread::available_parallelism();
        let private = Staging::paths_begin(&destination);
        Ok(Self {
            idle_patterns: selection.idle_patterns(folder),
            request: Request {
                volume: folder.to_owned(),
                size: gib << 30,
                partition: image.partition,
                all: selection.all,
                excludes: selection.excludes(),
                includes: selection.includes(),
                filter: !selection.no_filter,
                fstab: image.fstab(architecture == Some("i386"))?,
                grub_config: image.grub_config.clone(),
                script: image.script.clone(),
                use_volume_tools: selection.use_volume_tools,
                secrets: Vec::new(),
                image: private.join(STAGED),
                own: Vec::new(),
                private,
                destination,
                is_bundled: false,
                check_space: true,
                threads: cores.unwrap_or(NonZeroUsize::MIN),
                in_use: in_use.in_use(),
            },
        })
    }

    /// The same for a bundle, whose private key is never copied.
    pub fn without(mut self, private_key: &Path, checks_space: bool) -> Self {
        self.request.secrets = vec![private_key.to_owned()];
        self.request.check_space = checks_space;
        self
    }

    /// Everything that would end [`Self::make`]; and how much would be copied, in bytes.
    pub fn problems(mut self, context: &Context) -> Result<(Option<u64>, Vec<Failure>), Failure> {
        let mut problems = std::mem::take(&mut self.idle_patterns);
        let survey = Survey::new(self.request, context.interrupted());
        let survey = survey.map_err(|error| failed(error, context))?;
        let found = survey.problems.into_iter();
        problems.extend(found.map(|error| failed(error, context)));
        let data = survey.plan.map(|plan| plan.contents.data);
        Ok((data, problems))
    }

    /// Makes the disk. It goes with the private folder.
    pub fn make(mut self, context: &Context) -> Result<(Staging, PathBuf), Failure> {
        if let Some(problem) = self.idle_patterns.drain(..).next() {
            return Err(problem);
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::new(exit::SOURCE, NotRoot));
        }
        let note = |line: &str| {
            if !context.is_json() {
                context.warn(line);
            }
        };
        let destination = self.request.destination.clone();
        let folder = self.request.volume.clone();
        let plan = Plan::new(self.request, context.interrupted());
        let plan = plan.map_err(|error| failed(error, context))?;
        note(&format!("Copying {} to a disk ...", folder.display()));
        let before = [
            warnings::other_file_system(&plan),
            warnings::secrets(&plan.contents),
        ];
        let filtered = warnings::filtered(&plan.contents, &plan.packaged);
        for line in before.into_iter().flatten().chain(filtered) {
            note(&line);
        }
        let staging = context.staging(&destination).or_exit(exit::OTHER)?;
        let staged = staging.path().join(STAGED);
        let tell = |event: &Event<'_>| match event {
            Event::ScriptOutput(text) => {
                for line in String::from_utf8_lossy(text).lines() {
                    context.warn(line);
                }
            }
            Event::Frozen => note("The volume is frozen until it is copied."),
            Event::SecondPass => note("Copying again what has changed meanwhile ..."),
            _ => {}
        };
        let made = ami_volume_cli::make(&plan, &staged, context, tell);
        let made = made.map_err(|error| failed(error, context))?;
        let incompletely = warnings::made_incompletely(&made);
        for line in incompletely.iter().chain(&made.warnings) {
            note(line);
        }
        Ok((staging, staged))
    }
}

fn failed(error: Error, context: &Context) -> Failure {
    // Ctrl-C also ends the program that is run at the time, which is an error of its own.
    if matches!(error, Error::Interrupted) || context.interrupted().load(Ordering::Relaxed) {
        return Failure::interrupted();
    }
    Failure::new(exit::SOURCE, error)
}
