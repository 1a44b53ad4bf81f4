//! Runs a pipeline on a fixed number of threads, in bounded memory, with the order kept.
//!
//! ```text
//! Source ──▶ Work (any number at once) ──▶ Join ──▶ Sink
//! ```
//!
//! Source, join and sink each run on one thread at a time and see the items in order; work runs on all. Every thread is alike: it
//! takes, of the steps that can be taken, the one farthest downstream. So the threads are all busy while there is work for
//! them, what is in memory leaves it as soon as it can, and one thread alone does everything in turn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::Error;

/// Gives the items, in order.
pub(crate) trait Source: Send {
    type Item: Send;
    /// The next item; `None` at the end.
    fn next(&mut self) -> Result<Option<Self::Item>, Error>;
}

/// What is done to each item by itself. Every thread has its own.
pub(crate) trait Work {
    type In: Send;
    type Out: Send;
    fn run(&mut self, item: Self::In) -> Result<Self::Out, Error>;
}

/// Takes the results in order and emits any number of pieces for each.
pub(crate) trait Join: Send {
    type In: Send;
    type Out: Send;
    fn push(&mut self, item: Self::In, emit: &mut Emit<'_, Self::Out>) -> Result<(), Error>;
    /// Called once, after the last item.
    fn finish(&mut self, emit: &mut Emit<'_, Self::Out>) -> Result<(), Error>;
}

/// Passes a piece on to the sink; waits while the sink is behind.
pub(crate) type Emit<'a, T> = dyn FnMut(T) -> Result<(), Error> + 'a;

/// Takes the pieces in order.
pub(crate) trait Sink: Send {
    type In: Send;
    fn take(&mut self, piece: Self::In) -> Result<(), Error>;
}

/// How many pieces may wait for the sink.
const OUTBOX: usize = 8;

/// Runs the pipeline to its end.
///
/// `threads` is at least 1; where the system gives fewer, there are fewer. `interrupted` is looked at between any two steps.
///
/// # Errors
/// The first error of any step, or [`Error::Interrupted`]. What the other threads were doing is finished and dropped.
pub(crate) fn run<S, W, J, K>(
    threads: usize,
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
        window: 4 * threads + 8,
        interrupted,
        state: Mutex::new(State::new(source, join, sink)),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let helper = thread::Builder::new();
            // Where there are no more threads to be had, those that are there do all the work.
            if helper
                .spawn_scoped(scope, || pipeline.serve(&mut new_work()))
                .is_err()
            {
                break;
            }
        }
        pipeline.serve(&mut new_work());
    });
    let state = pipeline
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

struct Pipeline<'a, S: Source, J: Join, K: Sink, R> {
    /// How many items may be between the source and the join.
    window: usize,
    interrupted: &'a AtomicBool,
    state: Mutex<State<'a, S, J, K, R>>,
    changed: Condvar,
}

struct State<'a, S: Source, J: Join, K: Sink, R> {
    /// Each is away while a thread runs it.
    source: Option<&'a mut S>,
    join: Option<&'a mut J>,
    sink: Option<&'a mut K>,
    source_ended: bool,
    join_ended: bool,
    /// Items read and not yet joined.
    in_flight: usize,
    read: u64,
    joined: u64,
    to_do: VecDeque<(u64, S::Item)>,
    done: BTreeMap<u64, R>,
    outbox: VecDeque<J::Out>,
    failed: Option<Error>,
    stopped: bool,
}

