//! A volume that others write to while it is copied.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ami_mounts::Mount;
use tracing::debug;

use crate::commands;
use crate::error::Error;
use crate::freeze::Freeze;
use crate::imager::{Event, Making};
use crate::keeper::{Duty, Keeper};
use crate::plan::Plan;
use crate::request::Request;
use crate::selection::Selection;
use crate::snapshots::Snapshots;
use crate::workshop::{ShownMounts, Workshop};

/// What is done about a volume that others write to; by default nothing.
///
/// A program that uses anything but the second pass must call [`crate::keep`].
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Whether what changed while it was copied is copied again. What is frozen is copied once.
    pub second_pass: bool,
    /// Whether btrfs subvolumes are copied from snapshots, which are made in a folder at the top of each mounted one and deleted afterwards.
    /// Each subvolume has its own; they are not of one moment. A snapshot holds what a loss of power would leave: all that was synced, and of what
    /// was only written to files some, of each file by itself.
    pub snapshots: bool,
    /// Whether the volume, and the mounts below it that are copied too, are frozen during the copy. Then there are no snapshots.
    pub freeze: Option<Freezing>,
    /// A command line for `/bin/sh -c` that is run before the copy. If it fails, nothing is copied.
    pub before: Option<OsString>,
    /// One that is run after the copy, whatever came of it; by the second process if this one is killed.
    pub after: Option<OsString>,
}

/// How a volume is frozen.
#[derive(Debug, Clone)]
pub struct Freezing {
    /// For how long at most; see [`crate::FREEZE_LIMIT`].
    pub limit: Duration,
    /// Files and folders that the run writes to meanwhile: its state, its logs, temporary files. The image is known.
    pub ours: Vec<PathBuf>,
}

impl Freezing {
    /// Finds out whether the volume may be frozen, before anything is done.
    pub(crate) fn check(
        &self,
        request: &Request,
        volume: &Path,
        along: &[Mount],
    ) -> Result<(), Error> {
        let (volumes, ours) = self.volumes_and_ours(request, volume, along);
        Freeze::check_volumes(&volumes, &ours).map(drop)
    }

    /// What is frozen, and what the run writes to meanwhile.
    fn volumes_and_ours(
        &self,
        request: &Request,
        volume: &Path,
        along: &[Mount],
    ) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut volumes = vec![volume.to_owned()];
        // What is on no device cannot be frozen.
        let local = along.iter().filter(|mount| mount.is_local());
        volumes.extend(local.map(|mount| mount.mount_point.clone()));
        let mut ours = self.ours.clone();
        ours.extend([&request.destination, &request.image, &request.private].map(PathBuf::clone));
        (volumes, ours)
    }
}

/// The time from the command before the copy to the one after it.
pub(crate) struct Session<'a> {
    workshop: &'a Workshop<'a>,
    selection: Selection,
    shown: ShownMounts,
    freeze: Option<Freeze>,
    snapshots: Vec<Snapshots>,
    after: Option<(OsString, Keeper)>,
}

impl<'a> Session<'a> {
    /// Makes the volume stand still, as far as the plan asks for it. What was begun is ended when the session is dropped.
    pub(crate) fn begin(
        plan: &Plan,
        shown: ShownMounts,
        making: &Making<'_>,
        workshop: &'a Workshop<'a>,
    ) -> Result<Self, Error> {
        let in_use = &plan.request.in_use;
        let mut session = Self {
            workshop,
            selection: plan.selection.clone(),
            shown,
            freeze: None,
            snapshots: Vec::new(),
            after: None,
        };
        if let Some(line) = &in_use.after {
            let null = Path::new("/dev/null");
            let null = std::fs::File::open(null).map_err(Error::io("open", null))?;
            let keeper = Keeper::start(Duty::Run(line), null.into(), making.interrupted)?;
            session.after = Some((line.clone(), keeper));
        }
        if let Some(line) = &in_use.before {
            commands::run("before", line, making.interrupted)?;
        }
        match &in_use.freeze {
            Some(freezing) => session.freeze(plan, freezing, making)?,
            None if in_use.snapshots => session.take_snapshots(plan, making)?,
            None => {}
        }
        Ok(session)
    }

    fn freeze(
        &mut self,
        plan: &Plan,
        freezing: &Freezing,
        making: &Making<'_>,
    ) -> Result<(), Error> {
        let (volumes, ours) = freezing.volumes_and_ours(&plan.request, &plan.volume, &plan.mounts);
        let freeze = Freeze::new(&volumes, &ours, freezing.limit, making.interrupted)?;
        self.freeze = Some(freeze);
        (making.event)(Event::Frozen);
        Ok(())
    }

    fn take_snapshots(&mut self, plan: &Plan, making: &Making<'_>) -> Result<(), Error> {
        let take = |root: &_, place: &Path| {
            let wanted = |path: &Path| {
                let path = Path::new("/").join(place).join(path);
                plan.selection.enters(&path)
            };
            Snapshots::new(root, wanted, making.interrupted)
        };
        let view = self
            .workshop
            .show_snapshots(&plan.volume, &self.shown, take)?;
        if let Some(view) = view {
            self.selection = plan.selection.with_snapshots(&view.devices);
            self.shown = view.mounts;
            self.snapshots = view.snapshots;
            let count = self.snapshots.iter().map(Snapshots::count).sum();
            (making.event)(Event::Snapshots(count));
        }
        Ok(())
    }

    /// What is copied.
    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The mounts that are seen now.
    pub(crate) fn shown(&self) -> &ShownMounts {
        &self.shown
    }

    /// When the volume will be thawed, if it is frozen.
    pub(crate) fn frozen_until(&self) -> Option<Instant> {
        self.freeze.as_ref().map(Freeze::end)
    }

    /// Whether nothing can change.
    pub(crate) fn is_still(&self) -> bool {
        self.freeze.is_some()
    }

    /// Ends it.
    ///
    /// # Errors
    /// The first thing that went wrong: [`Error::Thawed`] if what was copied may not belong together.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.end()
    }

    /// Each step, also after an error; then there is nothing more to do.
    fn end(&mut self) -> Result<(), Error> {
        let mut results = Vec::new();
        results.extend(self.freeze.take().map(Freeze::thaw));
        if !self.snapshots.is_empty() {
            results.push(self.workshop.hide_snapshots());
        }
        results.extend(self.snapshots.drain(..).map(Snapshots::delete));
        if let Some((line, keeper)) = self.after.take() {
            // Also, and all the more, when the user wants to stop.
            results.push(commands::run("after", &line, &AtomicBool::new(false)));
            drop(keeper);
        }
        results.into_iter().collect()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            debug!(%error, "after a copy that failed");
        }
    }
}
