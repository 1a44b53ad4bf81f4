//! Publishing and recovery with a kill, an error or a power cut at every single call.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::folder::Folder;
use crate::model::{MANIFEST, Machine, Process, USER};
use crate::private::{DOWNLOAD, WORK, sweep_after};
use crate::publish::{NewFile, publish};

pub(crate) type Contents = BTreeMap<String, String>;

/// What the destination contains, and what is published there.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) old: &'static [(&'static str, &'static str)],
    /// Staged name, target, content, whether it may replace.
    pub(crate) new: &'static [(&'static str, &'static str, &'static str, bool)],
    pub(crate) retired: Option<&'static str>,
    /// What the destination contains afterwards.
    pub(crate) after: &'static [(&'static str, &'static str)],
}

pub(crate) const OLD: &[(&str, &str)] = &[
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

pub(crate) const STORIES: &[Story] = &[
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

pub(crate) fn texts(files: &[(&str, &str)]) -> Contents {
    files
        .iter()
        .map(|&(name, text)| (name.into(), text.into()))
        .collect()
}

impl Story {
    pub(crate) fn machine(&self, machine: Machine) -> Machine {
        for (name, text) in self.old {
            machine.put(name, text);
        }
        machine
    }

    pub(crate) fn files(&self) -> Vec<NewFile> {
        let file = |&(staged, target, _, may_replace): &(&str, &str, &str, bool)| NewFile {
            staged: staged.into(),
            target: target.into(),
            may_replace,
        };
        self.new.iter().map(file).collect()
    }

    /// A whole run, whether it succeeds or not.
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

    /// If there is a manifest, all files of its bundle must be there.
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

pub(crate) fn work(id: &str) -> String {
    format!("{WORK}{id}")
}

/// Any later run, which begins by sweeping.
pub(crate) fn next_run(process: &Arc<Process>) -> Result<(), Error> {
    let private = process.private(&work("next")).ok_or(Error::Interrupted)?;
    let swept = private.sweep();
    private.clear();
    swept
}

fn machines() -> [Machine; 3] {
    [Machine::new(), Machine::old(true), Machine::old(false)]
}

#[test]
fn after_a_kill_at_any_call_the_next_run_finds_the_old_or_the_new() {
    for story in STORIES {
        for kind in 0..machines().len() {
            let mut killed = 0;
            loop {
                let machine = story.machine(machines()[kind].clone());
                let process = machine.process_with(Some((killed, true)), || {});
                let result = story.run(&process, &work("a"));
                let what = format!("killed at call {killed} on {kind}");
                story.assert_whole(&machine.contents(), &what);
                if killed % 2 == 0 {
                    next_run(&machine.process()).unwrap();
                } else {
                    let sweeper = machine.process().destination();
                    let busy = || Err(Error::Interrupted);
                    sweep_after(sweeper, &work("a"), USER, busy).unwrap();
                }
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
fn a_recovery_that_is_killed_is_repeated() {
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
                // The third run sweeps the folder of the second.
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
fn finding_03_if_any_call_fails_nothing_has_changed_or_the_error_says_that_all_is_complete() {
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

/// The disk may have lost changes that the process saw, but only those that were not synced.
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
                // And another power cut during, or just after, the next run.
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
    // A story with older files, some of which are not replaced.
    for story in &STORIES[2..3] {
        let last = {
            let machine = story.machine(Machine::new());
            let process = machine.process();
            story.run(&process, &work("a")).unwrap();
            process.calls()
        };
        for killed in (0..last).step_by(7) {
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

/// A file that somebody else put there since is not touched, even if it has a reused inode.
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
fn files_that_cannot_be_restored_are_kept_and_reported_by_the_next_run() {
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
fn obstacles_are_found_before_anything_is_changed() {
    let machine = STORIES[1].machine(Machine::new());
    machine.put("x", "an image");
    let before = machine.contents();
    let result = STORIES[2].run(&machine.process(), &work("a"));
    assert!(matches!(result, Err(Error::Exists { .. })), "{result:?}");
    assert_eq!(machine.contents(), before);
}

/// A journal is valid only in the folder in which it was written.
#[test]
fn a_forged_journal_moves_nothing() {
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
            // Releases its lock.
            drop(forged);
            next_run(&other.process()).unwrap();
            assert_eq!(without_private(&other.contents()), before);
        }
        if !process.is_dead() {
            break;
        }
    }
}
