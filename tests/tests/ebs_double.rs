//! The double of EBS, EC2, KMS, Service Quotas and STS (`tests/ebs-server`), judged by clients that are not ours: boto3 and the AWS CLI.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::Duration;

use ebs_server::{ACCOUNT, BLOCK, EbsServer, Fault, KMS_KEY, KmsKey, Launch, Reading, Settings};
use end_to_end::boto::{Boto, aws, aws_ok};
use end_to_end::ebs::{
    begin, completed, digest, image, put, quick, refusal, register, start, with,
};
use end_to_end::{folder, text};
use openssl::base64::encode_block;
use openssl::sha::Sha256;
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_snapshot_is_written_listed_and_read() {
    let (server, mut boto) = start(quick());
    let parameters = json!({
        "VolumeSize": 2, "Description": "Überall", "ClientToken": "a-token",
        "Tags": [{"Key": "k", "Value": "v"}],
    });
    let started = boto.ok("ebs", "start_snapshot", parameters.clone());
    let snapshot = text(&started["SnapshotId"]).to_owned();
    assert_eq!(started["Status"], "pending");
    assert_eq!(started["OwnerId"], ACCOUNT);
    assert_eq!(started["BlockSize"], BLOCK);
    assert_eq!(
        boto.ok("ebs", "start_snapshot", parameters.clone()),
        started
    );
    let mut linear = Sha256::new();
    for (index, byte) in [(0, 1), (7, 0), (4095, 3)] {
        let answer = boto.ok("ebs", "put_snapshot_block", put(&snapshot, index, byte));
        assert_eq!(answer["Checksum"], encode_block(&digest(byte)));
        linear.update(&digest(byte));
    }
    // The second put of an index replaces the first.
    let _ = boto.ok("ebs", "put_snapshot_block", put(&snapshot, 7, 9));
    let _ = boto.ok("ebs", "put_snapshot_block", put(&snapshot, 7, 0));
    let complete = json!({
        "SnapshotId": snapshot, "ChangedBlocksCount": 3, "Checksum": encode_block(&linear.finish()),
        "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR",
    });
    let answer = boto.call("ebs", "complete_snapshot", complete);
    assert_eq!(
        answer,
        json!({"status": 202, "answer": {"Status": "pending"}})
    );

    let listed = boto.ok(
        "ebs",
        "list_snapshot_blocks",
        json!({"SnapshotId": snapshot}),
    );
    assert_eq!(listed["VolumeSize"], 2);
    let blocks = listed["Blocks"].as_array().unwrap();
    let indices: Vec<_> = blocks.iter().map(|block| &block["BlockIndex"]).collect();
    assert_eq!(indices, [0, 7, 4095]);
    for (block, byte) in blocks.iter().zip([1, 0, 3]) {
        let get = with(json!({"SnapshotId": snapshot}), block.clone());
        let got = boto.ok("ebs", "get_snapshot_block", get);
        assert_eq!(got["BlockData"], hex::encode(digest(byte)));
        assert_eq!(got["Checksum"], encode_block(&digest(byte)));
    }
    let filters = json!({"OwnerIds": ["self"], "Filters": [{"Name": "tag:k", "Values": ["?"]}]});
    let described = boto.ok("ec2", "describe_snapshots", filters);
    assert_eq!(described["Snapshots"][0]["SnapshotId"], snapshot);
    assert_eq!(described["Snapshots"][0]["State"], "completed");
    assert_eq!(described["Snapshots"][0]["Description"], "Überall");

    let log = server.log();
    assert_eq!(log.puts(&snapshot), [(0, 1), (7, 3), (4095, 1)].into());
    assert_eq!(
        (log.put_twice(&snapshot), log.peak_in_flight(&snapshot)),
        (1, 1)
    );

    // A deleted snapshot is the answer to its token, too.
    let _ = boto.ok("ec2", "delete_snapshot", json!({"SnapshotId": snapshot}));
    assert_eq!(boto.ok("ebs", "start_snapshot", parameters), started);
    assert_eq!(server.snapshots(), []);
}

