//! Runs a pipeline on a pool of threads, in bounded memory, with the order kept.
//!
//! ```text
//! Source ──▶ Work (any number at once) ──▶ Join ──▶ Sink
//! ```
//!
//! It stands on top of rayon because rayon has no ordered, bounded bridge of its own: `par_bridge` loses the order, and an ordered
//! `collect` holds all results (rayon's issues 210 and 1250).
//!
//! Source, join and sink each run on one thread at a time and see the items in order; work runs on all threads. A task takes, of the
//! steps that can be taken, the one farthest downstream, runs it, looks for another, and ends when there is none. So memory is
//! freed as early as possible, and one thread alone does everything in turn. A task that leaves steps for others spawns
//! another task. No task waits for another: a step becomes possible only when a task ends one, and that task looks for the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use ami_pool::{Pool, Scope};
use parking_lot::Mutex;

use crate::error::Error;

/// Gives the items, in order.
pub(crate) trait Source: Send {
    type Item: Send;
    /// The next item; `None` at the end.
    fn next(&mut self) -> Result<Option<Self::Item>, Error>;
}

/// What is done to each item by itself. Every thread has its own.
pub(crate) trait Work: Send {
    type In: Send;
    type Out: Send;
    fn run(&mut self, item: Self::In) -> Result<Self::Out, Error>;
}

/// Takes the results in order and makes any number of pieces of each.
pub(crate) trait Join: Send {
    type In: Send;
    type Out: Send;
    /// Takes the next result; all pieces of the one before have been pulled.
    fn push(&mut self, item: Self::In) -> Result<(), Error>;
    /// Called once, after the last result; more pieces may be pulled then.
    fn finish(&mut self) -> Result<(), Error>;
    /// The next piece of what was pushed; `None` when there are no more.
    fn pull(&mut self) -> Result<Option<Self::Out>, Error>;
}

/// Takes the pieces in order.
pub(crate) trait Sink: Send {
    type In: Send;
    fn take(&mut self, piece: Self::In) -> Result<(), Error>;
}

/// How many pieces may wait for the sink.
const OUTBOX: usize = 8;

/// Runs the pipeline to its end. `interrupted` is looked at between any two steps.
///
/// # Errors
/// The first error of any step, or [`Error::Interrupted`]. What the other threads were doing is finished and dropped.
pub(crate) fn run<S, W, J, K>(
    pool: &Pool,
    interrupted: &AtomicBool,
    source: &mut S,
    new_work: impl Fn() -> W + Sync,
    join: &mut J,
    sink: &mut K,
) -> Result<(), Error>
where
    S: Source<Item = W::In>,
    W: Work,
    J: Join<In = W::Out>,
    K: Sink<In = J::Out>,
{
    let pipeline = Pipeline {
        threads: pool.threads().get(),
        interrupted,
        new_work,
        state: Mutex::new(State {
            window: 2 * pool.threads().get() + 4,
            tasks: 1,
            idle: Vec::new(),
            source: Some(source),
            source_ended: false,
            read: 0,
            to_do: VecDeque::new(),
            done: BTreeMap::new(),
            join: Some(join),
            pulling: Pulling::Nothing,
            joined: 0,
            outbox: VecDeque::new(),
            sink: Some(sink),
            failed: None,
        }),
    };
    pool.scope(|scope| scope.spawn(|scope| pipeline.serve(scope)));
    match pipeline.state.into_inner().failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

struct Pipeline<'a, S: Source, W: Work, J: Join, K, N> {
    threads: usize,
    interrupted: &'a AtomicBool,
    new_work: N,
    state: Mutex<State<'a, S, W, J, K>>,
}

struct State<'a, S: Source, W: Work, J: Join, K> {
    /// How many items may be read and not yet joined.
    window: usize,
    /// How many tasks there are, at most one a thread.
    tasks: usize,
    /// What no task is using.
    idle: Vec<W>,
    /// Source, join and sink are each away while a task runs them.
    source: Option<&'a mut S>,
    source_ended: bool,
    read: u64,
    to_do: VecDeque<(u64, S::Item)>,
    done: BTreeMap<u64, W::Out>,
    join: Option<&'a mut J>,
    pulling: Pulling,
    joined: u64,
    outbox: VecDeque<J::Out>,
    sink: Option<&'a mut K>,
    failed: Option<Error>,
}

/// Whose pieces the join is giving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulling {
    Nothing,
    Item,
    /// Those that come after the last item.
    End,
    Ended,
}

