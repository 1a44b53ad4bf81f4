//! Waiting for answers, until the person has had enough.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ami_cli::{Context, Failure, OrExit, exit};
use tokio::runtime::Builder;

/// How often it is looked whether the command was interrupted.
pub const TICK: Duration = Duration::from_millis(50);

/// TLS and digests of several transfers need some; more would wait for the network.
const MOST_WORKERS: usize = 8;

/// Runs what waits for services. What is left of it when it ends, interrupted or not, is dropped.
///
/// # Errors
/// Those of `work`; the system gives no threads.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(MOST_WORKERS))
        .enable_all()
        .build()
        .or_exit(exit::OTHER)?;
    let result = runtime.block_on(work);
    // What is dropped need not be waited for.
    runtime.shutdown_background();
    result
}

/// Waits for `work`, which is dropped where it stands when the command is interrupted.
///
/// # Errors
/// The interruption.
pub async fn unless_interrupted<T>(
    context: &Context,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return Ok(result),
            _ = tick.tick() => if context.interrupted().load(Ordering::Relaxed) {
                return Err(Failure::interrupted());
            },
        }
    }
}
