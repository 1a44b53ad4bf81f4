//! Several runs at the same time, in many interleavings: only one at a time has the turn, and a success is never undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::thread;

use crate::error::Error;
use crate::folder::Folder;
use crate::model::{Fake, MANIFEST, Machine, Process, USER};
use crate::model_test::{Contents, OLD, STORIES, Story, next_run, texts, work};
use crate::private::{Private, sweep_after};
use crate::publish::publish;
use crate::turn::take_turn;

fn yielding() {
    thread::yield_now();
}

const ITERATIONS: usize = 1500;

#[test]
fn turns_are_taken_by_one_at_a_time_and_by_all() {
    let scenario = || {
        let machine = Machine::new();
        let is_inside = Arc::new(AtomicBool::new(false));
        let runs: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|id| {
                let (machine, is_inside) = (machine.clone(), Arc::clone(&is_inside));
                thread::spawn(move || {
                    let private = wait_for_private(&machine.process_with(None, yielding), id);
                    let turn = take_turn(&private, || {
                        yielding();
                        Ok(())
                    });
                    let turn = turn.unwrap();
                    assert!(!is_inside.swap(true, Ordering::Relaxed));
                    yielding();
                    is_inside.store(false, Ordering::Relaxed);
                    drop(turn);
                    private.clear();
                })
            })
            .collect();
        for run in runs {
            run.join().unwrap();
        }
        assert_eq!(machine.contents(), Contents::new());
    };
    shuttle::check_random(scenario, ITERATIONS);
    shuttle::check_pct(scenario, ITERATIONS, 3);
}

/// Tries again while another run's sweep is removing the folder.
fn wait_for_private(process: &Arc<Process>, id: &str) -> Private<Fake> {
    loop {
        if let Some(private) = process.private(&work(id)) {
            return private;
        }
        yielding();
    }
}

const BY_RUN: [Story; 3] = [
    Story {
        name: "a",
        old: OLD,
        new: &[
            ("part.0", "x.part.0", "a's part 0", true),
            ("part.1", "x.part.1", "a's part 1", true),
            ("part.2", "x.part.2", "a's part 2", true),
            ("manifest", "x.manifest.xml", "a", true),
        ],
        retired: Some("x"),
        after: &[
            ("x.part.0", "a's part 0"),
            ("x.part.1", "a's part 1"),
            ("x.part.2", "a's part 2"),
            ("x.manifest.xml", "a"),
            ("y.part.0", "another's"),
        ],
    },
    Story {
        name: "b",
        old: OLD,
        new: &[
            ("part.0", "x.part.0", "b's part 0", true),
            ("manifest", "x.manifest.xml", "b", true),
        ],
        retired: Some("x"),
        after: &[
            ("x.part.0", "b's part 0"),
            ("x.manifest.xml", "b"),
            ("y.part.0", "another's"),
        ],
    },
    Story {
        name: "c",
        old: OLD,
        new: &[
            ("part.0", "x.part.0", "c's part 0", true),
            ("part.1", "x.part.1", "c's part 1", true),
            ("manifest", "x.manifest.xml", "c", true),
        ],
        retired: Some("x"),
        after: &[
            ("x.part.0", "c's part 0"),
            ("x.part.1", "c's part 1"),
            ("x.manifest.xml", "c"),
            ("y.part.0", "another's"),
        ],
    },
];

/// A run whose waits are scheduling points; `None`: it died.
fn rival(story: &Story, process: &Arc<Process>) -> Option<()> {
    let private = loop {
        if let Some(private) = process.private(&work(story.name)) {
            break private;
        }
        if process.is_dead() {
            return None;
        }
        yielding();
    };
    let result = private.sweep().and_then(|()| {
        for (staged, _, text, _) in story.new {
            let written = private.folder.write(staged, text.as_bytes());
            written.map_err(Error::io("write", private.folder.path()))?;
        }
        publish(&private, &story.files(), story.retired, || {
            yielding();
            Ok(())
        })
    });
    private.clear();
    assert!(result.is_ok() || process.is_dead(), "{result:?}");
    result.ok().map(|_| ())
}

#[test]
fn finding_01_of_three_rivals_two_of_which_die_the_last_success_has_its_bundle() {
    use shuttle::rand::{Rng, thread_rng};

    let scenario = || {
        let machine = STORIES[1].machine(Machine::new());
        let succeeded = Arc::new(std::sync::Mutex::new(Vec::new()));
        let runs: Vec<_> = BY_RUN
            .iter()
            .map(|story| {
                let dies = (story.name != "c").then(|| (thread_rng().gen_range(0..160), true));
                let process = machine.process_with(dies, yielding);
                let (machine, succeeded) = (machine.clone(), Arc::clone(&succeeded));
                thread::spawn(move || {
                    if rival(story, &process).is_some() {
                        succeeded.lock().unwrap().push(story.name);
                    } else {
                        // The sweeper of a killed run.
                        let sweeper = machine.process_with(None, yielding);
                        let swept =
                            sweep_after(sweeper.destination(), &work(story.name), USER, || {
                                yielding();
                                Ok(())
                            });
                        swept.unwrap();
                    }
                })
            })
            .collect();
        for run in runs {
            run.join().unwrap();
        }
        next_run(&machine.process()).unwrap();
        let found = machine.contents();
        let last = found.get(MANIFEST).map(String::as_str);
        let story = BY_RUN.iter().find(|story| Some(story.name) == last);
        assert_eq!(found, texts(story.expect("a success is not undone").after));
        // The bundle is that of the last success, or of a run that completed its bundle later and was then killed.
        let order = machine.manifests();
        let place = |name: &str| order.iter().position(|text| text == name);
        let succeeded = succeeded.lock().unwrap();
        for name in succeeded.iter() {
            assert!(
                place(name) <= place(last.unwrap()),
                "{succeeded:?}, {order:?}: {last:?}"
            );
        }
    };
    shuttle::check_random(scenario, ITERATIONS);
    shuttle::check_pct(scenario, ITERATIONS, 4);
}
