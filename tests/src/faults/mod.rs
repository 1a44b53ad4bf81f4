//! The sweep: makes every command's system calls fail one at a time, and kills or interrupts the command at them.
//!
//! A good run under strace shows which calls a command makes. `plan` chooses injections among them, `run` repeats the command with
//! strace's fault injection, and `judge` checks that the result is what the suite promises. A `scene` is a command with its initial state
//! and its promises. strace's `when=N` counts per thread, so one injection may hit several threads.

mod calls;
mod judge;
mod local;
mod plan;
mod remote;
mod run;
mod scene;
mod snapshots;

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Mutex;

use crate::random::Random;

use judge::{End, judge};
use run::{Injection, Ran, count, inject};
use scene::Scene;

/// How many commands run at a time.
const WORKERS: usize = 2;

/// Makes a scene.
type Make = fn() -> Scene;

/// All scenes with their commands, grouped by command.
const SCENES: [(&str, Make); 19] = [
    ("ec2-bundle-vol", || local::bundle_volume(true)),
    ("ec2-bundle-vol", || local::bundle_volume(false)),
    ("ec2-bundle-image", || local::bundle_image(true)),
    ("ec2-bundle-image", || local::bundle_image(false)),
    ("ec2-unbundle", || local::unbundle(true)),
    ("ec2-unbundle", || local::unbundle(false)),
    ("ec2-verify-bundle", || local::verify_bundle(true)),
    ("ec2-verify-bundle", || local::verify_bundle(false)),
    ("ec2-upload-bundle", || remote::upload(false)),
    ("ec2-upload-bundle", || remote::upload(true)),
    ("ec2-download-bundle", || remote::download(true, false)),
    ("ec2-download-bundle", || remote::download(false, false)),
    ("ec2-download-bundle", || remote::download(true, true)),
    ("ec2-delete-bundle", remote::delete),
    ("ec2-migrate-manifest", local::migrate_manifest),
    ("ec2-migrate-bundle", remote::migrate_bundle),
    ("ec2-create-signing-cert", local::create_signing_cert),
    ("ec2-ami", snapshots::create),
    ("ec2-ami", snapshots::fetch),
];

/// The outcomes of a command's injections.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// The command.
    pub program: &'static str,
    /// Exit code 0, and the result is right.
    pub successes: usize,
    /// An error, and nothing has changed.
    pub failures: usize,
    /// An error that says that the result is complete.
    pub complete: usize,
    /// Killed.
    pub kills: usize,
    /// Anything else.
    pub wrong: usize,
}

impl Tally {
    /// The number of injections into the command.
    pub fn injections(&self) -> usize {
        self.successes + self.failures + self.complete + self.kills + self.wrong
    }

    fn add(&mut self, end: &Result<End, String>) {
        let count = match end {
            Ok(End::Missed) => return,
            Ok(End::Success) => &mut self.successes,
            Ok(End::Failure) => &mut self.failures,
            Ok(End::Complete) => &mut self.complete,
            Ok(End::Killed) => &mut self.kills,
            Err(_) => &mut self.wrong,
        };
        *count += 1;
    }
}

/// The results of a sweep.
#[derive(Debug, Default)]
pub struct Report {
    /// For each command.
    pub tallies: Vec<Tally>,
    /// The wrong outcomes, each with how to repeat it.
    pub wrong: Vec<String>,
}

impl Report {
    /// The number of injections into all commands.
    pub fn injections(&self) -> usize {
        self.tallies.iter().map(Tally::injections).sum()
    }

    /// A row for each command.
    pub fn table(&self) -> String {
        let mut table = "| command | injections | exit 0, whole | error, as before | error that says complete | killed | wrong |\n\
                         |---|---|---|---|---|---|---|\n"
            .to_owned();
        for tally in &self.tallies {
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "| `{}` | {} | {} | {} | {} | {} | {} |",
                tally.program,
                tally.injections(),
                tally.successes,
                tally.failures,
                tally.complete,
                tally.kills,
                tally.wrong
            );
        }
        table
    }

    fn tally(&mut self, program: &'static str) -> &mut Tally {
        let found = self
            .tallies
            .iter()
            .position(|tally| tally.program == program);
        let index = found.unwrap_or_else(|| {
            self.tallies.push(Tally {
                program,
                ..Tally::default()
            });
            self.tallies.len() - 1
        });
        &mut self.tallies[index]
    }
}

