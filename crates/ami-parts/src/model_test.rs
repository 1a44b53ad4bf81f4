//! Publishing and recovery with a kill, an error or a power cut at every single call; several runs in many interleavings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::thread;

use crate::error::Error;
use crate::folder::Folder;
use crate::model::{Fake, MANIFEST, Machine, Process};
use crate::private::{DOWNLOAD, Private, WORK};
use crate::publish::{NewFile, publish};
use crate::turn::take_turn;

type Contents = BTreeMap<String, String>;

/// What is in the destination, and what is published there.
struct Story {
    name: &'static str,
    old: &'static [(&'static str, &'static str)],
    /// Staged name, target, text, whether it may replace.
    new: &'static [(&'static str, &'static str, &'static str, bool)],
    retired: Option<&'static str>,
    /// What is there afterwards.
    after: &'static [(&'static str, &'static str)],
}

const OLD: &[(&str, &str)] = &[
    ("x.part.0", "old 0"),
    ("x.part.1", "old 1"),
    ("x.manifest.xml", "old"),
    ("y.part.0", "another's"),
];

const NEW: &[(&str, &str, &str, bool)] = &[
    ("part.0", "x.part.0", "new part 0", true),
    ("part.1", "x.part.1", "new part 1", true),
    ("manifest", "x.manifest.xml", "new", true),
];

const STORIES: &[Story] = &[
    Story {
        name: "a new bundle",
        old: &[("y.part.0", "another's")],
        new: NEW,
        retired: Some("x"),
        after: &[
            ("x.part.0", "new part 0"),
            ("x.part.1", "new part 1"),
            ("x.manifest.xml", "new"),
            ("y.part.0", "another's"),
        ],
    },
    Story {
        name: "over an old one",
        old: OLD,
        new: NEW,
        retired: Some("x"),
        after: &[
            ("x.part.0", "new part 0"),
            ("x.part.1", "new part 1"),
            ("x.manifest.xml", "new"),
            ("y.part.0", "another's"),
        ],
    },
    Story {
        name: "over a longer one, with the image",
        old: OLD,
        new: &[
            ("image", "x", "new image", false),
            ("part.0", "x.part.0", "new part 0", true),
            ("manifest", "x.manifest.xml", "new", true),
        ],
        retired: Some("x"),
        after: &[
            ("x", "new image"),
            ("x.part.0", "new part 0"),
            ("x.manifest.xml", "new"),
            ("y.part.0", "another's"),
        ],
    },
    Story {
        name: "a download",
        old: OLD,
        new: &[
            ("part.1", "odd", "new odd", false),
            ("part.0", "x.part.1", "new part 1", true),
            ("manifest", "x.manifest.xml", "new", true),
        ],
        retired: None,
        after: &[
            ("odd", "new odd"),
            ("x.part.0", "old 0"),
            ("x.part.1", "new part 1"),
            ("x.manifest.xml", "new"),
            ("y.part.0", "another's"),
        ],
    },
    Story {
        name: "a key pair",
        old: &[("pk.pem", "another's")],
        new: &[
            ("key", "pk-me.pem", "key", false),
            ("certificate", "cert-me.pem", "certificate", false),
        ],
        retired: None,
        after: &[
            ("pk.pem", "another's"),
            ("pk-me.pem", "key"),
            ("cert-me.pem", "certificate"),
        ],
    },
];

fn texts(files: &[(&str, &str)]) -> Contents {
    files
        .iter()
        .map(|&(name, text)| (name.into(), text.into()))
        .collect()
}

impl Story {
    fn machine(&self, machine: Machine) -> Machine {
        for (name, text) in self.old {
            machine.put(name, text);
        }
        machine
    }

    fn files(&self) -> Vec<NewFile> {
        let file = |&(staged, target, _, may_replace): &(&str, &str, &str, bool)| NewFile {
            staged: staged.into(),
            target: target.into(),
            may_replace,
        };
        self.new.iter().map(file).collect()
    }