enum Step<'a, S: Source, W: Work, J: Join, K> {
    Sink(&'a mut K, J::Out),
    Join(&'a mut J, Feed<W::Out>),
    Work(Option<W>, u64, S::Item),
    Source(&'a mut S),
}

/// What the join is told before a piece is pulled.
enum Feed<R> {
    Nothing,
    Item(R),
    End,
}

impl<'a, S: Source, W: Work, J: Join, K> State<'a, S, W, J, K> {
    /// Takes the step farthest downstream of those that can be taken.
    fn take_step(&mut self) -> Option<Step<'a, S, W, J, K>> {
        if self.failed.is_some() {
            return None;
        }
        if self.sink_can_run() {
            return Some(Step::Sink(self.sink.take()?, self.outbox.pop_front()?));
        }
        if self.join_can_run() {
            let feed = match self.pulling {
                Pulling::Nothing => match self.done.remove(&self.joined) {
                    Some(item) => Feed::Item(item),
                    None => Feed::End,
                },
                _ => Feed::Nothing,
            };
            return Some(Step::Join(self.join.take()?, feed));
        }
        if let Some((number, item)) = self.to_do.pop_front() {
            return Some(Step::Work(self.idle.pop(), number, item));
        }
        if self.source_can_run() {
            return self.source.take().map(Step::Source);
        }
        None
    }

    fn has_step(&self) -> bool {
        self.sink_can_run()
            || self.join_can_run()
            || !self.to_do.is_empty()
            || self.source_can_run()
    }

    fn sink_can_run(&self) -> bool {
        self.sink.is_some() && !self.outbox.is_empty()
    }

    fn join_can_run(&self) -> bool {
        let has_more = match self.pulling {
            Pulling::Nothing => {
                self.done.contains_key(&self.joined)
                    || (self.source_ended && self.joined == self.read)
            }
            Pulling::Item | Pulling::End => true,
            Pulling::Ended => false,
        };
        self.join.is_some() && self.outbox.len() < OUTBOX && has_more
    }

    fn source_can_run(&self) -> bool {
        let in_flight = self.read - self.joined;
        self.source.is_some() && !self.source_ended && in_flight < self.window as u64
    }
}

impl<'a, S, W, J, K, N> Pipeline<'a, S, W, J, K, N>
where
    S: Source<Item = W::In>,
    W: Work,
    J: Join<In = W::Out>,
    K: Sink<In = J::Out>,
    N: Fn() -> W + Sync,
{
    /// What a task does.
    fn serve<'scope>(&'scope self, scope: &Scope<'_, 'scope>) {
        loop {
            let mut state = self.state.lock();
            let Some(step) = state.take_step() else {
                state.tasks -= 1;
                return;
            };
            if self.interrupted.load(Ordering::Relaxed) {
                let _ = state.failed.get_or_insert(Error::Interrupted);
                return;
            }
            let has_room = state.tasks < self.threads && state.has_step();
            state.tasks += usize::from(has_room);
            drop(state);
            if has_room {
                scope.spawn(|scope| self.serve(scope));
            }
            if let Err(error) = self.run(step) {
                // The first error is the one that is reported.
                let _ = self.state.lock().failed.get_or_insert(error);
            }
        }
    }

    fn run(&self, step: Step<'a, S, W, J, K>) -> Result<(), Error> {
        match step {
            Step::Sink(sink, piece) => {
                sink.take(piece)?;
                self.state.lock().sink = Some(sink);
            }
            Step::Join(join, feed) => {
                let fed = match feed {
                    Feed::Nothing => None,
                    Feed::Item(item) => {
                        join.push(item)?;
                        Some(Pulling::Item)
                    }
                    Feed::End => {
                        join.finish()?;
                        Some(Pulling::End)
                    }
                };
                let piece = join.pull()?;
                let mut state = self.state.lock();
                state.join = Some(join);
                state.pulling = fed.unwrap_or(state.pulling);
                match piece {
                    Some(piece) => state.outbox.push_back(piece),
                    None if state.pulling == Pulling::Item => {
                        state.pulling = Pulling::Nothing;
                        state.joined += 1;
                    }
                    None => state.pulling = Pulling::Ended,
                }
            }
            Step::Work(work, number, item) => {
                let mut work = work.unwrap_or_else(&self.new_work);
                let result = work.run(item)?;
                let mut state = self.state.lock();
                let _ = state.done.insert(number, result);
                state.idle.push(work);
            }
            Step::Source(source) => {
                let item = source.next()?;
                let mut state = self.state.lock();
                state.source = Some(source);
                match item {
                    Some(item) => {
                        let number = state.read;
                        state.to_do.push_back((number, item));
                        state.read += 1;
                    }
                    None => state.source_ended = true,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Numbers {
        next: u64,
        end: u64,
        alive: &'static AtomicUsize,
        fail_at: Option<u64>,
    }
    impl Source for Numbers {
        type Item = u64;
        fn next(&mut self) -> Result<Option<u64>, Error> {
            if self.fail_at == Some(self.next) {
                return Err(Error::Cipher {
                    reason: "source".into(),
                });
            }
            if self.next == self.end {
                return Ok(None);
            }
            let _ = self.alive.fetch_add(1, Ordering::SeqCst);
            self.next += 1;
            Ok(Some(self.next - 1))
        }
    }

    struct Square {
        panic_at: Option<u64>,
    }
    impl Work for Square {
        type In = u64;
        type Out = u64;
        fn run(&mut self, item: u64) -> Result<u64, Error> {
            assert_ne!(Some(item), self.panic_at, "told to panic");
            // Items of uneven cost, so that they overtake each other.
            let spin = if item.is_multiple_of(3) { 20_000 } else { 10 };
            for _ in 0..spin {
                let _ = std::hint::black_box(item);
            }
            Ok(item * item)
        }
    }

    /// Makes as many pieces as the item's number modulo 7: none of some.
    struct Repeat {
        alive: &'static AtomicUsize,
        most_alive: usize,
        pieces: std::iter::RepeatN<u64>,
    }
    impl Join for Repeat {
        type In = u64;
        type Out = u64;
        fn push(&mut self, item: u64) -> Result<(), Error> {
            assert_eq!(
                self.pieces.len(),
                0,
                "all pieces of the one before were pulled"
            );
            let alive = self.alive.fetch_sub(1, Ordering::SeqCst);
            self.most_alive = self.most_alive.max(alive);
            self.pieces = std::iter::repeat_n(item, (item % 7) as usize);
            Ok(())
        }
        fn finish(&mut self) -> Result<(), Error> {
            self.pieces = std::iter::repeat_n(u64::MAX, 1);
            Ok(())
        }
        fn pull(&mut self) -> Result<Option<u64>, Error> {
            Ok(self.pieces.next())
        }
    }

    #[derive(Default)]
    struct Collect {
        all: Vec<u64>,
        fail_at: Option<usize>,
    }
    impl Sink for Collect {
        type In = u64;
        fn take(&mut self, piece: u64) -> Result<(), Error> {
            if self.fail_at == Some(self.all.len()) {
                return Err(Error::Cipher {
                    reason: "sink".into(),
                });
            }
            self.all.push(piece);
            Ok(())
        }
    }

    struct Setting {
        threads: usize,
        items: u64,
        source_fails: Option<u64>,
        sink_fails: Option<usize>,
        panics: Option<u64>,
        interrupted: bool,
    }

    fn setting(threads: usize, items: u64) -> Setting {
        Setting {
            threads,
            items,
            source_fails: None,
            sink_fails: None,
            panics: None,
            interrupted: false,
        }
    }

    fn pipeline(s: Setting) -> (Result<(), Error>, Vec<u64>, usize) {
        let alive: &'static AtomicUsize = Box::leak(Box::default());
        let mut source = Numbers {
            next: 0,
            end: s.items,
            alive,
            fail_at: s.source_fails,
        };
        let mut join = Repeat {
            alive,
            most_alive: 0,
            pieces: std::iter::repeat_n(0, 0),
        };
        let mut sink = Collect {
            fail_at: s.sink_fails,
            ..Collect::default()
        };
        let interrupted = AtomicBool::new(s.interrupted);
        let result = run(
            &Pool::new(s.threads.try_into().unwrap()),
            &interrupted,
            &mut source,
            || Square { panic_at: s.panics },
            &mut join,
            &mut sink,
        );
        (result, sink.all, join.most_alive)
    }

    #[test]
    fn order_is_kept_and_memory_bounded_whatever_the_number_of_threads() {
        let expected: Vec<u64> = (0..500u64)
            .flat_map(|n| std::iter::repeat_n(n * n, (n * n % 7) as usize))
            .chain([u64::MAX])
            .collect();
        for threads in [1, 2, 3, 8, 33] {
            let (result, all, most_alive) = pipeline(setting(threads, 500));
            result.unwrap();
            assert_eq!(all, expected, "{threads} threads");
            assert!(most_alive <= 4 * threads + 8, "{most_alive} items at once");
        }
    }

    #[test]
    fn an_empty_source_still_finishes() {
        let (result, all, _) = pipeline(setting(2, 0));
        result.unwrap();
        assert_eq!(all, [u64::MAX]);
    }

    #[test]
    fn the_first_error_ends_everything_and_is_the_one_that_is_told() {
        for threads in [1, 2, 8] {
            let (result, ..) = pipeline(Setting {
                source_fails: Some(100),
                ..setting(threads, 500)
            });
            assert_eq!(
                result.unwrap_err().to_string(),
                "AES-128-CBC failed: source"
            );
            let (result, all, _) = pipeline(Setting {
                sink_fails: Some(40),
                ..setting(threads, 500)
            });
            assert_eq!(result.unwrap_err().to_string(), "AES-128-CBC failed: sink");
            assert_eq!(all.len(), 40);
        }
    }

    #[test]
    fn an_interruption_ends_it() {
        let (result, all, _) = pipeline(Setting {
            interrupted: true,
            ..setting(2, 500)
        });
        assert!(matches!(result, Err(Error::Interrupted)));
        assert!(all.is_empty());
    }

    #[test]
    fn a_panic_in_one_thread_is_seen_and_nothing_hangs() {
        for threads in [1, 4] {
            let outcome = std::panic::catch_unwind(|| {
                pipeline(Setting {
                    panics: Some(77),
                    ..setting(threads, 500)
                })
            });
            assert!(outcome.is_err());
        }
    }
}
