//! A sample of what `make faults` does: system calls made to fail, and commands killed at them.

use end_to_end::faults::sweep;

/// Some of these do not come again, and do not count.
const TOTAL: usize = 240;

/// The same places in every run, as far as the threads take turns alike.
const SEED: u64 = 1;

#[test]
fn what_fails_or_is_killed_loses_nothing_and_leaves_nothing() {
    let report = sweep(TOTAL, None, SEED, &|line| println!("{line}"));
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
    assert_eq!(report.tallies.len(), 10);
    assert!(report.injections() >= 150, "{}", report.table());
}