enum Step<'a, S: Source, J: Join, K: Sink, R> {
    Sink(&'a mut K, J::Out),
    Join(&'a mut J, R),
    FinishJoin(&'a mut J),
    Work(u64, S::Item),
    Source(&'a mut S),
}

impl<'a, S: Source, J: Join<In = R>, K: Sink<In = J::Out>, R> State<'a, S, J, K, R> {
    fn new(source: &'a mut S, join: &'a mut J, sink: &'a mut K) -> Self {
        Self {
            source: Some(source),
            join: Some(join),
            sink: Some(sink),
            source_ended: false,
            join_ended: false,
            in_flight: 0,
            read: 0,
            joined: 0,
            to_do: VecDeque::new(),
            done: BTreeMap::new(),
            outbox: VecDeque::new(),
            failed: None,
            stopped: false,
        }
    }

    /// Takes the step farthest downstream of those that can be taken.
    fn take_step(&mut self, window: usize) -> Option<Step<'a, S, J, K, R>> {
        if let Some(step) = self.take_sink_step() {
            return Some(step);
        }
        if let Some(join) = self.join.take() {
            if let Some(item) = self.done.remove(&self.joined) {
                return Some(Step::Join(join, item));
            }
            if self.source_ended && self.joined == self.read && !self.join_ended {
                return Some(Step::FinishJoin(join));
            }
            self.join = Some(join);
        }
        if let Some((number, item)) = self.to_do.pop_front() {
            return Some(Step::Work(number, item));
        }
        if !self.source_ended && self.in_flight < window {
            return self.source.take().map(Step::Source);
        }
        None
    }

    fn take_sink_step(&mut self) -> Option<Step<'a, S, J, K, R>> {
        let sink = self.sink.take()?;
        match self.outbox.pop_front() {
            Some(piece) => Some(Step::Sink(sink, piece)),
            None => {
                self.sink = Some(sink);
                None
            }
        }
    }

    fn ended(&self) -> bool {
        self.stopped || (self.join_ended && self.outbox.is_empty() && self.sink.is_some())
    }
}

impl<'a, S, J, K, R> Pipeline<'a, S, J, K, R>
where
    S: Source,
    J: Join<In = R>,
    K: Sink<In = J::Out>,
    R: Send,
{
    fn serve<W: Work<In = S::Item, Out = R>>(&self, work: &mut W) {
        let stop_on_panic = StopOnPanic(self);
        loop {
            let mut state = self.lock();
            let step = loop {
                if state.ended() {
                    self.changed.notify_all();
                    std::mem::forget(stop_on_panic);
                    return;
                }
                if self.interrupted.load(Ordering::Relaxed) {
                    Self::fail(&mut state, Error::Interrupted);
                    continue;
                }
                match state.take_step(self.window) {
                    Some(step) => break step,
                    None => state = self.wait(state),
                }
            };
            drop(state);
            if let Err(error) = self.run_step(step, work) {
                Self::fail(&mut self.lock(), error);
            }
            self.changed.notify_all();
        }
    }

    fn run_step<W: Work<In = S::Item, Out = R>>(
        &self,
        step: Step<'a, S, J, K, R>,
        work: &mut W,
    ) -> Result<(), Error> {
        match step {
            Step::Sink(sink, piece) => {
                sink.take(piece)?;
                self.lock().sink = Some(sink);
            }
            Step::Join(join, item) => {
                join.push(item, &mut |piece| self.emit(piece))?;
                let mut state = self.lock();
                state.join = Some(join);
                state.joined += 1;
                state.in_flight -= 1;
            }
            Step::FinishJoin(join) => {
                join.finish(&mut |piece| self.emit(piece))?;
                let mut state = self.lock();
                state.join = Some(join);
                state.join_ended = true;
            }
            Step::Work(number, item) => {
                let result = work.run(item)?;
                let _ = self.lock().done.insert(number, result);
            }
            Step::Source(source) => {
                let item = source.next()?;
                let mut state = self.lock();
                state.source = Some(source);
                match item {
                    Some(item) => {
                        let number = state.read;
                        state.read += 1;
                        state.in_flight += 1;
                        state.to_do.push_back((number, item));
                    }
                    None => state.source_ended = true,
                }
            }
        }
        Ok(())
    }

    /// Puts a piece in the outbox. While that is full, this thread does the sink's work, or waits for who does it.
    fn emit(&self, piece: J::Out) -> Result<(), Error> {
        let mut state = self.lock();
        loop {
            if self.interrupted.load(Ordering::Relaxed) || state.stopped {
                return Err(Error::Interrupted);
            }
            if state.outbox.len() < OUTBOX {
                state.outbox.push_back(piece);
                drop(state);
                self.changed.notify_all();
                return Ok(());
            }
            state = match state.take_sink_step() {
                Some(Step::Sink(sink, waiting)) => {
                    drop(state);
                    sink.take(waiting)?;
                    let mut state = self.lock();
                    state.sink = Some(sink);
                    state
                }
                _ => self.wait(state),
            };
        }
    }

    /// The first error is the one that is reported: those that follow are its echo.
    fn fail(state: &mut State<'a, S, J, K, R>, error: Error) {
        state.stopped = true;
        let _ = state.failed.get_or_insert(error);
    }

    fn lock(&self) -> MutexGuard<'_, State<'a, S, J, K, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(
        &self,
        guard: MutexGuard<'g, State<'a, S, J, K, R>>,
    ) -> MutexGuard<'g, State<'a, S, J, K, R>> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the other threads go when one panics, so that the panic is seen and not a program that hangs.
struct StopOnPanic<'p, 'a, S, J, K, R>(&'p Pipeline<'a, S, J, K, R>)
where
    S: Source,
    J: Join<In = R>,
    K: Sink<In = J::Out>,
    R: Send;

impl<S, J, K, R> Drop for StopOnPanic<'_, '_, S, J, K, R>
where
    S: Source,
    J: Join<In = R>,
    K: Sink<In = J::Out>,
    R: Send,
{
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
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

    /// Emits as many pieces as the item's number modulo 7: none for some.
    struct Repeat {
        alive: &'static AtomicUsize,
        most_alive: usize,
    }
    impl Join for Repeat {
        type In = u64;
        type Out = u64;
        fn push(&mut self, item: u64, emit: &mut Emit<'_, u64>) -> Result<(), Error> {
            let alive = self.alive.fetch_sub(1, Ordering::SeqCst);
            self.most_alive = self.most_alive.max(alive);
            (0..item % 7).try_for_each(|_| emit(item))
        }
        fn finish(&mut self, emit: &mut Emit<'_, u64>) -> Result<(), Error> {
            emit(u64::MAX)
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
        };
        let mut sink = Collect {
            fail_at: s.sink_fails,
            ..Collect::default()
        };
        let interrupted = AtomicBool::new(s.interrupted);
        let result = run(
            s.threads,
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