    /// A run from its beginning to its end, however it ends.
    fn run(&self, process: &Arc<Process>, folder: &str) -> Result<(), Error> {
        let gone = || Error::Interrupted;
        let private = process.private(folder).ok_or_else(gone)?;
        let result = private.sweep().and_then(|()| {
            for (staged, _, text, _) in self.new {
                let written = private.folder.write(staged, text.as_bytes());
                written.map_err(Error::io("write", private.folder.path()))?;
            }
            publish(&private, &self.files(), self.retired, || {
                Err(Error::Interrupted)
            })
        });
        private.clear();
        result.map(|_| ())
    }

    /// Where there is a manifest, all that it stands for is there.
    fn assert_whole(&self, contents: &Contents, what: &str) {
        let text = contents.get(self.new.last().unwrap().1);
        let expected = match text.map(String::as_str) {
            Some("old") => texts(self.old),
            Some(_) => texts(self.after),
            None => return,
        };
        for (name, text) in expected {
            assert_eq!(
                contents.get(&name),
                Some(&text),
                "{}: {what}: {name}",
                self.name
            );
        }
    }

    fn assert_old_or_new(&self, contents: &Contents, what: &str) {
        let ends = [texts(self.old), texts(self.after)];
        assert!(
            ends.contains(contents),
            "{}: {what}: {contents:?}",
            self.name
        );
    }
}

fn without_private(contents: &Contents) -> Contents {
    let is_public = |name: &String| !name.starts_with(".ec2-ami-tools");
    let public = contents.iter().filter(|(name, _)| is_public(name));
    public
        .map(|(name, text)| (name.clone(), text.clone()))
        .collect()
}

fn work(id: &str) -> String {
    format!("{WORK}{id}")
}

/// The next run of whatever, which begins by sweeping.
fn next_run(process: &Arc<Process>) -> Result<(), Error> {
    let private = process.private(&work("next")).ok_or(Error::Interrupted)?;
    let swept = private.sweep();
    private.clear();
    swept
}

fn machines() -> [Machine; 3] {
    [Machine::new(), Machine::old(true), Machine::old(false)]
}

#[test]
fn whatever_call_is_the_last_one_the_next_run_finds_the_old_or_the_new() {
    for story in STORIES {
        for kind in 0..machines().len() {
            let mut killed = 0;
            loop {
                let machine = story.machine(machines()[kind].clone());
                let process = machine.process_with(Some((killed, true)), || {});
                let result = story.run(&process, &work("a"));
                let what = format!("killed at call {killed} on {kind}");
                story.assert_whole(&machine.contents(), &what);
                next_run(&machine.process()).unwrap();
                let found = machine.contents();
                story.assert_old_or_new(&found, &what);
                if !process.is_dead() {
                    result.unwrap();
                    assert_eq!(found, texts(story.after));
                    break;
                }
                killed += 1;
            }
            assert!(killed > 30, "{killed}");
        }
    }
}

#[test]
fn a_recovery_that_is_killed_is_done_again() {
    for story in STORIES {
        for killed in 0.. {
            let mut killed_again = 0;
            let process = loop {
                let machine = story.machine(Machine::new());
                let process = machine.process_with(Some((killed, true)), || {});
                let _ = story.run(&process, &work("a"));
                let next = machine.process_with(Some((killed_again, true)), || {});
                let _ = next_run(&next);
                let what = format!("killed at call {killed}, then at {killed_again}");
                story.assert_whole(&machine.contents(), &what);
                // The folder of the second one is swept by the third.
                let third = machine.process().private(&work("third")).unwrap();
                third.sweep().unwrap();
                third.clear();
                story.assert_old_or_new(&machine.contents(), &what);
                killed_again += 1;
                if !next.is_dead() {
                    break process;
                }
            };
            if !process.is_dead() {
                break;
            }
        }
    }
}

