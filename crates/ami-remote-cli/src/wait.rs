//! The runtime in which a story waits for AWS.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ami_cli::{Failure, OrExit, exit};
use tokio::runtime::{Builder, Runtime};

/// How often a running story is checked for interruption, and its bar moved.
pub const TICK: Duration = Duration::from_millis(50);

/// TLS and digests of several transfers need some; more would wait for the network.
const MOST_WORKERS: usize = 8;

/// How long threads are kept that resolve names and sync files: longer than any run. Where others take what threads there are, there
/// might be none again.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a runtime's threads may take to be there.
const LONGEST_START: Duration = Duration::from_secs(2);

/// How long it is waited for threads that are ending, and how many times. They have nothing more to do.
const MOMENT: Duration = Duration::from_millis(1);
const MOST_MOMENTS: u32 = 10_000;

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start a thread: the limit of processes and threads is too low (ulimit -u, or that of the container)"
)]
struct NoThreads(#[source] io::Error);

/// Runs what waits for services. What is left of it when it ends, interrupted or not, is dropped.
///
/// # Errors
/// Those of `work`; the system gives no threads.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    // What is dropped need not be waited for.
    runtime.shutdown_background();
    result
}

/// With workers on all cores; where there are not so many threads to be had, all work is done on this one. Either way there is one
/// more, which waits for names and disks: tokio, which panics where it gets none, has it from the beginning.
fn runtime() -> Result<Runtime, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = cores.min(MOST_WORKERS);
    let before = threads();
    // One for waiting, and one that starts the others.
    let wanted = workers + 2;
    let to_be_had = threads_to_be_had(wanted);
    wait_for(before);
    let to_be_had = to_be_had.map_err(|error| Failure::new(exit::OTHER, NoThreads(error)))?;
    if to_be_had == wanted
        // Somebody else may have taken them since.
        && let Ok(runtime) = ami_imds::start(|| with_workers(workers))
    {
        return Ok(runtime);
    }
    ami_imds::start(|| build(&mut Builder::new_current_thread())).or_exit(exit::OTHER)
}

/// Starts on a thread of its own: where tokio gets some workers and not all, it panics, and then waits for ever for those it has.
fn with_workers(count: usize) -> io::Result<Runtime> {
    let (tell, told) = mpsc::channel();
    let start = move || tell.send(build(Builder::new_multi_thread().worker_threads(count)));
    let _ = thread::Builder::new().spawn(start)?;
    told.recv_timeout(LONGEST_START).map_err(io::Error::other)?
}

/// A runtime with the thread that waits. What tokio gets no thread for it keeps for one that is free, which may be never.
fn build(builder: &mut Builder) -> io::Result<Runtime> {
    let runtime = builder.thread_keep_alive(KEPT).enable_all().build()?;
    let waiting = async {
        let first = tokio::task::spawn_blocking(|| {});
        tokio::time::timeout(LONGEST_START, first).await
    };
    match runtime.block_on(waiting) {
        Ok(ended) => ended.map(|()| runtime).map_err(io::Error::from),
        Err(late) => {
            runtime.shutdown_background();
            Err(late.into())
        }
    }
}

/// The threads of this process; `None` without /proc.
fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// Waits until there are no more threads than so many. Those that have been joined still count for a moment.
fn wait_for(count: Option<usize>) {
    for _ in 0..MOST_MOMENTS {
        if threads() <= count {
            return;
        }
        thread::sleep(MOMENT);
    }
}

/// How many of so many threads the system gives, at least one.
fn threads_to_be_had(wanted: usize) -> io::Result<usize> {
    let end = Mutex::new(());
    thread::scope(|scope| {
        // All are there at once until it is let go.
        let held = end.lock();
        let wait = || drop(end.lock());
        for had in 0..wanted {
            match thread::Builder::new().spawn_scoped(scope, wait) {
                Err(error) if had == 0 => return Err(error),
                Err(_) => return Ok(had),
                Ok(_) => {}
            }
        }
        drop(held);
        Ok(wanted)
    })
}
