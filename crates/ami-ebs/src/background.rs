//! Work that keeps a thread busy beside a story.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{JoinError, JoinSet};

use crate::error::Error;

/// Raises its flag when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs what keeps a thread busy. Its flag is raised when the story is dropped.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, Error> {
    let stop = StopOnDrop::default();
    let flag = stop.flag();
    joined(tokio::task::spawn_blocking(move || work(&flag)).await)
}

/// A task's result; its panic is passed on.
pub(crate) fn joined<T>(ended: Result<T, JoinError>) -> Result<T, Error> {
    ended.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The runtime is about to end.
        Err(_) => Error::Interrupted,
    })
}

/// Tasks that run at once, up to a limit. When one fails, all end.
#[derive(Debug)]
pub(crate) struct Crowd {
    running: JoinSet<Result<(), Error>>,
    most: usize,
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            running: JoinSet::new(),
            most: most.max(1),
        }
    }

    /// Waits for `work`, and for room beside it; fails with the first task that does.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        let mut done = None;
        loop {
            if self.running.len() < self.most
                && let Some(value) = done.take()
            {
                return Ok(value);
            }
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next() => self.check(ended).await?,
                value = &mut work, if done.is_none() => done = Some(value),
            }
        }
    }

    /// Begins another task.
    pub(crate) fn add(&mut self, work: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let _ = self.running.spawn(work);
    }

    /// Waits for all.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        while let Some(ended) = self.running.join_next().await {
            self.check(ended).await?;
        }
        Ok(())
    }

    async fn check(&mut self, ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
        let result = joined(ended).and_then(|result| result);
        if result.is_err() {
            self.running.shutdown().await;
        }
        result
    }
}