#[test]
fn the_aws_cli_makes_an_image() {
    let server = EbsServer::start(quick());
    let url = server.url();
    let work = folder();
    let block = work.path().join("block");
    fs::write(&block, vec![5; BLOCK]).unwrap();
    let started = aws_ok(&url, &["ebs", "start-snapshot", "--volume-size", "1"]);
    let snapshot = text(&started["SnapshotId"]);
    let checksum = encode_block(&digest(5));
    let mut put = vec!["ebs", "put-snapshot-block", "--snapshot-id", snapshot];
    put.extend(["--block-index", "3", "--data-length", "524288"]);
    put.extend(["--checksum", &checksum, "--checksum-algorithm", "SHA256"]);
    put.extend(["--block-data", block.to_str().unwrap()]);
    assert_eq!(aws_ok(&url, &put)["Checksum"], checksum);
    let mut complete = vec!["ebs", "complete-snapshot", "--snapshot-id", snapshot];
    complete.extend(["--changed-blocks-count", "1"]);
    let _ = aws_ok(&url, &complete);
    let listed = aws_ok(
        &url,
        &["ebs", "list-snapshot-blocks", "--snapshot-id", snapshot],
    );
    let got = work.path().join("got");
    let mut get = vec!["ebs", "get-snapshot-block", "--snapshot-id", snapshot];
    get.extend(["--block-index", "3", "--block-token"]);
    get.extend([
        text(&listed["Blocks"][0]["BlockToken"]),
        got.to_str().unwrap(),
    ]);
    let _ = aws_ok(&url, &get);
    assert_eq!(fs::read(&got).unwrap(), vec![5; BLOCK]);

    let devices = format!("DeviceName=/dev/xvda,Ebs={{SnapshotId={snapshot},VolumeType=gp3}}");
    let mut register = vec!["ec2", "register-image", "--name", "from the CLI"];
    register.extend(["--root-device-name", "/dev/xvda", "--ena-support"]);
    register.extend(["--virtualization-type", "hvm", "--architecture", "x86_64"]);
    register.extend(["--block-device-mappings", &devices]);
    let dry = aws(&url, &[&register[..], &["--dry-run"]].concat());
    assert!(dry.stderr.contains("(DryRunOperation)"), "{dry:?}");
    let image = aws_ok(&url, &register);
    let image = text(&image["ImageId"]);
    let found = aws_ok(&url, &["ec2", "describe-images", "--owners", "self"]);
    assert_eq!(found["Images"][0]["ImageId"], image);
    let devices = &found["Images"][0]["BlockDeviceMappings"];
    assert_eq!(devices[0]["Ebs"]["SnapshotId"], snapshot);
    let _ = aws_ok(&url, &["ec2", "deregister-image", "--image-id", image]);
    let _ = aws_ok(&url, &["ec2", "delete-snapshot", "--snapshot-id", snapshot]);
    assert_eq!((server.images(), server.snapshots()), (vec![], vec![]));
}

