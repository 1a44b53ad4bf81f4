//! The double of EBS, EC2 and STS (`tests/ebs-server`), judged by clients that are not ours: boto3 and the AWS CLI.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::Duration;

use ebs_server::{
    ACCOUNT, BLOCK, EbsServer, Fault, KMS_KEY, Launch, Quotas, Reading, Role, Settings,
};
use end_to_end::boto::{Boto, aws, aws_ok};
use end_to_end::{folder, text};
use openssl::base64::encode_block;
use openssl::sha::{Sha256, sha256};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

fn start(settings: Settings) -> (EbsServer, Boto) {
    let server = EbsServer::start(settings);
    let boto = Boto::start(&server.url());
    (server, boto)
}

/// Completes at once, and lets any number of snapshots begin.
fn quick() -> Settings {
    Settings {
        quotas: Quotas {
            start: 0.0,
            complete: 0.0,
            ..Quotas::default()
        },
        completes_after: Duration::ZERO,
        copied_after: Duration::ZERO,
        ..Settings::default()
    }
}

fn digest(byte: u8) -> [u8; 32] {
    sha256(&vec![byte; BLOCK])
}

/// PutSnapshotBlock's parameters for a block that is one byte again and again.
fn put(snapshot: &str, index: u32, byte: u8) -> Value {
    json!({
        "SnapshotId": snapshot,
        "BlockIndex": index,
        "BlockData": {"$byte": byte, "$times": BLOCK},
        "DataLength": BLOCK,
        "Checksum": encode_block(&digest(byte)),
        "ChecksumAlgorithm": "SHA256",
    })
}

/// Parameters with other values; null takes one out.
fn with(mut parameters: Value, others: Value) -> Value {
    let fields = parameters.as_object_mut().unwrap();
    for (name, value) in others.as_object().unwrap() {
        if value.is_null() {
            let _ = fields.remove(name);
        } else {
            let _ = fields.insert(name.clone(), value.clone());
        }
    }
    parameters
}

fn begin(boto: &mut Boto, more: Value) -> String {
    let parameters = with(json!({"VolumeSize": 1}), more);
    let answer = boto.ok("ebs", "start_snapshot", parameters);
    text(&answer["SnapshotId"]).to_owned()
}

/// A completed snapshot of 1 GiB whose block 0 is `byte`.
fn completed(boto: &mut Boto, byte: u8, more: Value) -> String {
    let snapshot = begin(boto, more);
    let _ = boto.ok("ebs", "put_snapshot_block", put(&snapshot, 0, byte));
    let parameters = json!({"SnapshotId": snapshot, "ChangedBlocksCount": 1});
    let _ = boto.ok("ebs", "complete_snapshot", parameters);
    snapshot
}

/// RegisterImage's parameters.
fn image(name: &str, snapshot: &str) -> Value {
    json!({
        "Name": name,
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    })
}

fn register(boto: &mut Boto, name: &str, snapshot: &str) -> String {
    let answer = boto.ok("ec2", "register_image", image(name, snapshot));
    text(&answer["ImageId"]).to_owned()
}

