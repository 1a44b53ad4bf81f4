//! Concurrent work with results in order.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

/// Runs `start(0)` to `start(count - 1)`, at most `parallel` at a time, and passes each result to `done` in the order of the numbers.
///
/// When one fails, no more are started. The results of those before it are still waited for and passed on; then its error is returned,
/// and what is still running is dropped.
///
/// # Errors
/// The error with the lowest number; or the one that `done` returns.
pub async fn in_order<T, E, F>(
    count: usize,
    parallel: usize,
    start: impl Fn(usize) -> F,
    mut done: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut running = JoinSet::new();
    let mut ready = BTreeMap::new();
    let mut failed: Option<(usize, E)> = None;
    let (mut started, mut told) = (0, 0);
    loop {
        while started < count && running.len() < parallel.max(1) && failed.is_none() {
            let (index, work) = (started, start(started));
            let _ = running.spawn(async move { (index, work.await) });
            started += 1;
        }
        while let Some(value) = ready.remove(&told) {
            done(told, value)?;
            told += 1;
        }
        match failed {
            Some((index, error)) if index == told => return Err(error),
            _ => {}
        }
        match running.join_next().await {
            None => return Ok(()),
            Some(Ok((index, Ok(value)))) => {
                let _ = ready.insert(index, value);
            }
            Some(Ok((index, Err(error)))) => {
                if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                    failed = Some((index, error));
                }
            }
            Some(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Tasks are cancelled only when the runtime shuts down.
                Err(_) => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn results_come_in_order_and_never_too_many_run() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut told = Vec::new();
        let result: Result<(), ()> = run(in_order(
            20,
            4,
            |index| {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    let running = now.fetch_add(1, Ordering::Relaxed) + 1;
                    let _ = most.fetch_max(running, Ordering::Relaxed);
                    // Within a group, later ones end first.
                    for _ in 0..(20 - index) {
                        tokio::task::yield_now().await;
                    }
                    let _ = now.fetch_sub(1, Ordering::Relaxed);
                    Ok(index * 10)
                }
            },
            |index, value| {
                told.push((index, value));
                Ok(())
            },
        ));
        assert_eq!(result, Ok(()));
        assert_eq!(told, (0..20).map(|i| (i, i * 10)).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn the_first_error_in_order_is_returned_after_the_results_before_it() {
        let mut told = Vec::new();
        let result = run(in_order(
            100,
            8,
            |index| async move {
                if index < 5 {
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                }
                if index == 5 || index == 6 {
                    Err(index)
                } else {
                    Ok(())
                }
            },
            |index, ()| {
                told.push(index);
                Ok(())
            },
        ));
        assert_eq!(result, Err(5));
        assert_eq!(told, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_empty_range_succeeds() {
        assert_eq!(
            run(in_order(
                0,
                8,
                |_| async { Ok::<(), ()>(()) },
                |_, ()| Ok(())
            )),
            Ok(())
        );
    }
}
