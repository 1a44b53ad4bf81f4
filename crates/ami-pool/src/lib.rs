//! The process's one pool of threads: a rayon pool that `--threads` sizes.
//!
//! It differs from a plain `rayon::ThreadPool` in three ways:
//!
//! - If the system refuses threads (`ulimit -u`, a container's limit), the pool has fewer. If it refuses all, the calling thread does
//!   the work.
//! - The caller decides when and on which thread the pool is made: its threads share that thread's mount namespace.
//! - Dropping the pool waits for its threads to end. A thread that outlived it would keep a mount namespace alive.
//!
//! [`Buffers`] is the memory that passes between its threads, used again; [`return_large_memory`] keeps heaps from holding what is not.
//!
//! Not here: what the work is. Tasks must not wait for each other, because the pool may have a single thread.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! let pool = ami_pool::Pool::new(std::thread::available_parallelism()?);
//! let lengths = pool.map(&["one", "three"], &AtomicBool::new(false), |text| text.len());
//! assert_eq!(lengths, Some(vec![3, 5]));
//! # Ok::<(), std::io::Error>(())
//! ```

mod buffers;
mod heap;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

pub use buffers::{Buffer, Buffers};
pub use heap::return_large_memory;

/// Threads that share work.
#[derive(Debug)]
pub struct Pool {
    /// `None` if the system gives no threads: the calling thread does the work.
    rayon: Option<ThreadPool>,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts this many threads, or as many as the system gives.
    pub fn new(threads: NonZeroUsize) -> Self {
        // rayon starts all the threads of a pool or fails. So the threads are started here, and wait until the pool is made.
        let mut workers: Vec<mpsc::Sender<ThreadBuilder>> = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..threads.get() {
            let (sender, receiver) = mpsc::channel::<ThreadBuilder>();
            let serve = move || {
                if let Ok(worker) = receiver.recv() {
                    worker.run();
                }
            };
            match thread::Builder::new().spawn(serve) {
                Ok(handle) => {
                    workers.push(sender);
                    handles.push(handle);
                }
                Err(_) => break,
            }
        }
        let rayon = if workers.is_empty() {
            None
        } else {
            ThreadPoolBuilder::new()
                .num_threads(workers.len())
                .spawn_handler(move |worker| {
                    let refused = || std::io::Error::other("no thread is left");
                    let thread = workers.pop().ok_or_else(refused)?;
                    thread.send(worker).map_err(|_| refused())
                })
                .build()
                .ok()
        };
        Self { rayon, handles }
    }

    /// The number of threads, at least 1: the calling thread if the system gives no others.
    pub fn threads(&self) -> NonZeroUsize {
        let threads = self
            .rayon
            .as_ref()
            .map_or(1, ThreadPool::current_num_threads);
        NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
    }

    /// Runs `body` on the calling thread, then waits until all tasks that it and they have spawned are done.
    ///
    /// A panic in a task is passed on when all tasks are done.
    pub fn scope<'scope, R>(&self, body: impl FnOnce(&Scope<'_, 'scope>) -> R) -> R {
        match &self.rayon {
            Some(pool) => pool.in_place_scope(|scope| body(&Scope(Tasks::Pool(scope)))),
            None => {
                let waiting = RefCell::new(Vec::new());
                let scope = Scope(Tasks::Here(&waiting));
                let result = body(&scope);
                loop {
                    let task = waiting.borrow_mut().pop();
                    match task {
                        Some(task) => task(&scope),
                        None => return result,
                    }
                }
            }
        }
    }

    /// Applies `work` to each item on all threads, and returns the results in the items' order. `None` if `interrupted` was set meanwhile:
    /// items that were begun are finished, the others are not begun.
    pub fn map<T: Sync, R: Send>(
        &self,
        items: &[T],
        interrupted: &AtomicBool,
        work: impl Fn(&T) -> R + Sync,
    ) -> Option<Vec<R>> {
        let unless_interrupted =
            |item: &T| (!interrupted.load(Ordering::Relaxed)).then(|| work(item));
        let results: Option<Vec<R>> = match &self.rayon {
            Some(pool) => pool.install(|| {
                let items = items.par_iter().with_max_len(1);
                items.map(unless_interrupted).collect()
            }),
            None => items.iter().map(unless_interrupted).collect(),
        };
        results.filter(|_| !interrupted.load(Ordering::Relaxed))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Only tells the threads to end; joining waits for them.
        drop(self.rayon.take());
        for handle in self.handles.drain(..) {
            // Panics of tasks are passed on by `scope` and `map`; the threads themselves do not panic.
            let _ = handle.join();
        }
    }
}

