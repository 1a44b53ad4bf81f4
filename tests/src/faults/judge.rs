//! The permitted outcomes of a run with an injection.

use std::time::Duration;

use super::calls;
use super::run::{Blow, Injection, Line, Ran};
use super::scene::{Kept, Promise, Scene, is_to_resume, manifest_means_whole};
use crate::outcome;
use crate::traces::left_behind;

/// How long the kernel may take to remove a killed run's mounts and loop devices.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the message of an abort begins when memory runs out, in the standard library or the allocator. An abort counts as a kill.
const ABORTS: [&str; 4] = [
    "memory allocation of ",
    "failed to allocate an alternative stack",
    "failed to set up alternative stack guard page",
    "failed to allocate a guard page",
];

const SIGABRT: i32 = -6;
const SIGTERM: i32 = -15;

/// A permitted outcome of a run with an injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The call was not made, or operated on something that cannot have the error. Does not count.
    Missed,
    /// The whole result, and exit code 0.
    Success,
    /// An error in one line, and nothing has changed.
    Failure,
    /// An error that says that the result is complete, and it is.
    Complete,
    /// Killed, and nothing is left.
    Killed,
}

/// Sees what a run came to.
///
/// # Errors
/// What is wrong, for people.
pub fn judge(scene: &Scene, injection: &Injection, ran: &Ran) -> Result<End, String> {
    let hit: Vec<&Line> = ran.hits().collect();
    let is_possible = |line: &&Line| match injection.blow {
        Blow::Error(error) | Blow::Lasting(error) => {
            calls::errors(&line.call, &line.text).any(|possible| possible == error)
        }
        Blow::Interrupt | Blow::Kill | Blow::KillAll => true,
    };
    if !hit.iter().all(is_possible) {
        return Ok(End::Missed);
    }
    let Some(code) = ran.code else {
        return Err(format!("it hangs: {:#?}", ran.left));
    };
    if !ran.left.is_empty() {
        return Err(format!("processes are left: {:#?}", ran.left));
    }
    let is_abort = code == SIGABRT && ABORTS.iter().any(|text| ran.stderr.contains(text));
    if !is_abort && panicked(ran, code) {
        return Err("a panic".to_owned());
    }
    // A SIGTERM before the handler is installed has the same effect as a SIGKILL.
    let is_killed = code == SIGTERM || ran.logged("+++ killed by SIGKILL");
    if is_abort || is_killed {
        after_kill(scene, injection, ran)?;
        return Ok(End::Killed);
    }
    if code < 0 {
        return Err(format!("it died of signal {}", -code));
    }
    if hit.is_empty() && !ran.logged("--- SIGTERM ") {
        return Ok(End::Missed);
    }
    check_left(scene, code, &hit)?;
    if code == 0 {
        after_success(scene)
    } else {
        after_failure(scene, injection, &hit, ran)
    }
}

fn panicked(ran: &Ran, code: i32) -> bool {
    // The sweeper's standard error is not captured, but its exit code is.
    code == 101 || ran.stderr.contains("panicked at") || ran.logged("+++ exited with 101 ")
}

/// Fails if anything is left on the machine or in the target that must not stay.
fn left(scene: &Scene) -> Result<(), String> {
    let may_stay = |name: &str| scene.promise == Promise::Resumes && is_to_resume(name);
    let left = left_behind(&scene.target, PATIENCE, may_stay);
    if left.is_empty() {
        return Ok(());
    }
    Err(format!("left behind: {left:?}"))
}

/// Fails if anything is left; if the removal itself was hit, only after the next run.
fn check_left(scene: &Scene, code: i32, hit: &[&Line]) -> Result<(), String> {
    const REMOVALS: [&str; 4] = ["unlinkat", "unlink", "rmdir", "getdents64"];
    let left_now = left(scene);
    let is_removal = |line: &&Line| REMOVALS.contains(&line.call.as_str());
    if left_now.is_err() && scene.is_local() && (code == 0 || hit.iter().any(is_removal)) {
        scene.run_another()?;
        return left(scene).map_err(|left| format!("after the next run: {left}"));
    }
    left_now
}

fn after_success(scene: &Scene) -> Result<End, String> {
    if scene.promise == Promise::NeverSucceeds {
        return Err("success, though it cannot be".to_owned());
    }
    let complete = (scene.complete)();
    complete.map_err(|wrong| format!("success, but the result is not: {wrong}"))?;
    Ok(End::Success)
}

