//! Runs that are interrupted, and go on.

use std::time::Duration;

use ami_ebs::Error;
use ebs_server::{EbsServer, Settings};

use crate::rig::*;

/// A double that takes its time, so that a run can be interrupted anywhere.
fn slow() -> EbsServer {
    EbsServer::start(Settings {
        latency: Duration::from_millis(10),
        ..Settings::default()
    })
}

#[test]
fn a_run_that_is_interrupted_anywhere_goes_on_with_the_same_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let disk = Made::new((1..=300).map(|n| if n % 7 == 0 { 0 } else { n }));
    let request = request(folder.path());
    let mut chance = fastrand::Rng::with_seed(3);
    let mut interrupted = 0;
    let done = loop {
        let some = chance.u64(0..60);
        let source = disk.source(&[extent(50, 20)]);
        // A runtime of its own, so that nothing of the run is left.
        match run(put_some(&server, source, &request, some)) {
            None => interrupted += 1,
            Some(done) => break done.unwrap(),
        }
    };
    assert!(interrupted >= 3, "{interrupted}");
    assert_eq!(server.snapshots().len(), 1);
    let expected = disk.with_zeros(50..70);
    assert!(has(&server, &done.snapshot, &expected));
    assert_eq!(done.blocks, 280);
    let puts = server.log().puts(&done.snapshot);
    let twice: usize = puts.values().map(|puts| puts - 1).sum();
    let most = interrupted * request.parallel;
    assert!(
        twice <= most,
        "{twice} blocks were sent again, and at most {most} were in flight"
    );
}

#[test]
fn the_source_may_change_between_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let request = request(folder.path());
    let before = Made::new(1..=200);
    let _ = run(put_some(&server, before.source(&[]), &request, 30));
    let written = server.snapshots()[0].blocks.clone();
    assert!((10..190).contains(&written.len()), "{}", written.len());
    // Blocks 0 to 4 are free now, 5 to 9 have other bytes, and the end is gone.
    let mut after = before.clone();
    after.blocks[5..10].fill(1000);
    after.blocks.truncate(written.len() - 3);
    let notes = Notes::default();
    let done = run(put(
        &server,
        after.source(&[extent(0, 5)]),
        &request,
        &notes,
    ))
    .unwrap();
    assert_eq!(notes.take(), [format!("resumed {}", done.snapshot)]);
    let expected = after.with_zeros(0..5);
    assert!(has(&server, &done.snapshot, &expected));
    assert_eq!(server.snapshots().len(), 1);
    assert!(
        done.counts.again >= 10 && done.counts.kept > 0,
        "{:?}",
        done.counts
    );
}

#[test]
fn a_complete_snapshot_is_found_again_and_one_of_another_content_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let server = EbsServer::start(Settings::default());
    let request = request(folder.path());
    let disk = Made::new(1..=20);
    let notes = Notes::default();
    let put_it = |disk: &Made| run(put(&server, disk.source(&[]), &request, &notes)).unwrap();
    let first = put_it(&disk).snapshot;
    server.clear_log();
    let again = put_it(&disk);
    assert_eq!((&again.snapshot, again.counts.kept), (&first, 20));
    assert_eq!(server.log().records.len(), 0);
    drop(again.journal);
    let mut other = disk;
    other.blocks[7] = 99;
    let _ = notes.take();
    let second = put_it(&other).snapshot;
    assert_ne!(first, second);
    assert_eq!(
        notes.take(),
        [format!("resumed {first}"), format!("started {second}")]
    );
    assert_eq!(server.snapshots().len(), 2);
    assert!(has(&server, &second, &other));
}

#[test]
fn a_snapshot_in_error_is_given_up_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let request = request(folder.path());
    let disk = Made::new(1..=100);
    let _ = run(put_some(&server, disk.source(&[]), &request, 30));
    let failed = server.snapshots()[0].id.clone();
    server.fail_snapshot(&failed);
    let notes = Notes::default();
    let done = run(put(&server, disk.source(&[]), &request, &notes)).unwrap();
    assert_eq!(
        notes.take(),
        [
            format!("abandoned {failed}"),
            format!("started {}", done.snapshot)
        ]
    );
    assert!(has(&server, &done.snapshot, &disk));
}

#[test]
fn a_snapshot_that_fails_meanwhile_is_given_up_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let request = request(folder.path());
    let disk = Made::new(1..=300);
    let notes = Notes::default();
    let done = run(async {
        let putting = put(&server, disk.source(&[]), &request, &notes);
        let failing = async {
            while server
                .snapshots()
                .first()
                .is_none_or(|first| first.blocks.len() < 30)
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.fail_snapshot(&server.snapshots()[0].id);
        };
        tokio::join!(putting, failing).0
    });
    let done = done.unwrap();
    let first = server
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
    assert_eq!(notes.take(), expected);
    assert!(has(&server, &done.snapshot, &disk));
}

#[test]
fn a_snapshot_that_has_vanished_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (server, other) = (slow(), slow());
    let mut request = request(folder.path());
    request.visible_within = Duration::from_millis(300);
    let disk = Made::new(1..=100);
    let _ = run(put_some(&server, disk.source(&[]), &request, 30));
    let gone = server.snapshots()[0].id.clone();
    // The other server does not have it.
    let notes = Notes::default();
    let done = run(put(&other, disk.source(&[]), &request, &notes)).unwrap();
    assert!(!notes.take().contains(&format!("abandoned {gone}")));
    assert!(has(&other, &done.snapshot, &disk));
}

#[test]
fn another_upload_with_the_same_journal_gives_the_older_snapshot_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let mut request = request(folder.path());
    let disk = Made::new(1..=100);
    let _ = run(put_some(&server, disk.source(&[]), &request, 30));
    let first = server.snapshots()[0].id.clone();
    request.parameters.description = Some("another".into());
    let notes = Notes::default();
    let done = run(put(&server, disk.source(&[]), &request, &notes)).unwrap();
    assert_eq!(
        notes.take(),
        [
            format!("abandoned {first}"),
            format!("started {}", done.snapshot)
        ]
    );
}

#[test]
fn a_journal_that_is_lost_is_no_reason_for_another_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let request = request(folder.path());
    let disk = Made::new(1..=100);
    let _ = run(put_some(&server, disk.source(&[]), &request, 30));
    std::fs::remove_file(&request.journal).unwrap();
    let done = run(put(&server, disk.source(&[]), &request, &Notes::default())).unwrap();
    assert_eq!(server.snapshots().len(), 1);
    assert!(has(&server, &done.snapshot, &disk));
}

#[test]
fn blocks_that_the_journal_does_not_know_of_are_not_completed() {
    let folder = tempfile::tempdir().unwrap();
    let server = slow();
    let request = request(folder.path());
    let disk = Made::new(1..=100);
    let _ = run(put_some(&server, disk.source(&[]), &request, 30));
    std::fs::remove_file(&request.journal).unwrap();
    // What the lost journal had noted is free now.
    let source = disk.source(&[extent(0, 5)]);
    let failed = run(put(&server, source, &request, &Notes::default())).unwrap_err();
    assert!(matches!(failed.error, Error::Request { .. }), "{failed}");
    assert!(failed.to_string().starts_with("CompleteSnapshot of "));
    assert!(!failed.can_resume);
}
