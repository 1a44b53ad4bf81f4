//! The controller with a clock: where requests wait for their turn.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::controller::{Controller, Outcome, Turn};

/// Lets requests begin, in the order in which they come.
#[derive(Debug)]
pub(crate) struct Gate {
    controller: Mutex<Controller>,
    begin: Instant,
    /// Held by the one request that waits for room or for its moment; the others wait for it.
    first: tokio::sync::Mutex<()>,
    ended: Notify,
}

impl Gate {
    /// At most so many requests are in flight.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            controller: Mutex::new(Controller::new(most)),
            begin: Instant::now(),
            first: tokio::sync::Mutex::new(()),
            ended: Notify::new(),
        }
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Waits for this request's turn. It is in flight until the pass is used or dropped.
    pub(crate) async fn pass(&self, tries: u32) -> Pass<'_> {
        let _first = self.first.lock().await;
        loop {
            let now = self.now();
            let turn = self.controller().begin(now);
            match turn {
                Turn::Now => {
                    return Pass {
                        gate: self,
                        begun: now,
                        deadline: self.controller().deadline(tries),
                        is_used: false,
                    };
                }
                Turn::At(moment) => tokio::time::sleep(moment.saturating_sub(now)).await,
                Turn::Full => self.ended.notified().await,
            }
        }
    }
}

/// A request that is in flight.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    begun: Duration,
    /// How long it may take.
    pub(crate) deadline: Duration,
    is_used: bool,
}

impl Pass<'_> {
    /// The request has ended.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.is_used = true;
        let now = self.gate.now();
        self.gate.controller().end(self.begun, now, outcome);
        self.gate.ended.notify_one();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            self.gate.controller().given_up();
            self.gate.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_room_and_one_that_is_dropped_makes_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let gate = Gate::new(1);
            let first = gate.pass(1).await;
            let mut second = std::pin::pin!(gate.pass(1));
            tokio::select! {
                biased;
                _ = &mut second => panic!("there is no room"),
                () = tokio::task::yield_now() => {}
            }
            drop(first);
            second.await.end(Outcome::Done);
            gate.pass(1).await.end(Outcome::Done);
        });
    }
}
