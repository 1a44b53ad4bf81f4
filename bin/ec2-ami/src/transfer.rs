//! The stories of `ami-transfer`: how they are shown, and how they end the command.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ami_cli::{Context, Failure, Progress};
use ami_remote_cli::{block_on, ticking, warn, warn_of_bucket};
use ami_transfer::{Error, Event, Observer, Question, Stopped};

use crate::bundle_outcome::failure;

/// Shows what happens. It never stops a story, which has to clean up when it is interrupted.
pub struct Teller<'a> {
    context: &'a Context,
    bar: RefCell<Option<(Progress, Arc<AtomicU64>)>>,
    /// Where manifests of older bundles were deleted.
    gone: RefCell<Vec<String>>,
    /// Where the manifest is, once the bundle is complete.
    complete: RefCell<Option<String>>,
}

impl<'a> Teller<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            bar: RefCell::default(),
            gone: RefCell::default(),
            complete: RefCell::default(),
        }
    }

    /// Runs a story to its end.
    pub fn run<T>(&self, story: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let result = block_on(async {
            let ended = ticking(story, || self.tick()).await;
            ended.map_err(failure)
        });
        drop(self.bar.take());
        if result.is_err() {
            let complete = self.complete.borrow();
            warn_of_bucket(complete.as_deref(), &self.gone.borrow(), self.context);
        }
        result
    }

    fn tick(&self) {
        if let Some((shown, done)) = &*self.bar.borrow() {
            shown.set(done.load(Ordering::Relaxed));
        }
    }

    /// Prints while the bar is out of the way.
    fn aside(&self, print: impl FnOnce()) {
        match &*self.bar.borrow() {
            Some((shown, _)) => shown.suspend(print),
            None => print(),
        }
    }

    /// Where JSON is wanted, a program reads it, which needs only the end.
    fn note(&self, line: &str) {
        if !self.context.is_json() {
            self.aside(|| self.context.warn(line));
        }
    }
}

impl Observer for Teller<'_> {
    fn tell(&self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Retrying { reason, .. } => self.note(&format!("{reason}: trying again ...")),
            Event::CreatingBucket => self.note("Creating the bucket ..."),
            Event::Bundling { bytes, read } => {
                let shown = Progress::bytes(self.context, bytes);
                let _ = self.bar.replace(Some((shown, read)));
            }
            Event::End => drop(self.bar.take()),
            Event::Complete { location } => {
                let _ = self.complete.replace(Some(location));
            }
            Event::OlderGoes { location } => self.gone.borrow_mut().push(location),
            event => {
                if let Event::OlderStays { location, .. } = &event {
                    self.gone.borrow_mut().retain(|gone| gone != location);
                }
                self.aside(|| warn(&event, self.context));
            }
        }
        Ok(())
    }

    fn agrees(&self, _: Question<'_>) -> Result<bool, Stopped> {
        Ok(false)
    }
}
