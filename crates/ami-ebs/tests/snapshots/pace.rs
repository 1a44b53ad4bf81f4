//! The rate finds itself.

use std::time::Duration;

use ebs_server::{EbsServer, Faults, Quotas, Settings};

use crate::rig::*;

#[test]
fn a_bucket_of_200_a_second_is_used_and_hardly_overrun_though_requests_fail() {
    let folder = tempfile::tempdir().unwrap();
    let server = EbsServer::start(Settings {
        latency: Duration::from_millis(20),
        quotas: Quotas {
            put_snapshot: 200.0,
            ..Quotas::default()
        },
        faults: Faults {
            error: 5.0,
            never: 1.0,
            only: vec!["PutSnapshotBlock".into()],
            ..Faults::default()
        },
        ..Settings::default()
    });
    let mut request = request(folder.path());
    request.parallel = 64;
    let disk = Made::new(1..=2048);
    let done = run(put(&server, disk.source(&[]), &request, &Notes::default())).unwrap();
    assert_eq!(done.blocks, 2048);
    let log = server.log();
    let begin = log
        .of("PutSnapshotBlock")
        .map(|record| record.at)
        .min()
        .unwrap();
    let from = begin + Duration::from_secs(3);
    let share = log.throttled_share("PutSnapshotBlock", from);
    assert!(share <= 0.02, "{share} of the answers were throttled");
    // The last seconds have what was tried again.
    let until = from + Duration::from_secs(5);
    let passed = log
        .of("PutSnapshotBlock")
        .filter(|record| (from..until).contains(&record.until) && record.status == 201);
    let used = passed.count() as f64 / (5.0 * 200.0);
    assert!(used >= 0.95, "{used} of the bucket was used");
}
