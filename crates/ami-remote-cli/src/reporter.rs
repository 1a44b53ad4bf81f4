//! Runs a command's story, and shows it to the user.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ami_cli::{Context, Failure, Progress};
use ami_parts::{Prepared, Staging, Waiting};
use ami_transfer::{Error, Event, Observer, Question, Stopped};

use crate::lines;
use crate::outcome::failure;
use crate::wait::{TICK, block_on};

/// Prints what happens in a story, and asks the user.
pub struct Reporter<'a> {
    context: &'a Context,
    bar: RefCell<Option<Bar>>,
    /// Where manifests of older bundles were deleted.
    gone: RefCell<Vec<String>>,
    /// Where the new manifest is, once the bundle is complete in S3.
    complete: RefCell<Option<String>>,
    /// Why the story was stopped.
    failure: RefCell<Option<Failure>>,
}

/// A progress bar, and the number of bytes that it shows.
struct Bar {
    progress: Progress,
    moved: Arc<AtomicU64>,
}

impl Reporter<'_> {
    /// Hides the bar while `print` prints.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*self.bar.borrow() {
            Some(bar) => bar.progress.suspend(print),
            None => print(),
        }
    }

    fn begin(&self, bytes: u64, files: usize, moved: Arc<AtomicU64>) {
        let progress = Progress::files(self.context, bytes, files as u64);
        progress.set_files(0);
        let _ = self.bar.replace(Some(Bar { progress, moved }));
    }

    fn end(&self) {
        drop(self.bar.take());
    }

    fn tick(&self) -> Result<(), Failure> {
        if self.context.interrupted().load(Ordering::Relaxed) {
            return Err(Failure::interrupted());
        }
        if let Some(bar) = &*self.bar.borrow() {
            bar.progress.set(bar.moved.load(Ordering::Relaxed));
        }
        Ok(())
    }

    /// Keeps a failure of the command itself, which [`run`] returns when the story has stopped.
    ///
    /// # Errors
    /// [`Stopped`] in place of the failure.
    pub fn or_stop<T>(&self, result: Result<T, Failure>) -> Result<T, Stopped> {
        result.map_err(|failure| {
            let _ = self.failure.borrow_mut().get_or_insert(failure);
            Stopped
        })
    }

    fn failure(&self, error: Error) -> Failure {
        match (error, self.failure.take()) {
            (Error::Stopped(_), Some(failure)) => failure,
            (error, _) => failure(error),
        }
    }
}

impl Observer for Reporter<'_> {
    fn tell(&self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Begin {
                bytes,
                files,
                moved,
            } => self.begin(bytes, files, moved),
            Event::Reading { bytes, moved } => {
                let progress = Progress::bytes(self.context, bytes);
                let _ = self.bar.replace(Some(Bar { progress, moved }));
            }
            Event::FilesDone(done) => {
                if let Some(bar) = &*self.bar.borrow() {
                    bar.progress.set_files(done as u64);
                }
            }
            Event::End => self.end(),
            Event::Complete { location } => {
                let _ = self.complete.replace(Some(location));
            }
            Event::OlderGoes { location } => self.gone.borrow_mut().push(location),
            event => {
                if let Event::OlderStays { location, .. } = &event {
                    self.gone.borrow_mut().retain(|gone| gone != location);
                }
                let printed = self.aside(|| lines::print(&event, self.context));
                return self.or_stop(printed);
            }
        }
        Ok(())
    }

    fn agrees(&self, question: Question<'_>) -> Result<bool, Stopped> {
        self.or_stop(lines::ask(question, self.context))
    }

    fn make(&self, prepared: Prepared) -> Result<Staging, ami_parts::Error> {
        self.context.make_swept(prepared)
    }

    fn waiting(&self) -> Waiting<'_> {
        self.context.waiting()
    }
}

/// Runs a story, then `finish`, which prints its result. An interruption drops the story at once.
///
/// # Errors
/// The story's, with its exit code; that of `finish`; an interruption.
pub fn run<T>(
    context: &Context,
    story: impl AsyncFnOnce(&Reporter<'_>) -> Result<T, Error>,
    finish: impl FnOnce(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let reporter = Reporter {
        context,
        bar: RefCell::default(),
        gone: RefCell::default(),
        complete: RefCell::default(),
        failure: RefCell::default(),
    };
    let result = block_on(async {
        let mut story = pin!(story(&reporter));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                result = &mut story => return result.map_err(|error| reporter.failure(error)),
                _ = tick.tick() => if let Err(failure) = reporter.tick() {
                    reporter.end();
                    return Err(failure);
                },
            }
        }
    });
    let result = result.and_then(finish);
    if result.is_err() {
        let complete = reporter.complete.borrow();
        lines::warn_of_bucket(complete.as_deref(), &reporter.gone.borrow(), context);
    }
    result
}
