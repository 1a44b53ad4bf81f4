//! Snapshots become files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use ami_ebs::{Download, Downloaded, Error, download};
use ebs_server::{EbsServer, Fault, Settings};

use crate::rig::*;

/// A server with a complete snapshot of a disk.
fn server(settings: Settings, disk: &Made) -> (EbsServer, String) {
    let scene = Scene::with(settings);
    let id = scene.put(disk.source(&[])).unwrap().snapshot;
    run(completed(&scene.server, &id));
    scene.server.clear_log();
    (scene.server, id)
}

async fn get(server: &EbsServer, order: &Download) -> Result<Downloaded, Error> {
    download(&ebs(&server.url()).await, order, &()).await
}

/// Gets so many blocks; `None`: it was interrupted then.
async fn get_some(
    server: &EbsServer,
    order: &Download,
    blocks: u64,
) -> Option<Result<Downloaded, Error>> {
    let counter = Counter::default();
    let ebs = ebs(&server.url()).await;
    tokio::select! {
        biased;
        done = download(&ebs, order, &counter) => Some(done),
        () = counter.reaches(blocks) => None,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_becomes_a_sparse_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Made::new([1, 0, 2, 0, 0, 3]);
    let (server, id) = server(Settings::default(), &disk);
    let order = order(&id, folder.path());
    for fault in [
        Fault::Error,
        Fault::Throttle,
        Fault::Reset,
        Fault::Cut,
        Fault::Lost,
    ] {
        server.fail("GetSnapshotBlock", fault, 1, 1);
        server.fail("ListSnapshotBlocks", fault, 0, 1);
    }
    let done = run(get(&server, &order)).unwrap();
    assert_eq!(
        (done.size, done.counts.done, done.counts.zeros),
        (1 << 30, 6, 3)
    );
    assert!(disk.is_in(&order.file));
    assert!(order.file.metadata().unwrap().blocks() * 512 <= 3 * BLOCK as u64);
    assert_eq!(names(folder.path()), ["file"]);

    std::fs::write(&order.file, "mine").unwrap();
    let error = run(get(&server, &order)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} already exists", order.file.display())
    );
    assert_eq!(std::fs::read(&order.file).unwrap(), b"mine");
    let replacing = Download {
        may_replace: true,
        ..order
    };
    let _ = run(get(&server, &replacing)).unwrap();
    assert!(disk.is_in(&replacing.file));
}

#[test]
fn a_download_that_is_interrupted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Made::new((1..=200).map(|n| if n % 5 == 0 { 0 } else { n }));
    let settings = Settings {
        latency: Duration::from_millis(10),
        short_pages: true,
        ..Settings::default()
    };
    let (server, id) = server(settings, &disk);
    let order = order(&id, folder.path());
    let mut chance = fastrand::Rng::with_seed(5);
    let mut interrupted = 0;
    loop {
        let some = chance.u64(1..80);
        match run(get_some(&server, &order, some)) {
            None => interrupted += 1,
            Some(done) => {
                let _ = done.unwrap();
                break;
            }
        }
        assert!(!order.file.exists());
    }
    assert!(interrupted >= 2, "{interrupted}");
    assert!(disk.is_in(&order.file));
    let log = server.log();
    let gets = log
        .of("GetSnapshotBlock")
        .filter(|record| record.status == 200)
        .count();
    assert!(
        gets <= 200 + interrupted * order.parallel,
        "{gets} after {interrupted}"
    );
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn what_is_damaged_on_the_disk_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Made::new(1..=60);
    let settings = Settings {
        latency: Duration::from_millis(20),
        ..Settings::default()
    };
    let (server, id) = server(settings, &disk);
    let order = order(&id, folder.path());
    assert!(run(get_some(&server, &order, 20)).is_none());
    let names = names(folder.path());
    let image = folder.path().join(&names[0]).join("image");
    let file = std::fs::File::options().write(true).open(image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"damage", 100).unwrap();
    let _ = run(get(&server, &order)).unwrap();
    assert!(disk.is_in(&order.file));
}

#[test]
fn tokens_that_expire_are_asked_for_anew() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Made::new(1..=60);
    let settings = Settings {
        latency: Duration::from_millis(20),
        block_token_life: Duration::from_millis(400),
        short_pages: true,
        ..Settings::default()
    };
    let (server, id) = server(settings, &disk);
    let order = Download {
        parallel: 1,
        ..order(&id, folder.path())
    };
    let _ = run(get(&server, &order)).unwrap();
    assert!(disk.is_in(&order.file));
    let log = server.log();
    let mut reasons = log
        .records
        .iter()
        .filter_map(|record| record.reason.as_deref());
    assert!(reasons.any(|reason| reason == "INVALID_BLOCK_TOKEN"));
}

#[test]
fn a_snapshot_that_is_not_there_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = EbsServer::start(Settings::default());
    for id in ["snap-0123456789abcdef0", "../etc"] {
        let error = run(get(&server, &order(id, folder.path()))).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no snapshot {id}"));
    }
    assert_eq!(names(folder.path()), [""; 0]);
}
