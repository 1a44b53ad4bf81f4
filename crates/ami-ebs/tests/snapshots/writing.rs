//! What is written, and what never becomes complete.

use ami_ebs::{BLOCK_SIZE, Counts, Error, Source, verify};
use ami_image::Extent;
use ebs_server::{Fault, Reading, Settings};

use crate::rig::*;

#[test]
fn all_but_free_blocks_are_written_and_counted() {
    let scene = Scene::new();
    // 3 and 4 are free, half of 6 is; 1 and 5 are zeros; the last is short.
    let mut disk = Made::new([1, 0, 2, 3, 4, 0, 5, 6]);
    disk.short = 1000;
    let half = Extent {
        offset: 6 * BLOCK_SIZE,
        length: BLOCK_SIZE / 2,
    };
    let free = [extent(3, 2), half];
    let done = run(async {
        let done = put(
            &scene.server,
            disk.source(&free),
            &scene.request,
            &scene.notes,
        )
        .await;
        let done = done.unwrap();
        completed(&scene.server, &done.snapshot).await;
        let ebs = ebs(&scene.server.url()).await;
        let read = verify(&ebs, &done.journal, 4, &()).await.unwrap();
        assert_eq!(read.done, 6);
        done
    });
    let expected = Counts {
        done: 6,
        zeros: 2,
        free: 2,
        ..Counts::default()
    };
    assert_eq!((done.blocks, done.counts), (6, expected));
    assert_eq!(scene.notes.take(), [format!("started {}", done.snapshot)]);
    let snapshot = scene.server.snapshot(&done.snapshot).unwrap();
    assert_eq!(snapshot.blocks, [0, 1, 2, 5, 6, 7]);
    assert_eq!(snapshot.description, "made up");
    let expected = disk.with_zeros(3..5);
    assert!(scene.has(&done.snapshot, &expected));
    assert_eq!(scene.server.log().put_twice(&done.snapshot), 0);
    done.journal.remove().unwrap();
    assert_eq!(std::fs::read_dir(scene.folder.path()).unwrap().count(), 0);
}

#[test]
fn of_a_stream_everything_is_written() {
    let mut scene = Scene::new();
    let mut disk = Made::new([1, 0, 2]);
    let bytes: Vec<u8> = [1, 0, 2].into_iter().flat_map(Made::block).collect();
    let bytes = bytes[..3 * BLOCK - 7].to_vec();
    let source = |length| Source::Stream {
        reader: Box::new(std::io::Cursor::new(bytes.clone())),
        length,
    };
    let done = scene.put(source(None)).unwrap();
    assert_eq!(
        scene.server.snapshot(&done.snapshot).unwrap().blocks,
        [0, 1, 2]
    );
    disk.short = 7;
    assert!(scene.has(&done.snapshot, &disk));
    drop(done.journal);
    scene.request.source = [8; 32];
    let failed = scene.put(source(Some(9))).unwrap_err();
    assert!(
        matches!(failed.error, Error::Length { expected: 9, .. }),
        "{failed}"
    );
    assert!(!failed.can_resume);
}