/// Spawns tasks; see [`Pool::scope`].
pub struct Scope<'s, 'scope>(Tasks<'s, 'scope>);

type Task<'scope> = Box<dyn FnOnce(&Scope<'_, 'scope>) + Send + 'scope>;

enum Tasks<'s, 'scope> {
    Pool(&'s rayon::Scope<'scope>),
    Here(&'s RefCell<Vec<Task<'scope>>>),
}

impl<'scope> Scope<'_, 'scope> {
    /// Queues a task for any thread of the pool. A thread takes the last task that it spawned first.
    pub fn spawn(&self, task: impl FnOnce(&Scope<'_, 'scope>) + Send + 'scope) {
        match self.0 {
            Tasks::Pool(scope) => scope.spawn(|scope| task(&Scope(Tasks::Pool(scope)))),
            Tasks::Here(waiting) => waiting.borrow_mut().push(Box::new(task)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A pool of this many threads; for 0, of the calling thread alone.
    fn pool(threads: usize) -> Pool {
        match NonZeroUsize::new(threads) {
            Some(threads) => Pool::new(threads),
            None => Pool {
                rayon: None,
                handles: Vec::new(),
            },
        }
    }

    #[test]
    fn it_has_the_threads_that_it_was_told() {
        for threads in [1, 2, 5] {
            assert_eq!(pool(threads).threads().get(), threads);
        }
        assert_eq!(pool(0).threads().get(), 1);
    }

    #[test]
    fn a_map_keeps_the_order() {
        let items: Vec<usize> = (0..1000).collect();
        let expected: Vec<usize> = items.iter().map(|n| n * n).collect();
        for threads in [0, 1, 2, 8] {
            let squares = pool(threads).map(&items, &AtomicBool::new(false), |n| n * n);
            assert_eq!(squares.as_ref(), Some(&expected), "{threads} threads");
        }
    }

    #[test]
    fn an_interrupted_map_begins_nothing_more() {
        let items = [(); 1000];
        for threads in [0, 1, 3] {
            let (interrupted, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
            let results = pool(threads).map(&items, &interrupted, |()| {
                let _ = begun.fetch_add(1, Ordering::SeqCst);
                interrupted.store(true, Ordering::SeqCst);
            });
            assert_eq!(results, None);
            let begun = begun.into_inner();
            assert!(
                (1..=threads.max(1)).contains(&begun),
                "{begun} of {threads}"
            );
            assert_eq!(pool(threads).map(&items, &interrupted, |()| ()), None);
        }
    }

    #[test]
    fn a_scope_waits_for_tasks_of_tasks() {
        fn count<'scope>(scope: &Scope<'_, 'scope>, depth: u32, done: &'scope AtomicUsize) {
            if depth > 0 {
                scope.spawn(move |scope| count(scope, depth - 1, done));
                scope.spawn(move |scope| count(scope, depth - 1, done));
            }
            let _ = done.fetch_add(1, Ordering::SeqCst);
        }
        for threads in [0, 1, 2, 8] {
            let done = AtomicUsize::new(0);
            pool(threads).scope(|scope| count(scope, 8, &done));
            assert_eq!(done.into_inner(), 511, "{threads} threads");
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_goes_on() {
        for threads in [0, 1, 3] {
            let pool = pool(threads);
            let run = |tasks: usize, panics: usize| {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    pool.scope(|scope| {
                        for task in 0..tasks {
                            scope.spawn(move |_| assert_ne!(task, panics, "told to panic"));
                        }
                    });
                }))
            };
            assert!(run(10, 7).is_err(), "{threads} threads");
            assert!(run(10, 10).is_ok(), "{threads} threads");
        }
    }

    /// Counts the threads that have ended.
    struct Ends<'a>(&'a AtomicUsize);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            let _ = self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn its_threads_have_ended_when_it_is_dropped() {
        static MET: AtomicUsize = AtomicUsize::new(0);
        static ENDED: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static ENDS: Ends<'static> = {
                let _ = MET.fetch_add(1, Ordering::SeqCst);
                Ends(&ENDED)
            };
        }
        let pool = pool(4);
        pool.scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|_| ENDS.with(|_| ()));
            }
        });
        let met = MET.load(Ordering::SeqCst);
        assert!((1..=4).contains(&met), "{met}");
        assert_eq!(ENDED.load(Ordering::SeqCst), 0);
        drop(pool);
        assert_eq!(ENDED.load(Ordering::SeqCst), met);
    }
}
