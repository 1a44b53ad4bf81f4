//! A story's connection to S3, and how events of its tasks reach the observer.

use std::future::pending;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ami_s3::{Connection, Settings};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinError;

use crate::error::Error;
use crate::observer::{Event, Observer, Stopped};

/// A story's connection to S3.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// For background tasks: an event that is sent here reaches the observer even if the story is dropped.
    pub(crate) events: UnboundedSender<Event>,
}

impl Link {
    /// The event that a stream of this many bytes is read.
    pub(crate) fn begin_bytes(&self, bytes: u64) -> Event {
        Event::Reading {
            bytes,
            moved: self.connection.bytes_moved(),
        }
    }

    /// The event that the transfer of this many bytes in this many files begins.
    pub(crate) fn begin(&self, bytes: u64, files: usize) -> Event {
        Event::Begin {
            bytes,
            files,
            moved: self.connection.bytes_moved(),
        }
    }
}

/// Connects and runs a story, and passes the events of its tasks and of the connection to the observer.
pub(crate) async fn connected<T>(
    settings: &Settings,
    observer: &impl Observer,
    story: impl AsyncFnOnce(&Link) -> Result<T, Error>,
) -> Result<T, Error> {
    let (connection, retries) = Connection::open(settings).await?;
    let (events, noted) = unbounded_channel();
    let mut relay = Relay {
        retries,
        noted,
        observer,
    };
    let result = {
        let link = Link { connection, events };
        let mut story = pin!(story(&link));
        loop {
            tokio::select! {
                biased;
                event = relay.next() => observer.tell(event)?,
                result = &mut story => break result,
            }
        }
    };
    let told = relay.tell_rest();
    let result = result?;
    told?;
    Ok(result)
}

/// Events that have not reached the observer yet.
struct Relay<'a, O: Observer> {
    retries: UnboundedReceiver<ami_s3::Event>,
    noted: UnboundedReceiver<Event>,
    observer: &'a O,
}

impl<O: Observer> Relay<'_, O> {
    async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            Some(event) = self.retries.recv() => event.into(),
            Some(event) = self.noted.recv() => event,
            else => pending().await,
        }
    }

    fn tell_rest(&mut self) -> Result<(), Stopped> {
        let mut told = Ok(());
        while let Ok(event) = self.retries.try_recv() {
            told = told.and(self.observer.tell(event.into()));
        }
        while let Ok(event) = self.noted.try_recv() {
            told = told.and(self.observer.tell(event));
        }
        told
    }
}

impl<O: Observer> Drop for Relay<'_, O> {
    fn drop(&mut self) {
        // The observer must learn what a dropped story did. Its answer no longer matters.
        let _ = self.tell_rest();
    }
}

impl From<ami_s3::Event> for Event {
    fn from(event: ami_s3::Event) -> Self {
        match event {
            ami_s3::Event::Retrying { reason, wait } => Self::Retrying { reason, wait },
        }
    }
}

/// Runs blocking work on a thread of its own. The flag passed to it is set if the story is dropped.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, Error> {
    let raise = RaiseOnDrop(Arc::default());
    let flag = raise.0.clone();
    joined(tokio::task::spawn_blocking(move || work(&flag)).await)
}

/// A task's result; its panic is passed on.
pub(crate) fn joined<T>(ended: Result<T, JoinError>) -> Result<T, Error> {
    ended.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The runtime is shutting down.
        Err(_) => Error::Interrupted,
    })
}

struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