#[test]
fn blocks_of_an_encrypted_volume_are_never_noise_where_they_were_zeros() {
    let scene = Scene::with(Settings {
        encryption_by_default: true,
        ..Settings::default()
    });
    let disk = Made::new([1, 0, 0, 2]);
    let done = scene.put(disk.source(&[])).unwrap();
    for index in [1, 2] {
        let block = scene
            .server
            .block(&done.snapshot, index, Reading::Noise)
            .unwrap();
        assert!(block.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn what_changes_or_cannot_be_read_does_not_become_complete() {
    let scene = Scene::new();
    let right = Made::new(1..=40);
    let changed = Made {
        is_changed: true,
        ..right.clone()
    };
    let bad = Made {
        bad: Some(30),
        ..right.clone()
    };
    let mut ids = Vec::new();
    for (disk, text) in [
        (&changed, "the source was changed while it was read"),
        (&bad, "the source cannot be read at byte 15728640"),
    ] {
        let failed = scene.put(disk.source(&[]));
        let failed = failed.unwrap_err();
        assert_eq!(
            (failed.to_string().as_str(), failed.can_resume),
            (text, false)
        );
        ids.push(failed.snapshot.unwrap());
    }
    assert_eq!(scene.server.log().of("CompleteSnapshot").count(), 0);
    let done = scene.put(right.source(&[])).unwrap();
    assert!(!ids.contains(&done.snapshot) && ids[0] != ids[1]);
    assert!(scene.has(&done.snapshot, &right));
    assert!(
        ids.iter()
            .all(|id| scene.server.snapshot(id).unwrap().state == "pending")
    );
}

#[test]
fn faults_of_every_kind_pass() {
    let scene = Scene::new();
    for fault in [
        Fault::Error,
        Fault::Throttle,
        Fault::Reset,
        Fault::Lost,
        Fault::Cut,
    ] {
        scene.server.fail("PutSnapshotBlock", fault, 2, 2);
        scene.server.fail("StartSnapshot", fault, 0, 1);
    }
    scene.server.fail("PutSnapshotBlock", Fault::Never, 20, 1);
    scene.server.fail("CompleteSnapshot", Fault::Lost, 0, 1);
    let disk = Made::new(1..=60);
    let done = scene.put(disk.source(&[])).unwrap();
    assert!(scene.has(&done.snapshot, &disk));
    assert_eq!(scene.server.snapshots().len(), 1);
    let conflicts = scene
        .server
        .log()
        .of("PutSnapshotBlock")
        .filter(|record| record.reason.as_deref() == Some("CONFLICTING_BLOCK_UPDATE"))
        .count();
    assert_eq!(conflicts, 0, "no block is in flight twice");
}

#[test]
fn a_new_snapshot_may_be_unknown_for_a_while() {
    let scene = Scene::with(Settings {
        snapshot_visible_after: std::time::Duration::from_millis(1500),
        ..Settings::default()
    });
    let disk = Made::new(1..=20);
    let done = scene.put(disk.source(&[])).unwrap();
    assert!(scene.has(&done.snapshot, &disk));
    let log = scene.server.log();
    let unknown: Vec<_> = log
        .of("PutSnapshotBlock")
        .filter(|record| record.status == 404)
        .collect();
    assert!(!unknown.is_empty() && unknown.iter().all(|record| record.block == Some(0)));
}

#[test]
fn a_snapshot_that_never_appears_is_given_up() {
    let mut scene = Scene::with(Settings {
        snapshot_visible_after: std::time::Duration::from_secs(3600),
        ..Settings::default()
    });
    scene.request.visible_within = std::time::Duration::from_millis(300);
    let failed = scene.put(Made::new([1]).source(&[])).unwrap_err();
    assert!(
        matches!(failed.error, Error::Generations { generations: 3 }),
        "{failed}"
    );
    assert_eq!(scene.notes.take().len(), 3);
}

#[test]
fn what_is_refused_is_said_at_once() {
    let scene = Scene::with(Settings {
        denied: vec!["PutSnapshotBlock".into()],
        ..Settings::default()
    });
    let disk = Made::new(1..=20);
    let failed = scene.put(disk.source(&[]));
    let failed = failed.unwrap_err();
    let text = failed.to_string();
    assert!(text.starts_with("PutSnapshotBlock of snap-"), "{text}");
    assert!(text.contains("AccessDenied"), "{text}");
    assert!(failed.can_resume);
    assert_eq!(scene.server.log().of("PutSnapshotBlock").count(), 1);
    let huge = Made::new(vec![0; 2049]);
    let failed = scene.put(huge.source(&[]));
    assert!(matches!(
        failed.unwrap_err().error,
        Error::TooLong { gib: 1 }
    ));
}