#[test]
fn an_image_is_shared_copied_deprecated_protected_and_deleted() {
    let (server, mut boto) = start(quick());
    let snapshot = completed(&mut boto, 1, json!({}));
    let tags = json!([{"ResourceType": "image", "Tags": [{"Key": "t", "Value": "1"}]}]);
    let more = json!({"BootMode": "uefi", "TpmSupport": "v2.0", "ImdsSupport": "v2.0", "EnaSupport": true, "TagSpecifications": tags});
    let registered = boto.ok("ec2", "register_image", with(image("one", &snapshot), more));
    let id = text(&registered["ImageId"]).to_owned();
    let record = server.image(&id).unwrap();
    assert_eq!(record.tags, [("t".to_owned(), "1".to_owned())].into());
    assert_eq!(
        (record.state(), record.ena_support),
        ("available", Some(true))
    );

    let organization = "arn:aws:organizations::123456789012:organization/o-123example";
    let add = json!([{"UserId": "210987654321"}, {"OrganizationArn": organization}]);
    let share = json!({"ImageId": id, "LaunchPermission": {"Add": add}});
    let _ = boto.ok("ec2", "modify_image_attribute", share);
    let unshare = json!({"ImageId": id, "Attribute": "launchPermission", "OperationType": "remove", "UserIds": ["210987654321"]});
    let _ = boto.ok("ec2", "modify_image_attribute", unshare);
    let launch = [Launch::Organization(organization.to_owned())];
    assert_eq!(server.image(&id).unwrap().launch, launch.into());
    let ask = json!({"ImageId": id, "Attribute": "launchPermission"});
    let answer = boto.ok("ec2", "describe_image_attribute", ask);
    assert_eq!(
        answer["LaunchPermissions"],
        json!([{"OrganizationArn": organization}])
    );
    let share = json!({"SnapshotId": snapshot, "CreateVolumePermission": {"Add": [{"UserId": "210987654321"}]}});
    let _ = boto.ok("ec2", "modify_snapshot_attribute", share);
    let ask = json!({"SnapshotId": snapshot, "Attribute": "createVolumePermission"});
    let answer = boto.ok("ec2", "describe_snapshot_attribute", ask);
    assert_eq!(
        answer["CreateVolumePermissions"],
        json!([{"UserId": "210987654321"}])
    );

    let copy = json!({"Name": "one", "SourceImageId": id, "SourceRegion": "us-east-1", "ClientToken": "c", "Encrypted": true, "KmsKeyId": KMS_KEY, "CopyImageTags": true});
    boto.region = "eu-west-1".to_owned();
    let copied = boto.ok("ec2", "copy_image", copy.clone());
    assert_eq!(boto.ok("ec2", "copy_image", copy.clone()), copied);
    let wrong = with(copy, json!({"KmsKeyId": "alias/none", "ClientToken": "d"}));
    let failed = boto.ok("ec2", "copy_image", wrong);
    let ids = json!({"ImageIds": [copied["ImageId"], failed["ImageId"]]});
    let found = boto.ok("ec2", "describe_images", ids);
    let mut states: Vec<_> = found["Images"].as_array().unwrap().iter().collect();
    states.sort_by_key(|image| text(&image["State"]).to_owned());
    assert_eq!(states[0]["State"], "available");
    assert_eq!(states[0]["Tags"], json!([{"Key": "t", "Value": "1"}]));
    assert_eq!(states[1]["State"], "failed");
    let ebs = &states[0]["BlockDeviceMappings"][0]["Ebs"];
    assert_eq!(ebs["Encrypted"], true);
    let copy = server.snapshot(text(&ebs["SnapshotId"])).unwrap();
    let key = format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/{KMS_KEY}");
    assert_eq!(
        (copy.kms_key, copy.state, copy.blocks),
        (Some(key), "completed".to_owned(), vec![0])
    );
    boto.region = "us-east-1".to_owned();

    let at = json!({"ImageId": id, "DeprecateAt": "2035-01-01T00:00:31Z"});
    let _ = boto.ok("ec2", "enable_image_deprecation", at);
    let deprecation = server.image(&id).unwrap().deprecation;
    assert_eq!(deprecation.as_deref(), Some("2035-01-01T00:01:00.000Z"));
    let only = json!({"ImageId": id});
    let _ = boto.ok(
        "ec2",
        "enable_image_deregistration_protection",
        only.clone(),
    );
    let refused = boto.call("ec2", "deregister_image", only.clone());
    assert_eq!(refusal(&refused), (400, "OperationNotPermitted", ""));
    let _ = boto.ok(
        "ec2",
        "disable_image_deregistration_protection",
        only.clone(),
    );
    let in_use = boto.call("ec2", "delete_snapshot", json!({"SnapshotId": snapshot}));
    assert_eq!(refusal(&in_use), (400, "InvalidSnapshot.InUse", ""));
    let _ = boto.ok("ec2", "deregister_image", only.clone());
    let gone = boto.call("ec2", "deregister_image", only);
    assert_eq!(refusal(&gone), (400, "InvalidAMIID.NotFound", ""));
    let _ = boto.ok("ec2", "delete_snapshot", json!({"SnapshotId": snapshot}));
}