#[test]
fn finding_03_whatever_call_fails_all_is_as_before_or_said_to_be_complete() {
    for story in STORIES {
        for kind in 0..machines().len() {
            for failing in 0.. {
                let machine = story.machine(machines()[kind].clone());
                let process = machine.process_with(Some((failing, false)), || {});
                let result = story.run(&process, &work("a"));
                let expected = match &result {
                    Ok(()) | Err(Error::NotSynced { .. }) => story.after,
                    Err(_) => story.old,
                };
                let what = format!(
                    "{}: call {failing} failed on {kind}: {result:?}",
                    story.name
                );
                let found = machine.contents();
                assert_eq!(without_private(&found), texts(expected), "{what}");
                next_run(&machine.process()).unwrap();
                assert_eq!(machine.contents(), texts(expected), "{what}");
                if process.calls() <= failing {
                    break;
                }
            }
        }
    }
}

/// The disk may hold less than what was seen, but only what was not synced.
#[test]
fn after_a_power_cut_at_any_moment_there_is_the_old_or_the_new() {
    let mut cuts = 0;
    for story in STORIES {
        for killed in 0.. {
            let machine = story.machine(Machine::new());
            let process = machine.process_with(Some((killed, true)), || {});
            let _ = story.run(&process, &work("a"));
            for after in machine.after_power_cut() {
                cuts += 1;
                let what = format!("power cut at call {killed}");
                story.assert_whole(&after.contents(), &what);
                next_run(&after.process()).unwrap();
                let found = after.contents();
                story.assert_old_or_new(&found, &what);
                if !process.is_dead() {
                    assert_eq!(found, texts(story.after), "{}", story.name);
                }
                // And another one during, or just after, what the next run does.
                for again in after.after_power_cut() {
                    story.assert_whole(&again.contents(), &what);
                    next_run(&again.process()).unwrap();
                    story.assert_old_or_new(&again.contents(), &what);
                }
            }
            if !process.is_dead() {
                break;
            }
        }
    }
    assert!(cuts > 1000, "{cuts}");
}

#[test]
fn a_power_cut_during_recovery_changes_nothing() {
    // One with older files, of which some have no successor.
    for story in &STORIES[2..3] {
        let last = {
            let machine = story.machine(Machine::new());
            let process = machine.process();
            story.run(&process, &work("a")).unwrap();
            process.calls()
        };
        for killed in (0..last).step_by(3) {
            for killed_again in 0.. {
                let machine = story.machine(Machine::new());
                let _ = story.run(
                    &machine.process_with(Some((killed, true)), || {}),
                    &work("a"),
                );
                let next = machine.process_with(Some((killed_again, true)), || {});
                let _ = next_run(&next);
                for after in machine.after_power_cut() {
                    let what = format!("killed at {killed}, power cut at {killed_again}");
                    story.assert_whole(&after.contents(), &what);
                    let third = after.process().private(&work("third")).unwrap();
                    third.sweep().unwrap();
                    third.clear();
                    story.assert_old_or_new(&after.contents(), &what);
                }
                if !next.is_dead() {
                    break;
                }
            }
        }
    }
}

/// What somebody put there since is theirs, whatever inode it has.
#[test]
fn finding_01_a_later_bundle_is_not_rolled_back() {
    let story = &STORIES[1];
    for killed in 0.. {
        let machine = story.machine(Machine::new());
        let process = machine.process_with(Some((killed, true)), || {});
        let _ = story.run(&process, &work("a"));
        let later = Story {
            new: &[
                ("part.0", "x.part.0", "later part 0", true),
                ("manifest", "x.manifest.xml", "later", true),
            ],
            ..STORIES[1]
        };
        later.run(&machine.process(), &work("b")).unwrap();
        next_run(&machine.process()).unwrap();
        let expected = [
            ("x.part.0", "later part 0"),
            ("x.manifest.xml", "later"),
            ("y.part.0", "another's"),
        ];
        assert_eq!(machine.contents(), texts(&expected), "killed at {killed}");
        if !process.is_dead() {
            break;
        }
    }
}

