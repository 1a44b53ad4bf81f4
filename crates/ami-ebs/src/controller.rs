//! How many requests are in flight, and how many begin in a second: both find themselves. A state machine without a clock of its own:
//! moments are durations since any beginning.
//!
//! **The rate** is without limit until the service throttles. EBS limits rates with token buckets (EBS user guide, "quotas"): 1,000 PUTs a second
//! for a snapshot, and as many for the account, which other clients use too. Between two moments at which the bucket was empty, what
//! was let through is exactly what flowed in. So each time that a request is throttled, the rate becomes a little less than what was let through
//! since the last time; then it rises again, slowly near what is known to pass, and faster the longer nothing is throttled. That is additive
//! increase and multiplicative decrease, with a decrease that knows where to go.
//!
//! **The number in flight** doubles with each round of answers, then grows by one in each, while answers do not become slower. Where
//! they do, the way is full: more in flight would only wait longer. It shrinks when answers are throttled, become much slower, or do not come.
//!
//! **The deadline** of a request is a multiple of what answers usually take: one that never comes must not hold up the end.

use std::time::Duration;

/// How many requests begin at first.
const FIRST_WINDOW: f64 = 4.0;

/// The rate after a decrease, in parts of what was let through.
const DECREASED: f64 = 0.97;

/// A decrease leaves at least this part of the rate that there was.
const MOST_DECREASE: f64 = 0.5;

/// The same after a long quiet time: the bucket may have been full meanwhile, so that more flowed in than was let through.
const MOST_DECREASE_AFTER_QUIET: f64 = 0.7;

/// A decrease leaves at most this part.
const LEAST_DECREASE: f64 = 0.98;

/// How much the rate rises in a second, in parts of what is known to pass; and after how many seconds it begins to rise faster.
const RISE: f64 = 0.02;
const PATIENCE: f64 = 4.0;

/// It rises up to so many times faster if what is known was measured in less than a second.
const MOST_UNSURE: f64 = 4.0;

/// The most that it rises in a second.
const FASTEST_RISE: f64 = 0.5;

/// The least rate, in requests a second.
const LEAST_RATE: f64 = 0.5;

/// What was let through is measured over this many requests, or at least and at most so long.
const MEASURED: f64 = 20.0;
const SHORTEST_MEASURE: f64 = 0.1;
const LONGEST_MEASURE: f64 = 2.0;

/// How far the pacer may lag behind before requests that were not sent in time are forgotten: what a timer is late.
const SLACK: f64 = 0.005;

/// A new answer counts so much in what answers usually take, and in how many are lost.
const SMOOTHING: f64 = 0.05;

/// For how long the quickest answer counts.
const QUICKEST_FOR: Duration = Duration::from_secs(30);

/// While answers take no longer than this many times the quickest, and so many seconds, more are in flight. A busy machine is slower for a
/// moment, too.
const SLOWER: (f64, f64) = (3.0, 0.25);

/// From this on, fewer.
const MUCH_SLOWER: (f64, f64) = (8.0, 1.0);

/// From this part of lost requests on, the way itself is at fault.
const LOST: f64 = 0.25;

/// A deadline in parts of what answers usually take, and its bounds.
const DEADLINE: f64 = 10.0;
const SHORTEST_DEADLINE: Duration = Duration::from_secs(2);
const FIRST_DEADLINE: Duration = Duration::from_secs(10);
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With what was asked for.
    Done,
    /// The service was asked too often.
    Throttled,
    /// With another answer.
    Refused,
    /// Without an answer.
    Lost,
}

/// When a request may begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Turn {
    /// Now; it counts from now on.
    Now,
    /// Not before this moment.
    At(Duration),
    /// When another one has ended.
    Full,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Controller {
    most: f64,
    window: f64,
    in_flight: usize,
    /// The number in flight doubles until something speaks against it.
    doubling: bool,
    was_full: bool,
    /// Requests a second; `None`: without limit.
    rate: Option<Rate>,
    /// Requests that were let through, and not, since `since`.
    passed: u64,
    throttled: u64,
    since: Duration,
    /// In seconds; `None` before the first answer.
    usual: Option<f64>,
    quickest: Quickest,
    lost: f64,
    shrunk: Duration,
}

#[derive(Debug)]
struct Rate {
    now: f64,
    /// What is known to pass.
    known: f64,
    /// How much it rises in a second at first, in parts of that.
    rise: f64,
    decreased: Duration,
    risen: Duration,
    next: Duration,
    /// A request had to wait for its turn since it has risen last.
    holds: bool,
}

/// The quickest answer of this span and the one before.
#[derive(Debug, Default)]
struct Quickest {
    now: Option<f64>,
    before: Option<f64>,
    since: Duration,
}

impl Quickest {
    fn note(&mut self, now: Duration, took: f64) {
        if now.saturating_sub(self.since) > QUICKEST_FOR {
            self.before = self.now.take();
            self.since = now;
        }
        self.now = Some(self.now.map_or(took, |least| least.min(took)));
    }

    fn get(&self) -> Option<f64> {
        match (self.now, self.before) {
            (Some(now), Some(before)) => Some(now.min(before)),
            (now, before) => now.or(before),
        }
    }
}

