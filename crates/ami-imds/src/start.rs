//! Starting tokio and its threads where resources are limited.

use std::io;
use std::panic::{self, AssertUnwindSafe};

/// The runtime could not be started. Tokio's panics give no reason.
#[derive(Debug, thiserror::Error)]
#[error(
    "the network cannot be used: the limit of open files, of processes or of memory is too low (ulimit -n, ulimit -u, or that of the \
     container)"
)]
struct TooLittle(#[source] Option<io::Error>);

/// Runs `start`, which starts a runtime or a thread of one, and turns its panic into an error: tokio panics if it gets no descriptors or
/// threads.
///
/// # Errors
/// That of `start`, or such a panic.
pub fn start<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let started = panic::catch_unwind(AssertUnwindSafe(start));
    panic::set_hook(hook);
    let cause = match started {
        Ok(Ok(started)) => return Ok(started),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    Err(io::Error::other(TooLittle(cause)))
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io;

    use super::start;

    #[test]
    fn a_panic_is_an_error_and_so_is_an_error() {
        assert_eq!(start(|| Ok(7)).unwrap(), 7);
        let panic = start(|| -> io::Result<()> { panic!("no more threads") }).unwrap_err();
        assert!(panic.to_string().starts_with("the network cannot be used"));
        assert!(panic.source().is_none());
        let error = start(|| -> io::Result<()> { Err(io::Error::other("no more files")) });
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), panic.to_string());
        assert_eq!(error.source().unwrap().to_string(), "no more files");
    }
}
