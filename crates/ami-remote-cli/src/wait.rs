//! The runtime in which a story waits for AWS.

use std::io;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ami_cli::{Failure, OrExit, exit};
use tokio::runtime::{Builder, Runtime};

/// How often a running story is checked for interruption, and its bar moved.
pub const TICK: Duration = Duration::from_millis(50);

/// TLS and digests of several transfers need some workers; more would only wait for the network.
const MOST_WORKERS: usize = 8;

/// How long the threads that resolve names and sync files are kept: longer than any run. Where threads are scarce, a thread that has
/// ended might not be replaced.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a runtime's threads may take to start.
const LONGEST_START: Duration = Duration::from_secs(2);

/// How long to wait for ending threads, and how many times. They have no work left.
const MOMENT: Duration = Duration::from_millis(1);
const MOST_MOMENTS: u32 = 10_000;

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start a thread: the limit of processes and threads is too low (ulimit -u, or that of the container)"
)]
struct NoThreads(#[source] io::Error);

/// Runs a future that waits for services. When it ends, interrupted or not, its remaining tasks are dropped.
///
/// # Errors
/// That of `work`; the system gives no threads.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    wait_in(runtime()?, work)
}

/// The same on this thread alone, for work that a core can do all of, as it hashes elsewhere: it need not wake others then, which takes a
/// twentieth of the processor time of sending blocks.
///
/// # Errors
/// Those of [`block_on`].
pub fn block_on_one_thread<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    wait_in(with_one_thread()?, work)
}

fn wait_in<T>(
    runtime: Runtime,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let result = runtime.block_on(work);
    // Does not wait for blocking tasks.
    runtime.shutdown_background();
    result
}

/// Waits for `work`, and calls `tick` every now and then meanwhile.
pub async fn ticking<T>(work: impl Future<Output = T>, tick: impl Fn()) -> T {
    let mut work = pin!(work);
    let mut interval = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            _ = interval.tick() => tick(),
        }
    }
}

/// A runtime with workers on all cores or, if the system does not give that many threads, on this thread alone. Either way there is one
/// more thread, for blocking work (names and disks). It is started in advance, because tokio panics if it cannot start one.
fn runtime() -> Result<Runtime, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = cores.min(MOST_WORKERS);
    let before = threads();
    // One for blocking work, and one that starts the others.
    let wanted = workers + 2;
    let available = available_threads(wanted);
    wait_for(before);
    let available = available.map_err(|error| Failure::new(exit::OTHER, NoThreads(error)))?;
    if available == wanted
        // Another process may have taken the threads since.
        && let Ok(runtime) = ami_imds::start(|| with_workers(workers))
    {
        return Ok(runtime);
    }
    with_one_thread()
}

/// A runtime on this thread, with one more for blocking work.
fn with_one_thread() -> Result<Runtime, Failure> {
    ami_imds::start(|| build(&mut Builder::new_current_thread())).or_exit(exit::OTHER)
}

/// Starts the runtime on a thread of its own: if tokio gets only some of its workers, it panics, and then waits endlessly for those.
fn with_workers(count: usize) -> io::Result<Runtime> {
    let (tell, told) = mpsc::channel();
    let start = move || tell.send(build(Builder::new_multi_thread().worker_threads(count)));
    let _ = thread::Builder::new().spawn(start)?;
    told.recv_timeout(LONGEST_START).map_err(io::Error::other)?
}

/// A runtime with the thread for blocking work. Without one, tokio would queue blocking work for a free thread, possibly endlessly.
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

/// Waits until there are at most `count` threads. Joined threads still count for a moment.
fn wait_for(count: Option<usize>) {
    for _ in 0..MOST_MOMENTS {
        if threads() <= count {
            return;
        }
        thread::sleep(MOMENT);
    }
}

/// How many of `wanted` threads the system gives, at least one.
fn available_threads(wanted: usize) -> io::Result<usize> {
    let end = Mutex::new(());
    thread::scope(|scope| {
        // Holds all threads until it is dropped, so that they exist at the same time.
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