/// Makes some `total` injections into all commands, or into this one, spread over their scenes. Reports each scene and each wrong
/// outcome.
pub fn sweep(total: usize, only: Option<&str>, seed: u64, tell: &(dyn Fn(&str) + Sync)) -> Report {
    let mut random = Random::new(seed);
    let mut report = Report::default();
    let mut scenes = SCENES.to_vec();
    scenes.retain(|(program, _)| only.is_none_or(|only| only == *program));
    let each = total.div_ceil(scenes.len().max(1));
    for (program, make) in scenes {
        let scene = make();
        let name = scene.name();
        let good = count(&(scene.command)());
        let injections = plan::choose(&good, each, &mut random);
        check_good(&scene, &good);
        let planned = injections.len();
        let queue = Mutex::new(VecDeque::from(injections));
        let ended = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let work = |scene: Scene| {
                while let Some(injection) = next(&queue) {
                    let end = hit(&scene, &injection);
                    if let Err(wrong) = &end {
                        tell(wrong);
                    }
                    ended.lock().unwrap().push(end);
                }
            };
            for _ in 1..WORKERS {
                let _ = scope.spawn(move || work(make()));
            }
            work(scene);
        });
        let ended = ended.into_inner().unwrap();
        let tally = report.tally(program);
        for end in &ended {
            tally.add(end);
        }
        let wrong: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
        tell(&format!("{name}: {planned} planned, {} wrong", wrong.len()));
        report.wrong.extend(wrong);
    }
    report
}

/// Makes one injection. `words` are the scene's name, the call, the blow and its number, as shown for a wrong outcome.
pub fn repeat(words: &[String]) -> String {
    let [name, call, blow, when] = words else {
        return "four words are needed: SCENE CALL BLOW NUMBER".to_owned();
    };
    let of_program = |(program, _): &&(&str, Make)| name.starts_with(&format!("{program} "));
    let mut scenes = SCENES.iter().filter(of_program).map(|(_, make)| make());
    let scene = scenes.find(|scene| scene.name() == *name);
    let (Some(scene), Some(injection)) = (scene, Injection::parse(call, blow, when)) else {
        return format!("there is no such scene or injection: {words:?}");
    };
    match hit(&scene, &injection) {
        Ok(end) => format!("{end:?}"),
        Err(wrong) => wrong,
    }
}

fn next(queue: &Mutex<VecDeque<Injection>>) -> Option<Injection> {
    queue.lock().unwrap().pop_front()
}

/// Panics if a command fails without an injection, because its scene would then prove nothing.
fn check_good(scene: &Scene, good: &Ran) {
    let is_spoilt = scene.promise == scene::Promise::NeverSucceeds;
    assert_eq!(
        good.code == Some(0),
        !is_spoilt,
        "{}: {good:?}",
        scene.name()
    );
    let complete = (scene.complete)();
    assert_eq!(complete, Ok(()), "{}", scene.name());
}

fn hit(scene: &Scene, injection: &Injection) -> Result<End, String> {
    scene.reset();
    let ran = inject(&(scene.command)(), injection);
    judge(scene, injection, &ran).map_err(|wrong| {
        let hits: String = ran
            .hits()
            .map(|line| format!("\n    hit: {}({}", line.call, line.text))
            .collect();
        format!(
            "WRONG: {name}: {wrong}\n    repeat: ami-faults repeat '{name}' {words}\n    {command}{hits}\n    exit {code:?}; stderr: {stderr:?}",
            name = scene.name(),
            words = injection.words(),
            command = ran.command,
            code = ran.code,
            stderr = ran.stderr,
        )
    })
}