fn after_failure(
    scene: &Scene,
    injection: &Injection,
    hit: &[&Line],
    ran: &Ran,
) -> Result<End, String> {
    // If standard error cannot be written, only the exit code reports the error.
    let is_silent = hit.iter().any(|line| line.text.starts_with("2<"));
    if !is_silent && !has_one_error(scene, ran) {
        return Err("standard error is not one error in one line".to_owned());
    }
    match scene.is_kept()? {
        Kept::Before | Kept::NoManifest => Ok(End::Failure),
        Kept::Complete => {
            // The command cannot know the content of an answer that was lost or not waited for.
            let is_network = hit.iter().any(|line| line.text.contains("<TCP"));
            let is_lost = is_network || injection.blow == Blow::Interrupt;
            let is_remote = scene.promise == Promise::ManifestMeansWhole;
            let is_said = ran.stderr.contains("complete");
            if is_silent || is_said || (is_remote && is_lost) {
                Ok(End::Complete)
            } else {
                Err("the result is complete, and the error does not say so".to_owned())
            }
        }
    }
}

/// Whether standard error ends with exactly one error, in one of the suite's forms.
fn has_one_error(scene: &Scene, ran: &Ran) -> bool {
    let errors = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("ERROR: "));
    let count = errors.count();
    let last = ran.stderr.lines().last().unwrap_or_default();
    let is_error = last.starts_with("ERROR: ") && count == 1;
    let is_interruption = last == format!("{} interrupted.", scene.program);
    let is_usage = last == format!("Try '{} --help'", scene.program) && count == 0;
    // For a damaged bundle, standard output has the report.
    let is_report = scene.program == "ec2-verify-bundle" && !ran.stdout.is_empty();
    is_error || is_interruption || is_usage || (is_report && ran.stderr.is_empty())
}

/// After a kill, the state must be the older or the new one: at once if the sweeper lives, otherwise after the next run.
fn after_kill(scene: &Scene, injection: &Injection, ran: &Ran) -> Result<(), String> {
    if scene.promise != Promise::NeverSucceeds {
        manifest_means_whole(&scene.target).map_err(|wrong| format!("after the kill: {wrong}"))?;
    }
    if injection.blow == Blow::Kill && sweeper_lived(ran) {
        left(scene).map_err(|left| format!("after its sweeper: {left}"))?;
        let kept = scene.is_kept_after_kill();
        let _ = kept.map_err(|wrong| format!("after its sweeper: {wrong}"))?;
    }
    if scene.is_local() {
        scene.run_another()?;
        left(scene).map_err(|left| format!("after the next run: {left}"))?;
    }
    let kept = scene.is_kept_after_kill();
    let kept = kept.map_err(|wrong| format!("after the next run: {wrong}"))?;
    // It may have been killed when all was done but to say so: then there is nothing to resume.
    let resumes = scene.promise == Promise::Resumes
        && !left_behind(&scene.target, Duration::ZERO, |_| false).is_empty();
    let is_done = kept == Kept::Complete && !resumes;
    if is_done || scene.promise == Promise::NeverSucceeds {
        return Ok(());
    }
    if scene.promise == Promise::GoesOn && (scene.complete)().is_ok() {
        return Ok(());
    }
    let again = outcome(&mut (scene.command)());
    if again.code != 0 {
        return Err(format!("run again, it fails: {again:?}"));
    }
    let complete = (scene.complete)();
    complete.map_err(|wrong| format!("run again, the result is not whole: {wrong}"))?;
    let left = left_behind(&scene.target, PATIENCE, |_| false);
    if left.is_empty() {
        return Ok(());
    }
    Err(format!("left behind after it was run again: {left:?}"))
}

/// Whether the run's sweeper had started, and was not killed too.
fn sweeper_lived(ran: &Ran) -> bool {
    let started = ran.log.iter().find(|line| {
        line.call == "execve"
            && line.text.contains("--sweep-after-me")
            && line.text.ends_with("= 0")
    });
    started.is_some_and(|sweeper| {
        let mut ends = ran.log.iter().filter(|line| line.thread == sweeper.thread);
        ends.any(|line| line.text.starts_with("+++ exited with 0 "))
    })
}
