//! Volumes that are written to while they are copied, on real file systems. Needs root, loop devices, and mkfs of ext4, xfs and btrfs.
//!
//! It has a `main` of its own because, as every program that freezes, it is also the second process that thaws ([`ami_volume::keep`]), and
//! the program that is killed.

mod commands;
mod freezing;
mod other;
mod rig;
mod second_pass;
mod snapshots;

use std::ffi::OsString;
use std::process::ExitCode;

use ami_volume::keep;

const TESTS: [(&str, fn()); 10] = [
    ("a_frozen_volume_is_of_one_moment", freezing::frozen_volumes),
    ("a_btrfs_snapshot_is_of_one_moment", snapshots::one_moment),
    (
        "the_key_is_not_copied_from_a_snapshot",
        snapshots::key_in_snapshot,
    ),
    ("a_kill_thaws", freezing::kill_while_frozen),
    (
        "the_limit_thaws_even_what_is_stopped",
        freezing::limit_of_freeze,
    ),
    (
        "a_volume_that_this_run_needs_is_not_frozen",
        freezing::needed_volumes,
    ),
    (
        "a_device_is_frozen_where_it_is_mounted",
        freezing::frozen_device,
    ),
    ("a_kill_deletes_snapshots", snapshots::kill_with_snapshots),
    (
        "a_second_pass_copies_what_changed",
        second_pass::second_pass,
    ),
    ("commands_run_around_the_copy", commands::commands),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if keep(&arguments) {
        return ExitCode::SUCCESS;
    }
    if let Some(code) = other::run(&arguments) {
        return code;
    }
    let wanted = arguments.iter().filter_map(|word| word.to_str());
    let wanted: Vec<&str> = wanted.filter(|word| !word.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word)) {
            let begin = std::time::Instant::now();
            let result = std::panic::catch_unwind(test);
            failed += u8::from(result.is_err());
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("test {name} ... {word} ({:.1?})", begin.elapsed());
        }
    }
    ExitCode::from(failed)
}
