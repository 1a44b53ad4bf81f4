//! Which requests the double of EBS, EC2, KMS and Service Quotas refuses, and how: sent by boto3, which checks nothing before.

use ebs_server::{ACCOUNT, BLOCK, KMS_KEY, KmsKey, Settings};
use end_to_end::ebs::{
    begin, completed, digest, image, put, quick, refusal, register, start, with,
};
use openssl::base64::encode_block;
use serde_json::{Value, json};

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
fn wrong_requests_of_kms_and_service_quotas_are_refused() {
    let (_server, mut boto) = start(Settings {
        denied: vec!["GetAWSDefaultServiceQuota".to_owned()],
        kms_keys: vec![KmsKey {
            state: "Disabled".to_owned(),
            ..KmsKey::default()
        }],
        ..quick()
    });
    let key = |name: &str| ("kms", "describe_key", json!({"KeyId": name}));
    let elsewhere = format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/{KMS_KEY}");
    let no_arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:{KMS_KEY}");
    let quotas = |method, parameters| ("service-quotas", method, parameters);
    let get = "get_service_quota";
    let table = [
        (("kms", "describe_key", json!({})), "ValidationException"),
        (key(""), "ValidationException"),
        (key(&"x".repeat(2049)), "ValidationException"),
        (
            ("kms", "describe_key", json!({"KeyId": ["a"]})),
            "SerializationException",
        ),
        (key("none"), "NotFoundException"),
        (key("alias/none"), "NotFoundException"),
        (key(&elsewhere), "NotFoundException"),
        (key(&no_arn), "InvalidArnException"),
        (("kms", "list_keys", json!({})), "UnknownOperationException"),
        (
            quotas(get, json!({"ServiceCode": "ebs"})),
            "IllegalArgumentException",
        ),
        (
            quotas(
                get,
                json!({"ServiceCode": "ebs", "QuotaCode": "L-00000000"}),
            ),
            "NoSuchResourceException",
        ),
        (
            quotas(
                "get_aws_default_service_quota",
                json!({"ServiceCode": "ebs", "QuotaCode": "L-309BACF6"}),
            ),
            "AccessDeniedException",
        ),
    ];
    for ((service, method, parameters), expected) in table {
        let result = boto.call(service, method, parameters.clone());
        assert_eq!(
            refusal(&result),
            (400, expected, ""),
            "{method} {parameters}"
        );
    }
    // A key that is disabled encrypts nothing.
    let arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{KMS_KEY}");
    let begin = json!({"VolumeSize": 1, "Encrypted": true, "KmsKeyArn": arn});
    let refused = boto.call("ebs", "start_snapshot", begin);
    assert_eq!(
        refusal(&refused),
        (400, "ValidationException", "INVALID_CUSTOMER_KEY")
    );
    boto.keys.1 = "wrong".to_owned();
    let (service, method, parameters) = key(KMS_KEY);
    let result = boto.call(service, method, parameters);
    assert_eq!(refusal(&result), (400, "InvalidSignatureException", ""));
}