#[test]
fn what_cannot_go_back_is_kept_where_the_next_run_says() {
    let story = &STORIES[1];
    let mut saved = 0;
    for killed in 0.. {
        let machine = story.machine(Machine::new());
        let process = machine.process_with(Some((killed, true)), || {});
        let _ = story.run(&process, &work("a"));
        let is_there = |name: &str| machine.contents().contains_key(name);
        if !is_there("x.part.1") && !is_there(MANIFEST) {
            machine.put("x.part.1", "somebody's");
            next_run(&machine.process()).unwrap();
            let begin = ".ec2-ami-tools-saved.a/";
            let expected = [
                ("x.part.0", "old 0"),
                ("x.part.1", "somebody's"),
                ("y.part.0", "another's"),
                (begin, ""),
                (&format!("{begin}x.manifest.xml"), "old"),
                (&format!("{begin}x.part.1"), "old 1"),
            ];
            assert_eq!(machine.contents(), texts(&expected), "killed at {killed}");
            next_run(&machine.process()).unwrap();
            assert_eq!(machine.contents(), texts(&expected), "killed at {killed}");
            saved += 1;
        }
        if !process.is_dead() {
            break;
        }
    }
    assert!(saved > 2, "{saved}");
}

#[test]
fn a_download_that_is_killed_while_it_publishes_has_its_parts_for_the_next_one() {
    let story = &STORIES[3];
    let name = format!("{DOWNLOAD}id.a");
    for killed in 0.. {
        let machine = story.machine(Machine::new());
        let process = machine.process_with(Some((killed, true)), || {});
        let written = {
            let Some(private) = process.private(&name) else {
                continue;
            };
            let wrote =
                |staged: &str, text: &str| private.folder.write(staged, text.as_bytes()).is_ok();
            let written = story
                .new
                .iter()
                .all(|(staged, _, text, _)| wrote(staged, text));
            if written {
                let _ = publish(&private, &story.files(), None, || Err(Error::Interrupted));
            }
            written
        };
        next_run(&machine.process()).unwrap();
        let found = machine.contents();
        story.assert_old_or_new(&without_private(&found), &format!("killed at {killed}"));
        if written && without_private(&found) == texts(story.old) {
            for (staged, _, text, _) in story.new {
                assert_eq!(
                    found.get(&format!("{name}/{staged}")).map(String::as_str),
                    Some(*text)
                );
            }
        } else if without_private(&found) == texts(story.after) {
            assert!(!found.contains_key(&format!("{name}/journal")));
        }
        if !process.is_dead() {
            break;
        }
    }
}

#[test]
fn what_is_in_the_way_is_found_before_anything_is_touched() {
    let machine = STORIES[1].machine(Machine::new());
    machine.put("x", "an image");
    let before = machine.contents();
    let result = STORIES[2].run(&machine.process(), &work("a"));
    assert!(matches!(result, Err(Error::Exists { .. })), "{result:?}");
    assert_eq!(machine.contents(), before);
}

/// A journal counts only in the folder that it was written in.
#[test]
fn a_journal_that_was_put_there_moves_nothing() {
    let story = &STORIES[1];
    for killed in 0.. {
        let machine = story.machine(Machine::new());
        let process = machine.process_with(Some((killed, true)), || {});
        let _ = story.run(&process, &work("a"));
        let destination = machine.process().destination();
        let journal = destination
            .open(&work("a"))
            .and_then(|folder| folder.read("journal", 9999));
        if let Ok(journal) = journal {
            let other = story.machine(Machine::new());
            let before = other.contents();
            let forged = other.process().private(&work("forged")).unwrap();
            forged.folder.write("journal", &journal).unwrap();
            forged.folder.write("old.0", b"evil").unwrap();
            // Whoever made it has gone.
            drop(forged);
            next_run(&other.process()).unwrap();
            assert_eq!(without_private(&other.contents()), before);
        }
        if !process.is_dead() {
            break;
        }
    }
}

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

/// Another's sweeping may be removing the folder at the same time.
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
                        // Its sweeper.
                        let id = format!("sweeper of {}", story.name);
                        let sweeper = wait_for_private(&machine.process_with(None, yielding), &id);
                        let mut wait = || {
                            yielding();
                            Ok(())
                        };
                        while !sweeper.sweep_one(&work(story.name), &mut wait).unwrap() {
                            yielding();
                        }
                        sweeper.clear();
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
        // It is the last success's, or that of one that completed its bundle later and was killed then.
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