impl Controller {
    /// At most so many requests are in flight.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self {
            most,
            window: FIRST_WINDOW.min(most),
            in_flight: 0,
            doubling: true,
            was_full: false,
            rate: None,
            passed: 0,
            throttled: 0,
            since: Duration::ZERO,
            usual: None,
            quickest: Quickest::default(),
            lost: 0.0,
            shrunk: Duration::ZERO,
        }
    }

    /// Whether a request may begin.
    pub(crate) fn begin(&mut self, now: Duration) -> Turn {
        if self.in_flight as f64 + 1.0 > self.window {
            self.was_full = true;
            return Turn::Full;
        }
        if let Some(rate) = &mut self.rate {
            rate.rise(now);
            if rate.next > now {
                rate.holds = true;
                return Turn::At(rate.next);
            }
            let slack = Duration::from_secs_f64(SLACK.max(1.0 / rate.now));
            let due = rate.next.max(now.saturating_sub(slack));
            rate.next = due + Duration::from_secs_f64(1.0 / rate.now);
        }
        self.in_flight += 1;
        Turn::Now
    }

    /// A request that began at `begun` is given up: nothing is learnt from it.
    pub(crate) fn given_up(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request that began at `begun` has ended.
    pub(crate) fn end(&mut self, begun: Duration, now: Duration, outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_lost = f64::from(u8::from(outcome == Outcome::Lost));
        self.lost += SMOOTHING * (is_lost - self.lost);
        match outcome {
            Outcome::Throttled => self.slow_down(begun, now),
            Outcome::Lost => {
                self.passed += 1;
                if self.lost > LOST {
                    self.shrink(now, MOST_DECREASE);
                }
            }
            Outcome::Refused => self.passed += 1,
            Outcome::Done => {
                self.passed += 1;
                self.answered(now, now.saturating_sub(begun).as_secs_f64());
            }
        }
    }

    /// How long a request may take that is the `tries`th of its block, from 1 on.
    pub(crate) fn deadline(&self, tries: u32) -> Duration {
        let first = match self.usual {
            None => FIRST_DEADLINE,
            Some(usual) => Duration::try_from_secs_f64(usual * DEADLINE)
                .unwrap_or(LONGEST_DEADLINE)
                .max(SHORTEST_DEADLINE),
        };
        let doublings = tries.saturating_sub(1).min(16);
        first.saturating_mul(1 << doublings).min(LONGEST_DEADLINE)
    }

    fn answered(&mut self, now: Duration, took: f64) {
        self.quickest.note(now, took);
        let usual = self
            .usual
            .map_or(took, |usual| usual + SMOOTHING * (took - usual));
        self.usual = Some(usual);
        let quickest = self.quickest.get().unwrap_or(took);
        let is_above = |(times, more): (f64, f64)| usual > times * quickest + more;
        if is_above(MUCH_SLOWER) {
            self.shrink(now, 0.9);
            self.window = self.window.max(FIRST_WINDOW.min(self.most));
        } else if is_above(SLOWER) {
            self.doubling = false;
        } else if self.was_full {
            self.window += if self.doubling {
                1.0
            } else {
                1.0 / self.window
            };
            self.window = self.window.min(self.most);
        }
        self.was_full = false;
    }

    /// Not more often than answers come.
    fn shrink(&mut self, now: Duration, part: f64) {
        self.doubling = false;
        let round = Duration::from_secs_f64(self.usual.unwrap_or(1.0).clamp(0.05, 60.0));
        if now.saturating_sub(self.shrunk) >= round {
            self.shrunk = now;
            self.window = (self.window * part).max(1.0);
        }
    }

    fn slow_down(&mut self, begun: Duration, now: Duration) {
        self.throttled += 1;
        // It was under way before the last decrease could help.
        if self.rate.is_some() && begun < self.since {
            return;
        }
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        let needed = self
            .rate
            .as_ref()
            .map_or(SHORTEST_MEASURE, |rate| MEASURED / rate.now);
        if seconds < needed.clamp(SHORTEST_MEASURE, LONGEST_MEASURE) && self.rate.is_some() {
            return;
        }
        let seconds = seconds.max(0.001);
        let passed = self.passed as f64 / seconds;
        let tried = (self.passed + self.throttled) as f64 / seconds;
        let before = self.rate.as_ref().map_or(tried, |rate| rate.now);
        let is_quiet = |rate: &Rate| rate.quiet(now) > PATIENCE;
        let least = match self.rate.as_ref().is_some_and(is_quiet) {
            true => MOST_DECREASE_AFTER_QUIET,
            false => MOST_DECREASE,
        };
        let rate = (passed * DECREASED)
            .clamp(before * least, before * LEAST_DECREASE)
            .max(LEAST_RATE);
        self.rate = Some(Rate {
            now: rate,
            known: rate / DECREASED,
            rise: RISE * (1.0 / seconds).clamp(1.0, MOST_UNSURE),
            decreased: now,
            risen: now,
            next: now + Duration::from_secs_f64(1.0 / rate),
            holds: false,
        });
        (self.passed, self.throttled, self.since) = (0, 0, now);
        self.shrink(now, 0.8);
    }
}

impl Rate {
    /// The seconds without a decrease.
    fn quiet(&self, now: Duration) -> f64 {
        now.saturating_sub(self.decreased).as_secs_f64()
    }

    /// A rate that holds nothing up does not rise: it would mean nothing any more.
    fn rise(&mut self, now: Duration) {
        if !std::mem::take(&mut self.holds) {
            self.risen = now;
            return;
        }
        let passed = now.saturating_sub(self.risen).as_secs_f64();
        let faster = (self.quiet(now) - PATIENCE).max(0.0);
        let rise = (self.rise * (1.0 + faster * faster)).min(FASTEST_RISE);
        self.now += self.known.max(self.now * f64::from(u8::from(faster > 0.0))) * rise * passed;
        self.risen = now;
    }
}

#[cfg(test)]
#[path = "controller_test.rs"]
mod tests;
