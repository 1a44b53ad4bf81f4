//! The journal: what it remembers, and what it does not believe.

use super::*;
use std::os::unix::fs::PermissionsExt;

const SUBJECT: Subject = Subject {
    source: [1; 32],
    parameters: [2; 32],
    blocks: 100_000,
    region: [3; 32],
};

fn journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

fn started(generation: u32) -> Head {
    Head {
        snapshot: Some("snap-0123456789abcdef0".into()),
        started: 1_700_000_000,
        ..Head::of_generation(generation)
    }
}

fn all(journal: &Journal) -> Vec<(u64, Record)> {
    let mut all = Vec::new();
    journal
        .each(0, |index, record| {
            all.push((index, record));
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn a_run_that_is_killed_has_lost_only_what_was_in_flight() {
    let (_folder, path) = journal();
    let (first, other) = Journal::open(&path, SUBJECT).unwrap();
    assert_eq!((other, first.head()), (None, Head::of_generation(0)));
    first.change(started(0)).unwrap();
    for index in [0, 7, 99_999] {
        first.sending(index).unwrap();
    }
    first.written(7, &[7; 32]).unwrap();
    first.written(99_999, &[9; 32]).unwrap();
    drop(first);

    let (again, other) = Journal::open(&path, SUBJECT).unwrap();
    assert_eq!((other, again.head()), (None, started(0)));
    let expected = [
        (0, Record::Sending),
        (7, Record::Written([7; 32])),
        (99_999, Record::Written([9; 32])),
    ];
    assert_eq!(all(&again), expected);
    assert_eq!(again.read(6, 2).unwrap(), [Record::None, expected[1].1]);
    let digest: Digest = Sha256::digest([[7; 32], [9; 32]].concat()).into();
    assert_eq!(again.total().unwrap(), (2, digest));
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    again.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn records_of_another_generation_or_snapshot_say_nothing_of_this_one() {
    let (_folder, path) = journal();
    let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
    journal.change(started(0)).unwrap();
    journal.written(3, &[3; 32]).unwrap();
    journal.change(started(1)).unwrap();
    // Should the file not have been shortened: in doubt, and not written.
    assert_eq!(all(&journal), [(3, Record::Sending)]);
    journal.begin(started(2)).unwrap();
    assert_eq!(all(&journal), []);
}

#[test]
fn the_snapshot_of_another_subject_is_named_until_this_one_begins() {
    let (_folder, path) = journal();
    let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
    journal.change(started(4)).unwrap();
    journal.written(3, &[3; 32]).unwrap();
    drop(journal);
    let subject = Subject {
        source: [8; 32],
        ..SUBJECT
    };
    for _ in 0..2 {
        let (journal, other) = Journal::open(&path, subject).unwrap();
        assert_eq!(other, Some(started(4)));
        assert_eq!(journal.head(), Head::of_generation(0));
    }
    let (journal, _) = Journal::open(&path, subject).unwrap();
    journal.begin(Head::of_generation(0)).unwrap();
    assert_eq!(all(&journal), []);
    drop(journal);
    let (_, other) = Journal::open(&path, subject).unwrap();
    assert_eq!(other, None);
}

#[test]
fn the_journal_of_a_snapshot_in_another_region_is_not_used() {
    let (_folder, path) = journal();
    let elsewhere = Subject {
        region: [4; 32],
        ..SUBJECT
    };
    let at = |stage| Head {
        stage,
        ..started(0)
    };
    for stage in [Stage::Writing, Stage::Completing] {
        let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
        journal.change(at(stage)).unwrap();
        drop(journal);
        let refused = Journal::open(&path, elsewhere).unwrap_err().to_string();
        let expected = format!(
            "{} is the journal of snap-0123456789abcdef0 in another region",
            path.display()
        );
        assert_eq!(refused, expected);
    }
    let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
    journal.change(at(Stage::Complete)).unwrap();
    drop(journal);
    let (_, other) = Journal::open(&path, elsewhere).unwrap();
    assert_eq!(other, Some(at(Stage::Complete)));
}

#[test]
fn a_snapshot_that_is_given_up_is_not_gone_on_with() {
    let (_folder, path) = journal();
    let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
    journal.change(started(4)).unwrap();
    journal.written(3, &[3; 32]).unwrap();
    journal.give_up().unwrap();
    drop(journal);
    let (journal, other) = Journal::open(&path, SUBJECT).unwrap();
    assert_eq!((other, journal.head()), (None, Head::of_generation(5)));
    assert_eq!(all(&journal), []);
}

#[test]
fn torn_heads_and_records_are_noticed() {
    let (_folder, path) = journal();
    let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
    journal.change(started(0)).unwrap();
    journal.change(started(1)).unwrap();
    journal.written(0, &[5; 32]).unwrap();
    let damage = |place: u64| {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], place).unwrap();
    };
    damage(RECORDS + 20);
    assert_eq!(all(&journal), [(0, Record::Sending)]);
    drop(journal);
    // Three changes were made: the last is in the second place.
    damage(HEAD as u64 + 90);
    let (journal, _) = Journal::open(&path, SUBJECT).unwrap();
    assert_eq!(journal.head(), started(0));
    drop(journal);
    damage(90);
    let (journal, other) = Journal::open(&path, SUBJECT).unwrap();
    assert_eq!((journal.head(), other), (Head::of_generation(0), None));
}

#[test]
fn one_run_at_a_time() {
    let (_folder, path) = journal();
    let (_journal, _) = Journal::open(&path, SUBJECT).unwrap();
    let error = Journal::open(&path, SUBJECT).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} is used by another run", path.display())
    );
}

#[test]
fn what_is_not_a_journal_of_ours_is_left_alone() {
    let (folder, path) = journal();
    let told = |path: &Path| Journal::open(path, SUBJECT).unwrap_err().to_string();
    std::fs::write(&path, "a letter").unwrap();
    let shown = path.display();
    assert_eq!(
        told(&path),
        format!("{shown} is not used as a journal: others may read or write it")
    );
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(
        told(&path),
        format!("{shown} is not used as a journal: it holds something else")
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"a letter");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(told(&link).starts_with("cannot open "));
    let hard = folder.path().join("hard");
    std::fs::hard_link(&path, &hard).unwrap();
    assert_eq!(
        told(&hard),
        format!(
            "{} is not used as a journal: it has another name",
            hard.display()
        )
    );
    assert!(told(folder.path()).starts_with("cannot open "));
}

#[test]
fn ids_have_the_form_of_ids() {
    assert!(is_id("snap-0123456789abcdef0"));
    for id in ["", "snap-a\n", "ami-1", &format!("snap-{}", "a".repeat(60))] {
        assert!(!is_id(id), "{id}");
    }
}
