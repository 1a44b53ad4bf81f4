//! A sample of `make faults`: system calls that are made to fail, and commands that are killed at them.

use end_to_end::faults::sweep;

/// Some of these calls are not made again, and do not count.
const TOTAL: usize = 240;

/// Chooses the same places in every run, as far as threads are scheduled alike.
const SEED: u64 = 1;

#[test]
fn what_fails_or_is_killed_loses_nothing_and_leaves_nothing() {
    let report = sweep(TOTAL, None, SEED, &|line| println!("{line}"));
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
    assert_eq!(report.tallies.len(), 11);
    assert!(report.injections() >= 150, "{}", report.table());
}
