//! Runs that are interrupted, and go on.

use std::time::Duration;

use ami_ebs::Error;

use crate::rig::*;

#[test]
fn a_run_that_is_interrupted_anywhere_goes_on_with_the_same_snapshot() {
    let scene = Scene::slow();
    let disk = Made::new((1..=300).map(|n| if n % 7 == 0 { 0 } else { n }));
    let source = || disk.source(&[extent(50, 20)]);
    let done = scene.put_with_interruptions(source, 3);
    let expected = disk.with_zeros(50..70);
    assert!(scene.has(&done.snapshot, &expected));
    assert_eq!(done.blocks, 280);
}

#[test]
fn the_source_may_change_between_runs() {
    let scene = Scene::slow();
    let before = Made::new(1..=200);
    let _ = scene.put_some(before.source(&[]), 30);
    let written = scene.server.snapshots()[0].blocks.clone();
    assert!((10..190).contains(&written.len()), "{}", written.len());
    // Blocks 0 to 4 are free now, 5 to 9 have other bytes, and the end is gone.
    let mut after = before.clone();
    after.blocks[5..10].fill(1000);
    after.blocks.truncate(written.len() - 3);
    let done = scene.put(after.source(&[extent(0, 5)])).unwrap();
    assert_eq!(scene.notes.take(), [format!("resumed {}", done.snapshot)]);
    let expected = after.with_zeros(0..5);
    assert!(scene.has(&done.snapshot, &expected));
    assert_eq!(scene.server.snapshots().len(), 1);
    assert!(
        done.counts.again >= 10 && done.counts.kept > 0,
        "{:?}",
        done.counts
    );
}

#[test]
fn a_complete_snapshot_is_found_again_and_one_of_another_content_is_not_touched() {
    let scene = Scene::new();
    let disk = Made::new(1..=20);
    let put_it = |disk: &Made| scene.put(disk.source(&[])).unwrap();
    let first = put_it(&disk).snapshot;
    scene.server.clear_log();
    let again = put_it(&disk);
    assert_eq!((&again.snapshot, again.counts.kept), (&first, 20));
    assert_eq!(scene.server.log().records.len(), 0);
    drop(again.journal);
    let mut other = disk;
    other.blocks[7] = 99;
    let _ = scene.notes.take();
    let second = put_it(&other).snapshot;
    assert_ne!(first, second);
    assert_eq!(
        scene.notes.take(),
        [format!("resumed {first}"), format!("started {second}")]
    );
    assert_eq!(scene.server.snapshots().len(), 2);
    assert!(scene.has(&second, &other));
}

#[test]
fn a_snapshot_in_error_is_given_up_for_another() {
    let scene = Scene::slow();
    let disk = Made::new(1..=100);
    let _ = scene.put_some(disk.source(&[]), 30);
    let failed = scene.server.snapshots()[0].id.clone();
    scene.server.fail_snapshot(&failed);
    let done = scene.put(disk.source(&[])).unwrap();
    assert_eq!(
        scene.notes.take(),
        [
            format!("abandoned {failed}"),
            format!("started {}", done.snapshot)
        ]
    );
    assert!(scene.has(&done.snapshot, &disk));
}

#[test]
fn a_snapshot_that_fails_meanwhile_is_given_up_for_another() {
    let scene = Scene::slow();
    let disk = Made::new(1..=300);
    let done = run(async {
        let putting = put(
            &scene.server,
            disk.source(&[]),
            &scene.request,
            &scene.notes,
        );
        let failing = async {
            while scene
                .server
                .snapshots()
                .first()
                .is_none_or(|first| first.blocks.len() < 30)
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            scene.server.fail_snapshot(&scene.server.snapshots()[0].id);
        };
        tokio::join!(putting, failing).0
    });
    let done = done.unwrap();
    let first = scene
        .server
        .snapshots()
        .into_iter()
        .find(|found| found.state == "error")
        .unwrap()
        .id;
    let expected = [
        format!("started {first}"),
        format!("abandoned {first}"),
        format!("started {}", done.snapshot),
    ];
    assert_eq!(scene.notes.take(), expected);
    assert!(scene.has(&done.snapshot, &disk));
}

#[test]
fn a_snapshot_that_has_vanished_is_written_anew() {
    let (mut scene, other) = (Scene::slow(), Scene::slow());
    scene.request.visible_within = Duration::from_millis(300);
    let disk = Made::new(1..=100);
    let _ = scene.put_some(disk.source(&[]), 30);
    let gone = scene.server.snapshots()[0].id.clone();
    // The other server does not have it.
    let putting = put(
        &other.server,
        disk.source(&[]),
        &scene.request,
        &scene.notes,
    );
    let done = run(putting).unwrap();
    assert!(!scene.notes.take().contains(&format!("abandoned {gone}")));
    assert!(other.has(&done.snapshot, &disk));
}

#[test]
fn another_upload_with_the_same_journal_gives_the_older_snapshot_up() {
    let mut scene = Scene::slow();
    let disk = Made::new(1..=100);
    let _ = scene.put_some(disk.source(&[]), 30);
    let first = scene.server.snapshots()[0].id.clone();
    scene.request.parameters.description = Some("another".into());
    let done = scene.put(disk.source(&[])).unwrap();
    assert_eq!(
        scene.notes.take(),
        [
            format!("abandoned {first}"),
            format!("started {}", done.snapshot)
        ]
    );
}

#[test]
fn a_journal_that_is_lost_is_no_reason_for_another_snapshot() {
    let scene = Scene::slow();
    let disk = Made::new(1..=100);
    let _ = scene.put_some(disk.source(&[]), 30);
    std::fs::remove_file(&scene.request.journal).unwrap();
    let done = scene.put(disk.source(&[])).unwrap();
    assert_eq!(scene.server.snapshots().len(), 1);
    assert!(scene.has(&done.snapshot, &disk));
}

#[test]
fn blocks_that_the_journal_does_not_know_of_are_not_completed() {
    let scene = Scene::slow();
    let disk = Made::new(1..=100);
    let _ = scene.put_some(disk.source(&[]), 30);
    std::fs::remove_file(&scene.request.journal).unwrap();
    // What the lost journal had noted is free now.
    let source = disk.source(&[extent(0, 5)]);
    let failed = scene.put(source).unwrap_err();
    assert!(matches!(failed.error, Error::Request { .. }), "{failed}");
    assert!(failed.to_string().starts_with("CompleteSnapshot of "));
    assert!(!failed.can_resume);
}
