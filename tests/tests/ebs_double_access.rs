//! Whom the double of EBS, EC2 and STS answers, and how often: signatures, permissions, roles, quotas.

use std::time::Duration;

use ebs_server::{Quotas, Role, Settings};
use end_to_end::boto::Boto;
use end_to_end::ebs::{begin, completed, image, put, quick, refusal, start, with};
use end_to_end::text;
use serde_json::json;

#[test]
fn only_right_signatures_are_accepted() {
    let role = "arn:aws:iam::210987654321:role/other";
    let (server, mut boto) = start(Settings {
        roles: vec![Role {
            arn: role.to_owned(),
            external_id: Some("secret-id".to_owned()),
        }],
        denied: vec!["RegisterImage".to_owned(), "ListSnapshotBlocks".to_owned()],
        ..quick()
    });
    let ask = |boto: &mut Boto, service: &str| {
        let result = match service {
            "ebs" => boto.call("ebs", "start_snapshot", json!({"VolumeSize": 1})),
            "ec2" => boto.call("ec2", "describe_images", json!({})),
            _ => boto.call("sts", "get_caller_identity", json!({})),
        };
        let (status, code, _) = refusal(&result);
        (status, code.to_owned())
    };
    let good = boto.keys.clone();
    let (key, secret, none) = good.clone();
    let wrong = [
        (
            (key.clone(), "x".to_owned(), none.clone()),
            [
                ("ebs", 403, "InvalidSignatureException"),
                ("ec2", 403, "SignatureDoesNotMatch"),
                ("sts", 403, "SignatureDoesNotMatch"),
            ],
        ),
        (
            ("AKIANOBODY".to_owned(), secret.clone(), none),
            [
                ("ebs", 403, "UnrecognizedClientException"),
                ("ec2", 401, "AuthFailure"),
                ("sts", 403, "InvalidClientTokenId"),
            ],
        ),
        (
            (key, secret, Some("token".to_owned())),
            [
                ("ebs", 403, "UnrecognizedClientException"),
                ("ec2", 401, "AuthFailure"),
                ("sts", 403, "InvalidClientTokenId"),
            ],
        ),
    ];
    for (keys, expected) in wrong {
        boto.keys = keys;
        for (service, status, code) in expected {
            assert_eq!(
                ask(&mut boto, service),
                (status, code.to_owned()),
                "{service}"
            );
        }
    }
    boto.keys = good;
    boto.region = "mars-1".to_owned();
    assert_eq!(ask(&mut boto, "ebs").1, "InvalidSignatureException");
    boto.region = "us-east-1".to_owned();
    assert_eq!(server.snapshots(), []);
    let ours = completed(&mut boto, 1, json!({}));
    let denied = boto.call("ec2", "register_image", image("denied", &ours));
    assert_eq!(refusal(&denied), (403, "UnauthorizedOperation", ""));
    let denied = boto.call("ebs", "list_snapshot_blocks", json!({"SnapshotId": ours}));
    assert_eq!(
        refusal(&denied),
        (403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT")
    );

    let assume = json!({"RoleArn": role, "RoleSessionName": "test"});
    let refused = boto.call("sts", "assume_role", assume.clone());
    assert_eq!(refusal(&refused), (403, "AccessDenied", ""));
    let assume = with(assume, json!({"ExternalId": "secret-id"}));
    let answer = boto.ok("sts", "assume_role", assume);
    let field = |name: &str| text(&answer["Credentials"][name]).to_owned();
    let token = field("SessionToken");
    boto.keys = (field("AccessKeyId"), field("SecretAccessKey"), Some(token));
    let identity = boto.ok("sts", "get_caller_identity", json!({}));
    assert_eq!(
        identity["Arn"],
        "arn:aws:sts::210987654321:assumed-role/other/test"
    );
    let theirs = begin(&mut boto, json!({}));
    assert_eq!(server.snapshot(&theirs).unwrap().owner, "210987654321");
    let foreign = boto.call("ebs", "put_snapshot_block", put(&ours, 1, 1));
    assert_eq!(
        refusal(&foreign),
        (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
    );
    boto.keys.2 = None;
    assert_eq!(ask(&mut boto, "ebs").1, "UnrecognizedClientException");
}

/// The buckets have one token, and no other for an hour.
#[test]
fn requests_beyond_a_quota_are_throttled() {
    let one = 1.0 / 3600.0;
    let quotas = |change: fn(&mut Quotas, f64)| {
        let mut settings = quick();
        change(&mut settings.quotas, one);
        start(settings)
    };
    let throttled = |reason| (400, "RequestThrottledException", reason);

    let (server, mut boto) = quotas(|quotas, one| quotas.put_snapshot = one);
    let (first, second) = (begin(&mut boto, json!({})), begin(&mut boto, json!({})));
    let _ = boto.ok("ebs", "put_snapshot_block", put(&first, 0, 1));
    let result = boto.call("ebs", "put_snapshot_block", put(&first, 1, 1));
    assert_eq!(refusal(&result), throttled("RESOURCE_LEVEL_THROTTLE"));
    let _ = boto.ok("ebs", "put_snapshot_block", put(&second, 0, 1));
    let share = server
        .log()
        .throttled_share("PutSnapshotBlock", Duration::ZERO);
    assert_eq!(share, 1.0 / 3.0);

    let (_server, mut boto) = quotas(|quotas, one| {
        quotas.put_account = one;
        quotas.list = one;
        quotas.pending = 2;
    });
    let (first, second) = (begin(&mut boto, json!({})), begin(&mut boto, json!({})));
    let _ = boto.ok("ebs", "put_snapshot_block", put(&first, 0, 1));
    let result = boto.call("ebs", "put_snapshot_block", put(&second, 0, 1));
    assert_eq!(refusal(&result), throttled("ACCOUNT_THROTTLED"));
    let result = boto.call("ebs", "start_snapshot", json!({"VolumeSize": 1}));
    assert_eq!(
        refusal(&result),
        (400, "ConcurrentLimitExceededException", "")
    );
    let complete = json!({"SnapshotId": first, "ChangedBlocksCount": 1});
    let _ = boto.ok("ebs", "complete_snapshot", complete);
    let _ = begin(&mut boto, json!({}));
    let list = json!({"SnapshotId": first});
    let _ = boto.ok("ebs", "list_snapshot_blocks", list.clone());
    let result = boto.call("ebs", "list_snapshot_blocks", list);
    assert_eq!(refusal(&result), throttled("ACCOUNT_THROTTLED"));

    let (_server, mut boto) = quotas(|quotas, one| {
        quotas.start = one;
        quotas.ec2 = one;
    });
    let _ = begin(&mut boto, json!({}));
    let result = boto.call("ebs", "start_snapshot", json!({"VolumeSize": 1}));
    assert_eq!(refusal(&result), throttled("ACCOUNT_THROTTLED"));
    let _ = boto.ok("ec2", "describe_images", json!({}));
    let result = boto.call("ec2", "describe_images", json!({}));
    assert_eq!(refusal(&result), (503, "RequestLimitExceeded", ""));
}