fn refusal(result: &Value) -> (u64, &str, &str) {
    let status = result["status"].as_u64().unwrap();
    let reason = result["reason"].as_str().unwrap_or_default();
    (status, result["code"].as_str().unwrap_or("done"), reason)
}

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
fn wrong_requests_of_ebs_are_refused() {
    let (_server, mut boto) = start(quick());
    let open = begin(&mut boto, json!({"ClientToken": "used"}));
    let done = completed(&mut boto, 1, json!({}));
    let other = completed(&mut boto, 2, json!({}));
    let listed = boto.ok("ebs", "list_snapshot_blocks", json!({"SnapshotId": other}));
    let token = &listed["Blocks"][0]["BlockToken"];
    let _ = boto.ok("ebs", "put_snapshot_block", put(&open, 0, 1));

    let begin = |others: Value| ("start_snapshot", with(json!({"VolumeSize": 1}), others));
    let put = |others: Value| ("put_snapshot_block", with(put(&open, 0, 1), others));
    let complete = json!({"SnapshotId": open, "ChangedBlocksCount": 1});
    let complete = |others: Value| ("complete_snapshot", with(complete.clone(), others));
    let list = |others: Value| {
        (
            "list_snapshot_blocks",
            with(json!({"SnapshotId": done}), others),
        )
    };
    let get = json!({"SnapshotId": done, "BlockIndex": 0, "BlockToken": token});
    let get = |others: Value| ("get_snapshot_block", with(get.clone(), others));
    let sum = encode_block(&digest(2));
    let tag = |key: &str, value: &str| json!({"Tags": [{"Key": key, "Value": value}]});
    let nobody = "snap-00000000000000000";
    let key = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/none");
    let invalid = |reason| (400, "ValidationException", reason);
    let parameter = invalid("INVALID_PARAMETER_VALUE");
    let missing = (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    let table = [
        (
            begin(json!({"VolumeSize": 0})),
            invalid("INVALID_VOLUME_SIZE"),
        ),
        (
            begin(json!({"VolumeSize": 65_537})),
            invalid("INVALID_VOLUME_SIZE"),
        ),
        (
            begin(json!({"VolumeSize": null})),
            invalid("INVALID_VOLUME_SIZE"),
        ),
        (begin(json!({"Timeout": 9})), parameter),
        (begin(json!({"Timeout": 4321})), parameter),
        (begin(json!({"ClientToken": "x".repeat(65)})), parameter),
        (begin(json!({"ClientToken": "ü"})), parameter),
        (
            begin(json!({"ClientToken": "used", "VolumeSize": 2})),
            (409, "ConflictException", ""),
        ),
        (begin(json!({"Description": "x".repeat(256)})), parameter),
        (
            begin(json!({"ParentSnapshotId": done, "Encrypted": true})),
            parameter,
        ),
        (begin(json!({"ParentSnapshotId": nobody})), missing),
        (begin(json!({"ParentSnapshotId": open})), missing),
        (begin(json!({"KmsKeyArn": key})), parameter),
        (
            begin(json!({"KmsKeyArn": key, "Encrypted": true})),
            invalid("INVALID_CUSTOMER_KEY"),
        ),
        (begin(tag("aws:x", "")), invalid("INVALID_TAG")),
        (begin(tag("", "")), invalid("INVALID_TAG")),
        (begin(tag("k", &"x".repeat(256))), invalid("INVALID_TAG")),
        (put(json!({"SnapshotId": nobody})), missing),
        (
            put(json!({"SnapshotId": "vol-1"})),
            invalid("INVALID_SNAPSHOT_ID"),
        ),
        (
            put(json!({"SnapshotId": done})),
            invalid("INVALID_SNAPSHOT_ID"),
        ),
        (put(json!({"BlockIndex": 2048})), invalid("INVALID_BLOCK")),
        (put(json!({"BlockIndex": -1})), invalid("INVALID_BLOCK")),
        (put(json!({"DataLength": 512})), parameter),
        (put(json!({"DataLength": null})), parameter),
        (
            put(json!({"BlockData": {"$byte": 1, "$times": 512}})),
            invalid("INVALID_BLOCK"),
        ),
        (
            put(json!({"BlockData": {"$byte": 1, "$times": BLOCK + 1}})),
            invalid("INVALID_BLOCK"),
        ),
        (put(json!({"Checksum": sum})), invalid("INVALID_BLOCK")),
        (put(json!({"Checksum": null})), parameter),
        (put(json!({"ChecksumAlgorithm": "SHA1"})), parameter),
        (put(json!({"ChecksumAlgorithm": null})), parameter),
        (put(json!({"Progress": 101})), parameter),
        (complete(json!({"ChangedBlocksCount": 2})), parameter),
        (complete(json!({"ChangedBlocksCount": null})), parameter),
        (
            complete(
                json!({"Checksum": sum, "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}),
            ),
            parameter,
        ),
        (
            complete(json!({"Checksum": sum, "ChecksumAlgorithm": "SHA256"})),
            parameter,
        ),
        (
            complete(json!({"Checksum": sum, "ChecksumAggregationMethod": "LINEAR"})),
            parameter,
        ),
        (
            complete(json!({"SnapshotId": done})),
            invalid("INVALID_SNAPSHOT_ID"),
        ),
        (complete(json!({"SnapshotId": nobody})), missing),
        (
            list(json!({"SnapshotId": open})),
            invalid("INVALID_SNAPSHOT_ID"),
        ),
        (list(json!({"SnapshotId": nobody})), missing),
        (list(json!({"MaxResults": 99})), parameter),
        (list(json!({"MaxResults": 10_001})), parameter),
        (
            list(json!({"NextToken": "AAAA"})),
            invalid("INVALID_PAGE_TOKEN"),
        ),
        (get(json!({})), invalid("INVALID_BLOCK_TOKEN")),
        (
            get(json!({"BlockToken": null})),
            invalid("INVALID_BLOCK_TOKEN"),
        ),
        (
            get(json!({"SnapshotId": other, "BlockIndex": 1})),
            invalid("INVALID_BLOCK_TOKEN"),
        ),
        (
            get(json!({"SnapshotId": open})),
            invalid("INVALID_SNAPSHOT_ID"),
        ),
        (get(json!({"BlockIndex": 2048})), invalid("INVALID_BLOCK")),
        (
            (
                "list_changed_blocks",
                json!({"FirstSnapshotId": done, "SecondSnapshotId": other}),
            ),
            invalid("UNRELATED_SNAPSHOTS"),
        ),
    ];
    for ((method, parameters), expected) in table {
        let result = boto.call("ebs", method, parameters.clone());
        assert_eq!(refusal(&result), expected, "{method} {parameters}");
    }
}

#[test]
fn wrong_requests_of_ec2_are_refused() {
    let (server, mut boto) = start(quick());
    let open = begin(&mut boto, json!({}));
    let done = completed(&mut boto, 1, json!({}));
    let secret = completed(&mut boto, 1, json!({"Encrypted": true}));
    let taken = register(&mut boto, "taken", &done);
    let sealed = register(&mut boto, "sealed", &secret);
    let nobody = "snap-00000000000000000";
    let no_image = "ami-00000000000000000";
    let copy = json!({"Name": "copy", "SourceImageId": taken, "SourceRegion": "us-east-1", "ClientToken": "used"});
    let _ = boto.ok("ec2", "copy_image", copy.clone());

    let register = |others: Value| ("register_image", with(image("new", &done), others));
    let ebs = |others: Value| {
        let ebs = with(json!({"SnapshotId": done}), others);
        let devices = json!([{"DeviceName": "/dev/xvda", "Ebs": ebs}]);
        (
            "register_image",
            with(image("new", &done), json!({"BlockDeviceMappings": devices})),
        )
    };
    let copy = |others: Value| ("copy_image", with(copy.clone(), others));
    let of =
        |method: &'static str, others: Value| (method, with(json!({"ImageId": taken}), others));
    let launch = |add: Value| {
        of(
            "modify_image_attribute",
            json!({"LaunchPermission": {"Add": [add]}}),
        )
    };
    let deprecate = |at: &str| of("enable_image_deprecation", json!({"DeprecateAt": at}));
    let arm = |others: Value| register(with(json!({"Architecture": "arm64"}), others));
    let (combination, value) = ("InvalidParameterCombination", "InvalidParameterValue");
    let twice = json!([{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": done}}, {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 1}}]);
    let table = [
        (
            register(json!({"Name": "taken"})),
            "InvalidAMIName.Duplicate",
        ),
        (register(json!({"Name": "ab"})), "InvalidAMIName.Malformed"),
        (
            register(json!({"Name": "x".repeat(129)})),
            "InvalidAMIName.Malformed",
        ),
        (
            register(json!({"Name": "a:b:c"})),
            "InvalidAMIName.Malformed",
        ),
        (register(json!({"Name": null})), "MissingParameter"),
        (register(json!({"Description": "x".repeat(256)})), value),
        (register(json!({"Architecture": "sparc"})), value),
        (register(json!({"VirtualizationType": "xen"})), value),
        (
            register(json!({"RootDeviceName": null})),
            "MissingParameter",
        ),
        (
            register(json!({"RootDeviceName": "/dev/sda1"})),
            "InvalidBlockDeviceMapping",
        ),
        (
            register(json!({"BlockDeviceMappings": twice})),
            "InvalidBlockDeviceMapping",
        ),
        (
            register(json!({"VirtualizationType": null, "EnaSupport": true})),
            combination,
        ),
        (
            register(json!({"VirtualizationType": null, "BootMode": "uefi"})),
            combination,
        ),
        (
            register(json!({"VirtualizationType": null, "SriovNetSupport": "simple"})),
            combination,
        ),
        (register(json!({"KernelId": "aki-12345678"})), combination),
        (
            register(json!({"Architecture": null, "BootMode": "uefi"})),
            combination,
        ),
        (register(json!({"TpmSupport": "v2.0"})), combination),
        (
            register(json!({"TpmSupport": "v2.0", "BootMode": "uefi-preferred"})),
            combination,
        ),
        (register(json!({"UefiData": "AAAA"})), combination),
        (
            register(json!({"UefiData": "?", "BootMode": "uefi"})),
            value,
        ),
        (register(json!({"ImdsSupport": "v1.0"})), value),
        (arm(json!({"BootMode": "legacy-bios"})), combination),
        (
            arm(json!({"VirtualizationType": "paravirtual"})),
            combination,
        ),
        (
            register(json!({"ImageLocation": "bucket/a.manifest.xml"})),
            combination,
        ),
        (
            register(json!({"ImageLocation": "bucket/a.txt"})),
            "InvalidManifest",
        ),
        (
            register(
                json!({"TagSpecifications": [{"ResourceType": "snapshot", "Tags": [{"Key": "k", "Value": "v"}]}]}),
            ),
            value,
        ),
        (ebs(json!({"SnapshotId": open})), "IncorrectState"),
        (
            ebs(json!({"SnapshotId": nobody})),
            "InvalidSnapshot.NotFound",
        ),
        (
            ebs(json!({"SnapshotId": "snap-1"})),
            "InvalidSnapshotID.Malformed",
        ),
        (
            ebs(json!({"Encrypted": false})),
            "InvalidBlockDeviceMapping",
        ),
        (ebs(json!({"KmsKeyId": KMS_KEY})), "InvalidParameter"),
        (ebs(json!({"VolumeType": "gp4"})), value),
        (ebs(json!({"VolumeType": "gp2", "Iops": 3000})), combination),
        (ebs(json!({"VolumeType": "gp3", "Iops": 100})), value),
        (
            ebs(json!({"VolumeType": "gp2", "Throughput": 125})),
            combination,
        ),
        (ebs(json!({"VolumeType": "gp3", "Throughput": 1})), value),
        (
            ebs(json!({"VolumeType": "io1", "VolumeSize": 4})),
            "MissingParameter",
        ),
        (ebs(json!({"VolumeType": "st1"})), value),
        (ebs(json!({"VolumeSize": 0})), "InvalidBlockDeviceMapping"),
        (
            copy(json!({"Name": "other"})),
            "IdempotentParameterMismatch",
        ),
        (
            copy(json!({"ClientToken": "1", "SourceRegion": "mars-1"})),
            "InvalidRequest",
        ),
        (
            copy(json!({"ClientToken": "2", "SourceImageId": no_image})),
            "InvalidAMIID.NotFound",
        ),
        (
            copy(json!({"ClientToken": "3", "KmsKeyId": KMS_KEY})),
            "InvalidParameterDependency",
        ),
        (
            copy(json!({"ClientToken": "4", "Name": "?"})),
            "InvalidAMIName.Malformed",
        ),
        (launch(json!({"UserId": "1"})), "InvalidUserID.Malformed"),
        (
            launch(json!({"Group": "some"})),
            "InvalidAMIAttributeItemValue",
        ),
        (
            launch(json!({"OrganizationArn": "o-1"})),
            "InvalidAMIAttributeItemValue",
        ),
        (
            of(
                "modify_image_attribute",
                json!({"Description": {"Value": "d"}, "ImdsSupport": {"Value": "v2.0"}}),
            ),
            combination,
        ),
        (
            of(
                "modify_image_attribute",
                json!({"ImdsSupport": {"Value": "v1.0"}}),
            ),
            value,
        ),
        (of("modify_image_attribute", json!({})), "MissingParameter"),
        (
            of(
                "modify_image_attribute",
                json!({"ImageId": sealed, "LaunchPermission": {"Add": [{"UserId": ACCOUNT}]}}),
            ),
            "OperationNotPermitted",
        ),
        (
            (
                "modify_snapshot_attribute",
                json!({"SnapshotId": secret, "CreateVolumePermission": {"Add": [{"Group": "all"}]}}),
            ),
            "OperationNotPermitted",
        ),
        (deprecate("2020-01-01T00:00:00Z"), value),
        (deprecate("2137-01-01T00:00:00Z"), value),
        (
            of("deregister_image", json!({"ImageId": no_image})),
            "InvalidAMIID.NotFound",
        ),
        (
            of("deregister_image", json!({"ImageId": "ami-x"})),
            "InvalidAMIID.Malformed",
        ),
        (
            ("delete_snapshot", json!({"SnapshotId": nobody})),
            "InvalidSnapshot.NotFound",
        ),
        (
            ("delete_snapshot", json!({"SnapshotId": done})),
            "InvalidSnapshot.InUse",
        ),
        (
            ("describe_images", json!({"ImageIds": [no_image]})),
            "InvalidAMIID.NotFound",
        ),
        (("describe_images", json!({"MaxResults": 1})), value),
        (
            (
                "describe_images",
                json!({"MaxResults": 5, "ImageIds": [taken]}),
            ),
            combination,
        ),
        (
            (
                "describe_images",
                json!({"Filters": [{"Name": "colour", "Values": ["x"]}]}),
            ),
            value,
        ),
        (
            ("describe_images", json!({"NextToken": "AAAA"})),
            "InvalidNextToken",
        ),
        (
            ("describe_snapshots", json!({"SnapshotIds": [nobody]})),
            "InvalidSnapshot.NotFound",
        ),
        (
            (
                "create_tags",
                json!({"Resources": [nobody], "Tags": [{"Key": "k", "Value": ""}]}),
            ),
            "InvalidSnapshot.NotFound",
        ),
        (
            (
                "create_tags",
                json!({"Resources": [done], "Tags": [{"Key": "aws:k", "Value": ""}]}),
            ),
            value,
        ),
        (("describe_instances", json!({})), "InvalidAction"),
    ];
    let before = (server.images(), server.snapshots());
    for ((method, parameters), expected) in table {
        let result = boto.call("ec2", method, parameters.clone());
        assert_eq!(
            refusal(&result),
            (400, expected, ""),
            "{method} {parameters}"
        );
    }
    let dry = with(image("new", &done), json!({"DryRun": true}));
    let dry = boto.call("ec2", "register_image", dry);
    assert_eq!(refusal(&dry), (412, "DryRunOperation", ""));
    assert_eq!((server.images(), server.snapshots()), before);
}

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
