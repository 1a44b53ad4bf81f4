//! What the user sees of a story while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ami_cli::{Answer, Context, Failure, Progress, counted};
use ami_lifecycle::{DeletePlan, Error, Event, Observer, Question, Stopped, Stray, bytes_of};

use ami_remote_cli::{block_on, block_on_one_thread, ticking};

use crate::outcome::failure;

/// A bar, and what it shows.
struct Bar {
    shown: Progress,
    progress: Arc<ami_lifecycle::Progress>,
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints what happens, and asks the user.
pub struct Reporter<'a> {
    context: &'a Context,
    bar: Mutex<Option<Bar>>,
    /// Whether the same command finds again what it works on.
    stays: bool,
    /// What would be interrupted now, and how to go on with it.
    again: Mutex<Option<(String, String)>>,
    /// What could not be printed, or asked.
    failure: Mutex<Option<Failure>>,
}

impl<'a> Reporter<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            bar: Mutex::default(),
            stays: true,
            again: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// That of a story of something that is gone when the command has ended.
    pub fn of_what_goes(context: &'a Context) -> Self {
        Self {
            stays: false,
            ..Self::new(context)
        }
    }

    /// Runs a story to its end.
    pub fn run<T>(&self, story: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        self.ended(block_on(self.ticking(story)))
    }

    /// The same with [`block_on_one_thread`].
    pub fn run_on_one_thread<T>(
        &self,
        story: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        self.ended(block_on_one_thread(self.ticking(story)))
    }

    async fn ticking<T>(&self, story: impl Future<Output = T>) -> Result<T, Failure> {
        Ok(ticking(story, || self.tick()).await)
    }

    fn ended<T>(&self, result: Result<Result<T, Error>, Failure>) -> Result<T, Failure> {
        drop(locked(&self.bar).take());
        result?.map_err(|error| self.failure(error))
    }

    /// How the command ends whose story has failed.
    fn failure(&self, error: Error) -> Failure {
        if let Error::Interrupted = error
            && let Some((_, line)) = &*locked(&self.again)
        {
            self.context.warn(line);
        }
        match (error, self.kept()) {
            (Error::Stopped(_), Some(failure)) => failure,
            (error, _) => failure(error),
        }
    }

    fn tick(&self) {
        if let Some(bar) = &*locked(&self.bar) {
            let counts = bar.progress.counts();
            // What is left out is not of the work.
            let done = counts.done + counts.kept + counts.free;
            bar.shown.set(bytes_of(done));
        }
    }

    fn set_again(&self, id: &str, line: String) {
        *locked(&self.again) = Some((id.to_owned(), line));
    }

    /// The same, of something that was interrupted and then deleted.
    fn set_deleted(&self, id: &str) {
        if let Some((of, line)) = &mut *locked(&self.again)
            && of == id
        {
            *line = format!("{id} is deleted: the same command makes another.");
        }
    }

    /// Prints while the bar is out of the way.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*locked(&self.bar) {
            Some(bar) => bar.shown.suspend(print),
            None => print(),
        }
    }

    /// Fails if something could not be printed while the story ran.
    pub fn finish(&self) -> Result<(), Failure> {
        self.kept().map_or(Ok(()), Err)
    }

    fn kept(&self) -> Option<Failure> {
        locked(&self.failure).take()
    }

    /// Keeps a failure that must not end what is under way.
    fn keep<T>(&self, result: Result<T, Failure>) -> Result<T, Stopped> {
        result.map_err(|failure| {
            let _ = locked(&self.failure).get_or_insert(failure);
            Stopped
        })
    }

    /// Prints a line of the result on standard output.
    fn say(&self, line: &str) {
        // Kept until the end: the story goes on.
        let _ = self.keep(self.aside(|| self.context.say(line)));
    }

    /// Prints on standard error how far the story is; where JSON is wanted, a program reads it, which needs only the end.
    fn note(&self, line: &str) {
        if !self.context.is_json() {
            self.aside(|| self.context.warn(line));
        }
    }

    fn ask(&self, question: &str) -> Result<bool, Failure> {
        if self.context.is_json() {
            return Ok(false);
        }
        let answer = self.context.confirm(question)?;
        if answer == Answer::None {
            self.context.say("")?;
        }
        Ok(answer == Answer::Yes)
    }
}

