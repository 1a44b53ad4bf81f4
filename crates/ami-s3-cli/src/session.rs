//! A command's time with S3.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ami_aws_cli::{TICK, block_on, unless_interrupted};
use ami_cli::{Context, Failure, Progress, exit};
use ami_s3::{Connection, Error, Event, Settings};

/// The connection, and the way to the person.
pub struct Session<'a> {
    /// To S3.
    pub connection: Connection,
    /// To the person; [`say`](Self::say) is for status lines.
    pub context: &'a Context,
    moved: Arc<AtomicU64>,
    progress: RefCell<Option<Progress>>,
    /// Where manifests of older bundles went; to be known if the story does not end well.
    gone: RefCell<Vec<String>>,
    /// Where the new manifest is, when the bundle is whole; likewise.
    complete: RefCell<Option<String>>,
}

impl Session<'_> {
    /// Prints a status line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn say(&self, line: &str) -> Result<(), Failure> {
        self.aside(|| self.context.say(line))
    }

    /// Prints a warning.
    pub fn warn(&self, line: &str) {
        self.aside(|| self.context.warn(line));
    }

    /// The bundle is whole in S3, with its manifest at `location`: whatever fails from now on, that is so.
    pub fn set_complete(&self, location: &str) {
        let _ = self.complete.replace(Some(location.to_owned()));
    }

    /// Shows a bar of so many bytes of so many files from now on.
    pub fn begin(&self, bytes: u64, files: usize) {
        let progress = Progress::files(self.context, bytes, files as u64);
        progress.set_files(0);
        let _ = self.progress.replace(Some(progress));
    }

    /// Notes how many files are done.
    pub fn set_files(&self, done: usize) {
        if let Some(progress) = &*self.progress.borrow() {
            progress.set_files(done as u64);
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        drop(self.progress.take());
    }

    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*self.progress.borrow() {
            Some(progress) => progress.suspend(print),
            None => print(),
        }
    }

    fn tell(&self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Retrying { reason } => {
                self.warn(&reason);
                // The older suite's words, which scripts may read. It did not wait either.
                self.say("Retrying in 5s ...")?;
            }
            Event::OlderGoes { location } => self.gone.borrow_mut().push(location),
            Event::OlderStays { location, reason } => {
                self.gone.borrow_mut().retain(|gone| *gone != location);
                self.warn(&format!(
                    "The manifest {location}, if there is an older one, stays beside parts that are not its own until this command \
                     has ended well: {reason}"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Says in which state the bucket is after a story that has not ended well.
    fn tell_of_bucket(&self) {
        if let Some(location) = &*self.complete.borrow() {
            self.warn(&format!(
                "The bundle is complete in S3, with its manifest at {location}."
            ));
            return;
        }
        for location in self.gone.borrow().iter() {
            self.warn(&format!(
                "The manifest {location} of an older bundle is deleted, or about to be, because its parts are replaced; a bundle is \
                 there again when this command has ended well."
            ));
        }
    }

    fn tick(&self) -> Result<(), Failure> {
        if self.context.interrupted().load(Ordering::Relaxed) {
            return Err(Failure::interrupted());
        }
        if let Some(progress) = &*self.progress.borrow() {
            progress.set(self.moved.load(Ordering::Relaxed));
        }
        Ok(())
    }
}

/// Connects, runs the story, and meanwhile tells of retries, moves the bar and watches for interruption, which drops the story
/// where it stands.
///
/// # Errors
/// The story's; that of connecting; an interruption.
pub fn talk(
    settings: &Settings,
    context: &Context,
    story: impl AsyncFnOnce(&Session<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async {
        let opened = unless_interrupted(context, Connection::open(settings)).await?;
        let (connection, mut events) = opened.map_err(failure)?;
        let session = Session {
            moved: connection.bytes_moved(),
            connection,
            context,
            progress: RefCell::default(),
            gone: RefCell::default(),
            complete: RefCell::default(),
        };
        let result = {
            let mut story = pin!(story(&session));
            let mut tick = tokio::time::interval(TICK);
            loop {
                let meanwhile = tokio::select! {
                    biased;
                    Some(event) = events.recv() => session.tell(event),
                    result = &mut story => break result,
                    _ = tick.tick() => session.tick(),
                };
                if let Err(failure) = meanwhile {
                    break Err(failure);
                }
            }
        };
        session.end();
        let mut told = Ok(());
        while let Ok(event) = events.try_recv() {
            told = told.and(session.tell(event));
        }
        let result = result.and(told);
        if result.is_err() {
            session.tell_of_bucket();
        }
        result
    })
}

/// The exit code of an error of S3, and its line.
pub fn failure(error: Error) -> Failure {
    match error {
        Error::Aws(error) => ami_aws_cli::failure(error),
        Error::Service { .. }
        | Error::Network { .. }
        | Error::Content { .. }
        | Error::TooLong { .. } => Failure::new(exit::SERVICE, error),
        Error::Location { .. } => Failure::new(exit::LOCATION, error),
        error => Failure::new(exit::OTHER, error),
    }
}
