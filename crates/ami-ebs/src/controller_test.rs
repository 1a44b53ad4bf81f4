//! The controller against a simulated service, with simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// A service behind a token bucket, with requests that fail and that are never answered.
struct Service {
    /// Requests a second, and how many tokens there can be. Without limit if infinite.
    rate: f64,
    capacity: f64,
    tokens: f64,
    filled: f64,
    /// Seconds that an answer takes, and that it takes longer for each other request in flight beyond `lanes`.
    latency: f64,
    lanes: f64,
    /// Parts of the requests.
    faults: f64,
    silent: f64,
}

#[derive(Debug, Default)]
struct Seen {
    /// Requests that were let through, and that were not, by second.
    passed: Vec<u64>,
    throttled: Vec<u64>,
    most_in_flight: usize,
}

impl Service {
    fn new(rate: f64) -> Self {
        Self {
            rate,
            capacity: rate,
            tokens: rate,
            filled: 0.0,
            latency: 0.02,
            lanes: f64::INFINITY,
            faults: 0.0,
            silent: 0.0,
        }
    }

    fn takes(&mut self, now: f64) -> bool {
        if self.rate.is_infinite() {
            return true;
        }
        self.tokens = (self.tokens + (now - self.filled) * self.rate).min(self.capacity);
        self.filled = now;
        let takes = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(takes));
        takes
    }
}

/// Microseconds, so that events have an order.
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

fn moment(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// Sends whenever it may, for so many seconds.
fn play(
    service: &mut Service,
    most: usize,
    seconds: f64,
    mut change: impl FnMut(f64, &mut Service),
) -> Seen {
    let mut controller = Controller::new(most);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut now, end) = (0, micros(seconds));
    let mut ends: BinaryHeap<Reverse<(u64, u64, u8)>> = BinaryHeap::new();
    let mut seen = Seen::default();
    let buckets = seconds.ceil() as usize + 1;
    (seen.passed, seen.throttled) = (vec![0; buckets], vec![0; buckets]);
    while now < end {
        change(now as f64 / 1e6, service);
        let next = match controller.begin(moment(now)) {
            Turn::Now => {
                seen.most_in_flight = seen.most_in_flight.max(controller.in_flight);
                let at = now as f64 / 1e6;
                let queue = (controller.in_flight as f64 / service.lanes).max(1.0);
                let took = service.latency * queue * (0.8 + 0.4 * random.f64());
                let second = at as usize;
                let (took, outcome) = if !service.takes(at) {
                    seen.throttled[second] += 1;
                    (service.latency, 1)
                } else {
                    seen.passed[second] += 1;
                    if random.f64() < service.silent {
                        (controller.deadline(1).as_secs_f64(), 3)
                    } else if random.f64() < service.faults {
                        (took, 2)
                    } else {
                        (took, 0)
                    }
                };
                ends.push(Reverse((now + micros(took), now, outcome)));
                continue;
            }
            Turn::At(at) => Some(u64::try_from(at.as_micros()).unwrap() + 1),
            Turn::Full => None,
        };
        let first = ends.peek().map(|Reverse((at, ..))| *at);
        if first.is_some_and(|first| next.is_none_or(|next| first <= next)) {
            let Reverse((at, begun, outcome)) = ends.pop().unwrap();
            now = now.max(at);
            let outcome = [
                Outcome::Done,
                Outcome::Throttled,
                Outcome::Refused,
                Outcome::Lost,
            ][usize::from(outcome)];
            controller.end(moment(begun), moment(now), outcome);
        } else {
            now = next.expect("a full window has something in flight");
        }
    }
    seen
}

fn sum(counts: &[u64]) -> f64 {
    counts.iter().sum::<u64>() as f64
}

#[test]
fn a_bucket_is_used_and_hardly_ever_overrun() {
    for (rate, capacity) in [
        (200.0, 200.0),
        (200.0, 20.0),
        (50.0, 100.0),
        (1000.0, 1000.0),
    ] {
        for (faults, silent) in [(0.0, 0.0), (0.05, 0.01)] {
            let mut service = Service::new(rate);
            (service.capacity, service.tokens) = (capacity, capacity);
            (service.faults, service.silent) = (faults, silent);
            let seen = play(&mut service, 128, 30.0, |_, _| ());
            let (passed, throttled) = (sum(&seen.passed[3..30]), sum(&seen.throttled[3..30]));
            let used = passed / (27.0 * rate);
            let part = throttled / (passed + throttled);
            assert!(used >= 0.95, "{rate} {capacity} {faults}: {used} is used");
            assert!(
                part <= 0.02,
                "{rate} {capacity} {faults}: {part} is throttled"
            );
        }
    }
}

#[test]
fn another_client_comes_and_goes() {
    let mut service = Service::new(400.0);
    let seen = play(&mut service, 128, 60.0, |now, service| {
        service.rate = if (20.0..35.0).contains(&now) {
            100.0
        } else {
            400.0
        };
    });
    let used = |from: usize, to: usize, rate: f64| {
        sum(&seen.passed[from..to]) / ((to - from) as f64 * rate)
    };
    assert!(used(5, 20, 400.0) >= 0.95);
    assert!(used(23, 35, 100.0) >= 0.9);
    assert!(used(50, 60, 400.0) >= 0.9);
    assert!(sum(&seen.throttled[23..60]) / sum(&seen.passed[23..60]) < 0.02);
}

#[test]
fn without_limits_there_is_no_pace_and_the_window_opens() {
    let mut service = Service::new(f64::INFINITY);
    service.latency = 0.1;
    let seen = play(&mut service, 100, 10.0, |_, _| ());
    assert_eq!(seen.most_in_flight, 100);
    assert!(sum(&seen.passed[2..10]) >= 8.0 * 900.0, "{:?}", seen.passed);
}

#[test]
fn a_narrow_way_is_not_stuffed() {
    // A line that takes 2 blocks a second, whoever sends them.
    let mut service = Service::new(f64::INFINITY);
    (service.latency, service.lanes) = (0.5, 1.0);
    let seen = play(&mut service, 128, 120.0, |_, _| ());
    assert!(seen.most_in_flight <= 24, "{}", seen.most_in_flight);
}

#[test]
fn deadlines_follow_the_answers_and_double() {
    let mut controller = Controller::new(8);
    assert_eq!(controller.deadline(1), FIRST_DEADLINE);
    assert_eq!(controller.deadline(2), 2 * FIRST_DEADLINE);
    assert_eq!(controller.deadline(40), LONGEST_DEADLINE);
    assert_eq!(controller.begin(Duration::ZERO), Turn::Now);
    controller.end(Duration::ZERO, Duration::from_millis(100), Outcome::Done);
    assert_eq!(controller.deadline(1), SHORTEST_DEADLINE);
    let mut slow = Controller::new(8);
    assert_eq!(slow.begin(Duration::ZERO), Turn::Now);
    slow.end(Duration::ZERO, Duration::from_secs(2), Outcome::Done);
    assert_eq!(slow.deadline(1), Duration::from_secs(20));
}

#[test]
fn what_is_given_up_makes_room() {
    let mut controller = Controller::new(1);
    assert_eq!(controller.begin(Duration::ZERO), Turn::Now);
    assert_eq!(controller.begin(Duration::ZERO), Turn::Full);
    controller.given_up();
    assert_eq!(controller.begin(Duration::ZERO), Turn::Now);
}