impl Observer for Reporter<'_> {
    fn tell(&self, event: Event<'_>) {
        match event {
            Event::Warning(warning) => self.note(&format!("WARNING: {warning}")),
            Event::Snapshot {
                id,
                is_resumed,
                region,
            } => {
                self.set_again(id, match self.stays {
                    true => format!(
                        "{id} is not complete: the same command goes on with it, if what it is made of is still there. \
                         To give it up: aws ec2 delete-snapshot --region {region} --snapshot-id {id}"
                    ),
                    false => format!(
                        "{id} is not complete, and nothing can go on with it: ec2-ami clean deletes it."
                    ),
                });
                if is_resumed {
                    self.note(&format!("Going on with {id} of an interrupted run."));
                }
                self.say(id);
            }
            Event::Abandoned { id } => {
                self.note(&format!(
                    "{id} of an interrupted run cannot be gone on with: another is made, and it is deleted."
                ));
            }
            Event::Fetching { id, region } => {
                self.set_again(id, format!(
                    "What has come of {id} is kept beside the file: the same command goes on with it."
                ));
                self.note(&format!("Fetching {id} from {region} ..."));
            }
            Event::Verifying { id } => self.note(&format!("Reading {id} back ...")),
            Event::Begin { blocks, progress } => {
                let shown = Progress::bytes(self.context, bytes_of(blocks));
                let progress = progress.clone();
                *locked(&self.bar) = Some(Bar { shown, progress });
            }
            Event::End => drop(locked(&self.bar).take()),
            Event::Image { id, is_new, .. } => {
                if !is_new {
                    self.note(&format!("{id} is there already: an earlier run made it."));
                }
                if self.stays {
                    self.set_again(id, format!("{id} is made: the same command does the rest."));
                }
                self.say(id);
            }
            Event::Waiting { until, id, region } => {
                // It is the service's now, and nothing is lost by an interruption.
                self.set_again(id, match (self.stays, until) {
                    (true, _) => format!("{id} becomes {until} by itself: the same command does the rest."),
                    (false, "completed") => format!(
                        "{id} becomes {until} by itself: ec2-ami create {id} does the rest, given the other options again."
                    ),
                    (false, _) => format!("{id} becomes {until} by itself."),
                });
                self.note(&format!("Waiting until {id} in {region} is {until} ..."));
            }
            Event::Copy { id, region } => self.say(&format!("{id} {region}")),
            Event::Deregistered { id } => self.say(&format!("Deregistered {id}")),
            Event::Deleted { id } => {
                self.set_deleted(id);
                self.say(&format!("Deleted {id}"));
            }
            Event::Kept { id, reason } => self.note(&format!("{id} stays: {reason}.")),
            Event::Unfinished(unfinished) => {
                let line = self.context.explained(&unfinished.error);
                self.note(&format!("WARNING: {line}"));
            }
            _ => {}
        }
    }

    fn agrees(&self, question: Question<'_>) -> Result<bool, Stopped> {
        let agreed = match question {
            Question::Delete(plan) => {
                let shown = show_delete(plan, self.context);
                shown.and_then(|()| self.ask("Delete all of this? [y/N] "))
            }
            Question::Clean(strays) => {
                let shown = show_strays(strays, self.context);
                shown.and_then(|()| self.ask("Delete these? [y/N] "))
            }
            _ => Ok(false),
        };
        self.keep(agreed)
    }
}

/// What goes with an AMI, and what stays.
pub fn show_delete(plan: &DeletePlan, context: &Context) -> Result<(), Failure> {
    let name = plan.name.as_deref().unwrap_or("without a name");
    context.say(&format!("{} ({name}) in {}", plan.image, plan.region))?;
    for snapshot in &plan.snapshots {
        context.say(&format!("  {snapshot} goes with it"))?;
    }
    for (snapshot, reason) in &plan.kept {
        context.say(&format!("  {snapshot} stays: {reason}"))?;
    }
    Ok(())
}

/// What runs have left.
pub fn show_strays(strays: &[Stray], context: &Context) -> Result<(), Failure> {
    let count = counted(strays.len() as u64, "snapshot", "snapshots");
    context.say(&format!("{count} left by runs that did not end well:"))?;
    for stray in strays {
        let size = stray.volume_size.map(|gib| format!(", {gib} GiB"));
        let begun = stray.begun.as_deref().unwrap_or("at an unknown time");
        let about = stray.description.as_deref().unwrap_or_default();
        let line = format!(
            "  {} {}, begun {begun}{} {about}",
            stray.snapshot,
            stray.status,
            size.unwrap_or_default()
        );
        context.say(line.trim_end())?;
    }
    Ok(())
}
