//! `ami-faults`: makes the system calls of every command fail, and kills the command at them. Nothing may be lost, left behind, or
//! reported wrongly. Then runs of one name in one folder are killed while they publish, and volumes are bundled while other programs
//! change them. `make faults` does all of this and writes the results to docs/benchmarks.md. Needs root and strace.
//!
//! `ami-faults COUNT` makes this many injections, `ami-faults COUNT COMMAND` only into that command. `ami-faults repeat SCENE CALL BLOW
//! NUMBER` repeats one, as shown for a wrong outcome.

use std::process::ExitCode;
use std::time::Instant;

use end_to_end::busy;
use end_to_end::faults::{Report, repeat, sweep};
use end_to_end::page::{machine, write_section};
use end_to_end::random::{Random, seed};
use end_to_end::rivals::{self, Rivals};

/// The default number of injections. More than 2,000 of them take effect; not every run makes the same calls.
const TOTAL: usize = 2400;

/// Rounds of rivals, and runs on a busy volume.
const ROUNDS: u64 = 200;
const BUSY_RUNS: u64 = 100;

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
    let tell = |line: &str| println!("[{} s] {line}", begin.elapsed().as_secs());
    let only = arguments.get(1).map(String::as_str);
    let report = sweep(total, only, seed, &tell);
    println!("\n{}", report.table());
    if !report.wrong.is_empty() {
        println!("{} outcomes are wrong, seed {seed}", report.wrong.len());
        return ExitCode::FAILURE;
    }
    if arguments.is_empty() {
        let killed = rounds_of_rivals(seed);
        tell(&format!("{ROUNDS} rounds of rivals, {killed} runs killed"));
        runs_on_busy_volumes(seed);
        tell(&format!("{BUSY_RUNS} runs on busy volumes"));
        let text = text(&report, killed, seed, begin.elapsed().as_secs());
        write_section("Faults", &text);
    }
    ExitCode::SUCCESS
}

/// Returns how many runs were killed. Panics if a bundle is lost.
fn rounds_of_rivals(seed: u64) -> usize {
    let rivals = Rivals::prepare();
    let mut random = Random::new(seed);
    (0..ROUNDS)
        .map(|_| rivals::round(&rivals, random.below(1 << 32)).killed)
        .sum()
}

/// Panics if an image is wrong.
fn runs_on_busy_volumes(seed: u64) {
    for number in 0..BUSY_RUNS {
        // Each kind of file system in turn.
        busy::run_once(seed.wrapping_add(number));
    }
}

fn text(report: &Report, killed: usize, seed: u64, seconds: u64) -> String {
    format!(
        "Written by `make faults` on {}, in {seconds} s. {} system calls were made to fail (`strace -f -e inject=…`), or were interrupted by \
         SIGTERM or SIGKILL, with and without the sweeper. Exit code 0 always came with the right result. With any other exit code, the \
         older state was unchanged (in a bucket: no manifest, or that of a whole bundle), or the error said that the result is complete. \
         No mount, loop device, process or private folder stayed, except folders to resume from; what a kill without the sweeper left, or \
         could not be removed, was gone after the next run. Nothing panicked or hung.\n\n{}\n\
         In {ROUNDS} rounds, three runs published bundles of one name in one folder at the same time, and {killed} of these runs were \
         killed: the folder always had the whole bundle of the last run that ended with 0. {BUSY_RUNS} images were made of volumes (ext4, \
         xfs and btrfs in turn) while programs created, removed, renamed and swapped files of every kind on them: every file that nobody \
         touched was the same in the image. `AMI_FAULTS_SEED={seed}` repeats all of it.\n",
        machine(),
        report.injections(),
        report.table()
    )
}
