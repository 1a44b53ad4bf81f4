//! Work that keeps a thread busy beside a story.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinError;

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
