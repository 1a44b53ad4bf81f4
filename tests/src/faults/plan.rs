//! Chooses the injections: from the calls of a good run, each kind of call at its first, its last and any other.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::calls;
use super::run::{Blow, Injection, Line, Ran};
use crate::random::Random;

/// The call that ends a program's start-up: the standard library gives the first thread a stack for signals. Earlier calls are the dynamic
/// loader's.
pub const STARTED: &str = "sigaltstack";

/// Two of this many injections are signals.
const SIGNALS: usize = 5;

/// After this many rounds without a new place, there are no more.
const ROUNDS: usize = 200;

/// For each call and each possible error, the numbers of the calls at which it is possible.
type Places = BTreeMap<String, BTreeMap<&'static str, Vec<usize>>>;

/// A call of a good run: its number in its thread, and its arguments.
struct Seen<'a> {
    number: usize,
    arguments: &'a str,
}

/// Chooses `count` injections from the log of a good run, or all if there are fewer.
pub fn choose(good: &Ran, count: usize, random: &mut Random) -> Vec<Injection> {
    let errors = error_places(&good.log);
    let signals = errors
        .iter()
        .filter(|(call, _)| calls::changes(call))
        .map(|(call, places)| {
            let all: BTreeSet<usize> = places.values().flatten().copied().collect();
            let all: Vec<usize> = all.into_iter().collect();
            let ways = ["KILL", "KILL+", "TERM"].map(|way| (way, all.clone()));
            (call.clone(), ways.into())
        })
        .collect();
    let mut chosen = pick(&signals, (2 * count).div_ceil(SIGNALS), random);
    let rest = count - chosen.len();
    chosen.extend(pick(&errors, rest, random));
    for injection in &mut chosen {
        if let Blow::Error(error) = injection.blow
            && calls::lasts(&injection.call, error)
            && random.below(2) == 0
            && can_last(&good.log, &injection.call, error)
        {
            injection.blow = Blow::Lasting(error);
        }
    }
    chosen
}

/// The calls of all threads after the start-up.
fn calls_of_run(log: &[Line]) -> BTreeMap<&str, Vec<Seen<'_>>> {
    let first = log.first().map(|line| line.thread);
    let mut counts: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let mut of_start: BTreeMap<&str, usize> = BTreeMap::new();
    let mut has_started = false;
    let mut calls: BTreeMap<&str, Vec<Seen<'_>>> = BTreeMap::new();
    for line in log.iter().filter(|line| !line.call.is_empty()) {
        if line.call == STARTED {
            has_started |= line.text.starts_with("{ss_sp=");
            continue;
        }
        let count = counts.entry((line.thread, &line.call)).or_default();
        *count += 1;
        if !has_started && Some(line.thread) == first {
            let _ = of_start.insert(&line.call, *count);
        }
        // An injection hits every thread, including the first one, which must have finished its start-up by then.
        if *count > of_start.get(line.call.as_str()).copied().unwrap_or(0) {
            calls.entry(&line.call).or_default().push(Seen {
                number: *count,
                arguments: &line.text,
            });
        }
    }
    calls
}

/// Where calls can fail. Excludes numbers at which the error is impossible in some thread, because such an injection proves nothing.
fn error_places(log: &[Line]) -> Places {
    let mut places = Places::new();
    for (call, seen) in calls_of_run(log) {
        let of_call: BTreeMap<&'static str, Vec<usize>> = calls::all_errors(call)
            .map(|error| {
                let can = |seen: &Seen<'_>| {
                    calls::errors(call, seen.arguments).any(|possible| possible == error)
                };
                let mut numbers: BTreeMap<usize, bool> = BTreeMap::new();
                for seen in &seen {
                    *numbers.entry(seen.number).or_insert(true) &= can(seen);
                }
                let possible = numbers.into_iter().filter(|(_, can)| *can);
                (error, possible.map(|(number, _)| number).collect())
            })
            .filter(|(_, numbers): &(_, Vec<usize>)| !numbers.is_empty())
            .collect();
        if !of_call.is_empty() {
            let _ = places.insert(call.to_owned(), of_call);
        }
    }
    places
}

/// Whether an error can persist from a call on: it hits every later call, so each must be able to have it.
fn can_last(log: &[Line], call: &str, error: &str) -> bool {
    calls_of_run(log).get(call).is_some_and(|seen| {
        seen.iter()
            .all(|seen| calls::errors(call, seen.arguments).any(|possible| possible == error))
    })
}

/// Cycles through the calls, each time with another error and at another place.
fn pick(places: &Places, count: usize, random: &mut Random) -> Vec<Injection> {
    let mut chosen = Vec::new();
    let mut seen = HashSet::new();
    let turns: BTreeMap<&String, usize> = places
        .keys()
        .map(|call| (call, usize::try_from(random.below(64)).unwrap()))
        .collect();
    for round in 0..ROUNDS {
        let mut calls: Vec<&String> = places.keys().collect();
        for index in (1..calls.len()).rev() {
            let other = usize::try_from(random.below(index as u64 + 1)).unwrap();
            calls.swap(index, other);
        }
        for call in calls {
            if chosen.len() == count {
                return chosen;
            }
            let errors: Vec<_> = places[call].iter().collect();
            let (error, numbers) = errors[(turns[call] + round) % errors.len()];
            let when = match round % 3 {
                0 => numbers[0],
                1 => numbers[numbers.len() - 1],
                _ => *random.choose(numbers),
            };
            let injection = Injection {
                call: call.clone(),
                blow: match *error {
                    "TERM" => Blow::Interrupt,
                    "KILL" => Blow::Kill,
                    "KILL+" => Blow::KillAll,
                    error => Blow::Error(error),
                },
                when,
            };
            if seen.insert(injection.clone()) {
                chosen.push(injection);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<Line> {
        let line = |thread, call: &str, text: &str| Line {
            thread,
            call: call.to_owned(),
            text: text.to_owned(),
        };
        vec![
            line(1, "read", "3</lib>, \"\", 9) = 9"),
            line(1, STARTED, "NULL, {ss_sp=NULL}) = 0"),
            line(1, STARTED, "{ss_sp=0x1}, NULL) = 0"),
            line(2, "read", "3</x>, \"\", 9) = 9"),
            line(1, "read", "4</y>, \"\", 9) = 9"),
            line(2, "read", "5<pipe:[1]>, \"\", 9) = 9"),
            line(2, "read", "6</z>, \"\", 9) = 9"),
            line(2, "rename", "\"a\", \"b\") = 0"),
        ]
    }

    #[test]
    fn what_fails_at_start_up_or_cannot_fail_is_no_place() {
        let places = error_places(&log());
        // The second read of the second thread reads from a pipe.
        assert_eq!(places["read"]["EIO"], [3]);
        assert_eq!(places["rename"]["EDQUOT"], [1]);
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn each_kind_of_call_is_hit_before_any_is_hit_twice_and_none_in_the_same_way() {
        let good = Ran {
            code: Some(0),
            stdout: String::new(),
            stderr: String::new(),
            log: log(),
            left: Vec::new(),
            command: String::new(),
        };
        let mut random = Random::new(1);
        let two = pick(&error_places(&good.log), 2, &mut random);
        let calls: BTreeSet<&str> = two.iter().map(|hit| hit.call.as_str()).collect();
        assert_eq!(calls, ["read", "rename"].into());
        // Two errors of read, five of rename, and three signals before rename.
        let all = choose(&good, 100, &mut random);
        let different: HashSet<&Injection> = all.iter().collect();
        assert_eq!((all.len(), different.len()), (10, 10));
    }
}