#[test]
fn everything_takes_its_time() {
    let (server, mut boto) = start(Settings {
        completes_after: HOUR,
        snapshot_visible_after: Duration::ZERO,
        ..quick()
    });
    let pending = completed(&mut boto, 1, json!({}));
    assert_eq!(server.snapshot(&pending).unwrap().state, "pending");
    let result = boto.call("ec2", "register_image", image("early", &pending));
    assert_eq!(refusal(&result), (400, "IncorrectState", ""));
    server.fail_snapshot(&pending);
    assert_eq!(server.snapshot(&pending).unwrap().state, "error");

    let (server, mut boto) = start(Settings {
        snapshot_visible_after: HOUR,
        ..quick()
    });
    let late = begin(&mut boto, json!({}));
    let result = boto.call("ebs", "put_snapshot_block", put(&late, 0, 1));
    assert_eq!(
        refusal(&result),
        (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
    );
    let result = boto.call("ec2", "describe_snapshots", json!({"SnapshotIds": [late]}));
    assert_eq!(refusal(&result), (400, "InvalidSnapshot.NotFound", ""));
    assert_eq!(server.snapshots().len(), 1);

    // Minutes that take no time: every snapshot is in error at once, and its token still has it.
    let (server, mut boto) = start(Settings {
        minute: Duration::ZERO,
        block_token_life: Duration::ZERO,
        image_visible_after: HOUR,
        ..quick()
    });
    let token = json!({"ClientToken": "t"});
    let dead = begin(&mut boto, token.clone());
    let result = boto.call("ebs", "put_snapshot_block", put(&dead, 0, 1));
    assert_eq!(
        refusal(&result),
        (400, "ValidationException", "INVALID_SNAPSHOT_ID")
    );
    assert_eq!(begin(&mut boto, token), dead);
    assert_eq!(server.snapshot(&dead).unwrap().state, "error");
}

#[test]
fn listings_have_pages() {
    let (_server, mut boto) = start(Settings {
        short_pages: true,
        ..quick()
    });
    let snapshot = begin(&mut boto, json!({}));
    for index in 0..60 {
        let _ = boto.ok("ebs", "put_snapshot_block", put(&snapshot, index * 2, 0));
    }
    let complete = json!({"SnapshotId": snapshot, "ChangedBlocksCount": 60});
    let _ = boto.ok("ebs", "complete_snapshot", complete);
    let mut parameters = json!({"SnapshotId": snapshot, "MaxResults": 100});
    let (mut lengths, mut indices) = (Vec::new(), Vec::new());
    loop {
        let page = boto.ok("ebs", "list_snapshot_blocks", parameters.clone());
        let blocks = page["Blocks"].as_array().unwrap();
        lengths.push(blocks.len());
        indices.extend(blocks.iter().map(|b| b["BlockIndex"].as_u64().unwrap()));
        match page["NextToken"].as_str() {
            Some(next) => parameters["NextToken"] = next.into(),
            None => break,
        }
    }
    assert_eq!(lengths, [0, 50, 10]);
    assert_eq!(indices, (0..60).map(|index| index * 2).collect::<Vec<_>>());

    for number in 0..6 {
        let _ = register(&mut boto, &format!("image {number}"), &snapshot);
    }
    let first = boto.ok("ec2", "describe_images", json!({"MaxResults": 5}));
    assert_eq!(first["Images"].as_array().unwrap().len(), 5);
    let next = json!({"MaxResults": 5, "NextToken": first["NextToken"]});
    let second = boto.ok("ec2", "describe_images", next);
    assert_eq!(second["Images"].as_array().unwrap().len(), 1);
    assert_eq!(second["NextToken"], Value::Null);
}

#[test]
fn faults_come_as_ordered() {
    let mut settings = quick();
    settings.faults.stall_for = HOUR;
    let (server, mut boto) = start(settings);
    let begin = json!({"VolumeSize": 1, "ClientToken": "t"});
    let orders = [
        (Fault::Error, 500, "InternalServerException"),
        (Fault::Throttle, 400, "RequestThrottledException"),
        (Fault::Reset, 0, "ConnectionClosedError"),
    ];
    for (fault, status, code) in orders {
        server.fail("StartSnapshot", fault, 0, 1);
        let result = boto.call("ebs", "start_snapshot", begin.clone());
        let (found, name, _) = refusal(&result);
        assert_eq!((found, name), (status, code));
        assert_eq!(server.snapshots(), []);
    }
    server.fail("StartSnapshot", Fault::Lost, 0, 1);
    let result = boto.call("ebs", "start_snapshot", begin.clone());
    assert_eq!(refusal(&result).0, 0);
    let [lost] = &server.snapshots()[..] else {
        panic!("the request was not done");
    };
    let answer = boto.ok("ebs", "start_snapshot", begin);
    assert_eq!(answer["SnapshotId"], lost.id);

    // While a block is in flight, another request for it is a conflict.
    server.fail("PutSnapshotBlock", Fault::Stall, 0, 1);
    let mut stalled = Boto::start(&server.url());
    stalled.send("ebs", "put_snapshot_block", put(&lost.id, 0, 1));
    while server.still_to_fail() > 0 {
        sleep(Duration::from_millis(5));
    }
    let result = boto.call("ebs", "put_snapshot_block", put(&lost.id, 0, 1));
    let conflict = (400, "ValidationException", "CONFLICTING_BLOCK_UPDATE");
    assert_eq!(refusal(&result), conflict);
    assert_eq!(server.log().peak_in_flight(&lost.id), 1);
    let _ = boto.ok("ebs", "put_snapshot_block", put(&lost.id, 1, 1));
    assert_eq!(server.log().peak_in_flight(&lost.id), 2);
    drop(stalled);

    let complete = json!({"SnapshotId": lost.id, "ChangedBlocksCount": 1});
    let _ = boto.ok("ebs", "complete_snapshot", complete);
    let listed = boto.ok(
        "ebs",
        "list_snapshot_blocks",
        json!({"SnapshotId": lost.id}),
    );
    let get = with(json!({"SnapshotId": lost.id}), listed["Blocks"][0].clone());
    server.fail("GetSnapshotBlock", Fault::Cut, 0, 1);
    let result = boto.call("ebs", "get_snapshot_block", get.clone());
    assert_eq!(refusal(&result).0, 0, "{result}");
    let _ = boto.ok("ebs", "get_snapshot_block", get);
}

#[test]
fn what_was_never_written_reads_as_noise() {
    let (server, mut boto) = start(quick());
    let parent = completed(&mut boto, 1, json!({}));
    let child = begin(&mut boto, json!({"ParentSnapshotId": parent}));
    let _ = boto.ok("ebs", "put_snapshot_block", put(&child, 1, 0));
    let complete = json!({"SnapshotId": child, "ChangedBlocksCount": 1});
    let _ = boto.ok("ebs", "complete_snapshot", complete);
    let changed = json!({"FirstSnapshotId": parent, "SecondSnapshotId": child});
    let changed = boto.ok("ebs", "list_changed_blocks", changed);
    assert_eq!(changed["ChangedBlocks"][0]["BlockIndex"], 1);

    let work = folder();
    let path = work.path().join("volume");
    let first_blocks = || {
        let mut blocks = vec![0; 4 * BLOCK];
        let volume = fs::File::open(&path).unwrap();
        volume.read_exact_at(&mut blocks, 0).unwrap();
        let metadata = volume.metadata().unwrap();
        (blocks, metadata.len(), metadata.blocks() * 512)
    };
    server.export(&child, &path, Reading::Zeros).unwrap();
    let (zeros, length, allocated) = first_blocks();
    assert_eq!((length, allocated), (1 << 30, BLOCK as u64));
    assert!(zeros[..BLOCK].iter().all(|byte| *byte == 1));
    assert!(zeros[BLOCK..].iter().all(|byte| *byte == 0));
    let block = |index| server.block(&child, index, Reading::Noise).unwrap();
    assert_eq!((block(0), block(1)), (vec![1; BLOCK], vec![0; BLOCK]));
    assert_ne!(block(2), block(3));
    assert_eq!(block(2), block(2));
    server.export(&child, &path, Reading::Noise).unwrap();
    let (noise, length, _) = first_blocks();
    assert_eq!(length, 1 << 30);
    assert_eq!(noise[..2 * BLOCK], zeros[..2 * BLOCK]);
    assert_eq!(noise[3 * BLOCK..], block(3));
}

#[test]
fn keys_are_described_by_any_of_their_names() {
    let (_server, mut boto) = start(Settings {
        kms_keys: vec![KmsKey {
            aliases: vec!["house/mine".to_owned()],
            state: "PendingDeletion".to_owned(),
            ..KmsKey::default()
        }],
        default_kms_key: Some("alias/house/mine".to_owned()),
        ..quick()
    });
    let begin = format!("arn:aws:kms:us-east-1:{ACCOUNT}:");
    let arn = format!("{begin}key/{KMS_KEY}");
    for name in [
        KMS_KEY,
        "alias/house/mine",
        &arn,
        &format!("{begin}alias/house/mine"),
    ] {
        let described = boto.ok("kms", "describe_key", json!({"KeyId": name}));
        let key = &described["KeyMetadata"];
        assert_eq!(key["Arn"], arn);
        assert_eq!(key["KeyState"], "PendingDeletion");
        assert_eq!(key["KeySpec"], "SYMMETRIC_DEFAULT");
        assert_eq!(key["KeyUsage"], "ENCRYPT_DECRYPT");
    }
    let default = boto.ok("ec2", "get_ebs_default_kms_key_id", json!({}));
    assert_eq!(default["KmsKeyId"], arn);
    let of_aws = json!({"KeyId": "alias/aws/ebs"});
    let of_aws = boto.ok("kms", "describe_key", of_aws);
    assert_eq!(of_aws["KeyMetadata"]["KeyManager"], "AWS");
    assert_eq!(of_aws["KeyMetadata"]["Enabled"], true);
}

#[test]
fn quotas_have_aws_values_unless_others_were_applied() {
    let (_server, mut boto) = start(Settings {
        service_quotas: [("L-B665C33B".to_owned(), 7.0)].into(),
        ..quick()
    });
    let quota = |service, code| json!({"ServiceCode": service, "QuotaCode": code});
    let mut value = |method, service, code| {
        let answer = boto.call("service-quotas", method, quota(service, code));
        let value = answer["answer"]["Quota"]["Value"].as_f64();
        let code = answer["code"].as_str().map(str::to_owned);
        (value, code)
    };
    let missing = (None, Some("NoSuchResourceException".to_owned()));
    let (get, default) = ("get_service_quota", "get_aws_default_service_quota");
    assert_eq!(value(get, "ec2", "L-B665C33B"), (Some(7.0), None));
    assert_eq!(value(default, "ec2", "L-B665C33B"), (Some(50_000.0), None));
    assert_eq!(value(get, "ebs", "L-309BACF6"), missing);
    assert_eq!(value(default, "ebs", "L-309BACF6"), (Some(100_000.0), None));
    assert_eq!(value(default, "ec2", "L-309BACF6"), missing);
}
