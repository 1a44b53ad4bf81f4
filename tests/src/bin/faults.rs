//! `ami-faults`: makes the system calls of every command fail, and kills it at them; nothing may be lost, left, or said wrongly.
//! `make faults` hits some two thousand times and writes what it found to docs/benchmarks.md. Needs root and strace.
//!
//! `ami-faults COUNT` hits so many times, `ami-faults COUNT COMMAND` that command alone; `ami-faults repeat SCENE CALL BLOW NUMBER` once, as a wrong outcome was shown.

use std::process::ExitCode;
use std::time::Instant;

use end_to_end::faults::{Report, repeat, sweep};
use end_to_end::page::{machine, write_section};
use end_to_end::random::seed;

/// How many injections there are where nothing else is said: more than 2,000 count, though not every call comes again.
const TOTAL: usize = 2400;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, words)) = arguments.split_first()
        && first == "repeat"
    {
        println!("{}", repeat(words));
        return ExitCode::SUCCESS;
    }
    let total = arguments
        .first()
        .map_or(TOTAL, |text| text.parse().unwrap());
    let seed = seed("AMI_FAULTS_SEED");
    println!("{total} injections, seed {seed}");
    let begin = Instant::now();
    let only = arguments.get(1).map(String::as_str);
    let report = sweep(total, only, seed, &|line| {
        println!("[{} s] {line}", begin.elapsed().as_secs());
    });
    println!("\n{}", report.table());
    if !report.wrong.is_empty() {
        println!("{} outcomes are wrong, seed {seed}", report.wrong.len());
        return ExitCode::FAILURE;
    }
    if arguments.is_empty() {
        write_section("Faults", &text(&report, seed, begin.elapsed().as_secs()));
    }
    ExitCode::SUCCESS
}

fn text(report: &Report, seed: u64, seconds: u64) -> String {
    format!(
        "Written by `make faults` on {}: {} system calls made to fail (`strace -f -e inject=…`) or met by SIGKILL, with and without the \
         sweeper, in {seconds} s. Exit code 0 came with the right result alone; with any other the older state was there, or the error \
         said that the result is complete; no private folder, mount, loop device or process stayed, nothing panicked or hung. \
         `AMI_FAULTS_SEED={seed}` repeats it.\n\n{}",
        machine(),
        report.injections(),
        report.table()
    )
}
