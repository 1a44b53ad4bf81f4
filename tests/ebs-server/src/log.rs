//! What was asked and what came of it, for tests and measurements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::settings::Fault;

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// When it had been received, since the server's start.
    pub at: Duration,
    /// When it was answered or given up, since the server's start.
    pub until: Duration,
    /// The action's name, such as `PutSnapshotBlock`; empty if it is none.
    pub action: String,
    /// The region of its signature; empty without one.
    pub region: String,
    /// The snapshot in its path.
    pub snapshot: Option<String>,
    /// The block in its path.
    pub block: Option<u32>,
    /// The status of the answer, sent or not; 0 if there was none.
    pub status: u16,
    /// The error's code: an exception's name, or a code of EC2's.
    pub code: Option<String>,
    /// The error's reason, such as `ACCOUNT_THROTTLED`.
    pub reason: Option<String>,
    /// The fault that it met.
    pub fault: Option<Fault>,
}

impl Record {
    /// Whether it was refused for its rate.
    pub fn is_throttled(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        matches!(code, "RequestThrottledException" | "RequestLimitExceeded")
    }
}

/// The requests of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Done, with a status below 300.
    pub done: usize,
    /// Refused for their rate.
    pub throttled: usize,
    /// Everything else.
    pub others: usize,
}

/// The requests so far, in the order in which they ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Log {
    /// Each of them.
    pub records: Vec<Record>,
    /// How many PutSnapshotBlock were in flight at once at most, for each snapshot.
    pub peaks: BTreeMap<String, usize>,
}

impl Log {
    /// The requests of an action.
    pub fn of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records
            .iter()
            .filter(move |record| record.action == action)
    }

    /// How often each block of a snapshot was put, whether the client got its answer or not.
    pub fn puts(&self, snapshot: &str) -> BTreeMap<u32, usize> {
        let mut puts = BTreeMap::new();
        let done = self
            .of("PutSnapshotBlock")
            .filter(|record| record.status == 201 && record.snapshot.as_deref() == Some(snapshot));
        for block in done.filter_map(|record| record.block) {
            *puts.entry(block).or_default() += 1;
        }
        puts
    }

    /// How many blocks of a snapshot were put more than once.
    pub fn put_twice(&self, snapshot: &str) -> usize {
        self.puts(snapshot)
            .values()
            .filter(|puts| **puts > 1)
            .count()
    }

    /// How many puts of a snapshot were in flight at once at most.
    pub fn peak_in_flight(&self, snapshot: &str) -> usize {
        self.peaks.get(snapshot).copied().unwrap_or_default()
    }

    /// The requests of an action, for each second since the server's start in which they ended.
    pub fn seconds(&self, action: &str) -> Vec<Second> {
        let mut seconds: Vec<Second> = Vec::new();
        for record in self.of(action) {
            let place = usize::try_from(record.until.as_secs()).unwrap_or_default();
            if seconds.len() <= place {
                seconds.resize(place + 1, Second::default());
            }
            let second = &mut seconds[place];
            *match record.status {
                200..300 => &mut second.done,
                _ if record.is_throttled() => &mut second.throttled,
                _ => &mut second.others,
            } += 1;
        }
        seconds
    }

    /// The throttled share, 0 to 1, of the answers of an action that were given from a time on.
    pub fn throttled_share(&self, action: &str, from: Duration) -> f64 {
        let answers: Vec<_> = self
            .of(action)
            .filter(|record| record.until >= from && record.status != 0)
            .collect();
        let throttled = answers.iter().filter(|record| record.is_throttled());
        throttled.count() as f64 / answers.len().max(1) as f64
    }

    /// How many requests of an action were done a second, between the first and the last that was.
    pub fn rate(&self, action: &str) -> f64 {
        let done = self.of(action).filter(|r| (200..300).contains(&r.status));
        let times: Vec<Duration> = done.map(|record| record.until).collect();
        match (times.iter().min(), times.iter().max()) {
            (Some(first), Some(last)) if last > first => {
                (times.len() - 1) as f64 / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

/// The log while it is written.
#[derive(Debug)]
pub(crate) struct Recorder {
    started: Instant,
    log: Mutex<Log>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            log: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn add(&self, record: Record) {
        self.log.lock().records.push(record);
    }

    pub(crate) fn in_flight(&self, snapshot: &str, count: usize) {
        let mut log = self.log.lock();
        match log.peaks.get_mut(snapshot) {
            Some(peak) => *peak = count.max(*peak),
            None => drop(log.peaks.insert(snapshot.to_owned(), count)),
        }
    }

    pub(crate) fn log(&self) -> Log {
        self.log.lock().clone()
    }

    pub(crate) fn clear(&self) {
        *self.log.lock() = Log::default();
    }
}
