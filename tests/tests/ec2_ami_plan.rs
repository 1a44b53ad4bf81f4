//! The keys and quotas in the plan of `ec2-ami create`, and the names by which a key is given.

use ebs_server::{ACCOUNT, KMS_KEY, KmsKey};
use end_to_end::boto::Boto;
use end_to_end::ebs::{EbsServer, Fault, Scene, Settings, begin, quick};
use end_to_end::outcome;
use serde_json::{Value, json};

const HERE: &str = "us-east-1";
const THERE: &str = "us-west-2";

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:1";

const DENIED: &str = "User: arn:aws:iam::123456789012:user/test is not authorized to perform:";

fn arn(region: &str, resource: &str) -> String {
    format!("arn:aws:kms:{region}:{ACCOUNT}:{resource}")
}

/// The double's usual key, as `alias/mine`.
fn mine() -> KmsKey {
    KmsKey {
        aliases: vec!["mine".to_owned()],
        ..KmsKey::default()
    }
}

fn with_keys(keys: &[KmsKey]) -> Settings {
    Settings {
        kms_keys: keys.to_vec(),
        ..Settings::default()
    }
}

/// The plan's arguments for a disk.
fn plan<'a>(disk: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["create", disk, "--name", "web", "--dry-run"], more].concat()
}

fn count(server: &EbsServer, action: &str) -> usize {
    server.log().of(action).count()
}

/// The lines of a plan that begin so.
fn lines<'a>(stdout: &'a str, begin: &str) -> Vec<&'a str> {
    let begin = format!("  {begin}");
    stdout
        .lines()
        .filter(|line| line.starts_with(&begin))
        .collect()
}

#[test]
fn a_key_has_four_names_and_only_its_arn_needs_no_lookup() {
    let scene = Scene::with(with_keys(&[mine()]));
    let disk = scene.disk("disk.img");
    let key = arn(HERE, &format!("key/{KMS_KEY}"));
    let alias = arn(HERE, "alias/mine");
    for (name, lookups) in [(KMS_KEY, 1), ("alias/mine", 1), (&alias, 1), (&key, 0)] {
        scene.server.clear_log();
        let more = ["--kms-key-id", name, "--description", name];
        let result = scene.ok(&[&["create", &disk, "--snapshot-only"], &more[..]].concat());
        let snapshot = scene.server.snapshot(result.stdout.trim()).unwrap();
        assert_eq!(snapshot.kms_key.as_ref(), Some(&key), "{name}");
        assert_eq!(count(&scene.server, "DescribeKey"), lookups, "{name}");
        let shown = scene.ok(&plan(&disk, &["--kms-key-id", name]));
        assert_eq!(lines(&shown.stdout, "key: "), [format!("  key: {key}")]);
        assert_eq!(lines(&shown.stdout, "encrypted"), ["  encrypted: yes"]);
    }
}

#[test]
fn a_key_that_ebs_does_not_encrypt_with_is_a_problem() {
    let key = |id: &str, state: &str| KmsKey {
        id: id.to_owned(),
        aliases: vec![format!("of/{id}")],
        state: state.to_owned(),
        ..KmsKey::default()
    };
    let scene = Scene::with(with_keys(&[
        key("off", "Disabled"),
        key("going", "PendingDeletion"),
        key("empty", "PendingImport"),
        KmsKey {
            spec: "RSA_2048".to_owned(),
            usage: "SIGN_VERIFY".to_owned(),
            ..key("signs", "Disabled")
        },
    ]));
    let disk = scene.disk("disk.img");
    let off = arn(HERE, "key/off");
    let (elsewhere, alias) = (arn(THERE, "key/off"), arn(THERE, "alias/of/off"));
    let enable = |id: &str| {
        let arn = arn(HERE, &format!("key/{id}"));
        format!("is disabled; enable it: aws kms enable-key --region {HERE} --key-id {arn}")
    };
    let list = format!("name one of those that aws kms list-aliases --region {HERE} shows");
    let going = format!(
        "is to be deleted; name another, or keep it: aws kms cancel-key-deletion --region {HERE} --key-id {}",
        arn(HERE, "key/going")
    );
    for (name, problems) in [
        (
            "alias/of/off",
            vec![format!(
                "the KMS key alias/of/off in {HERE} {}",
                enable("off")
            )],
        ),
        (
            &off,
            vec![format!("the KMS key {off} in {HERE} {}", enable("off"))],
        ),
        (
            "going",
            vec![format!("the KMS key going in {HERE} {going}")],
        ),
        (
            "empty",
            vec![format!(
                "the KMS key empty in {HERE} is in the state PendingImport"
            )],
        ),
        (
            "signs",
            vec![
                format!("the KMS key signs in {HERE} {}", enable("signs")),
                format!(
                    "the KMS key signs in {HERE} is no symmetric key for encryption, but RSA_2048 for SIGN_VERIFY; \
                     name another: EBS takes no other keys"
                ),
            ],
        ),
        (
            "alias/none",
            vec![format!("there is no KMS key alias/none in {HERE}; {list}")],
        ),
        (
            "1234",
            vec![format!("there is no KMS key 1234 in {HERE}; {list}")],
        ),
        (
            &elsewhere,
            vec![format!("the KMS key {elsewhere} is not of {HERE}; {list}")],
        ),
        (
            &alias,
            vec![format!("the KMS key {alias} is not of {HERE}; {list}")],
        ),
    ] {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| format!("ERROR: {problem}\n"))
            .collect();
        let more = ["--kms-key-id", name];
        let planned = scene.fails(2, &plan(&disk, &more));
        assert_eq!(planned.stderr, lines.concat(), "{name}");
        // Nothing is asked of an ARN, and EBS itself refuses it.
        if name != off {
            let arguments = ["create", &disk, "--name", "web", more[0], more[1]];
            let made = scene.fails(2, &arguments);
            let expected = (String::new(), lines[0].clone());
            assert_eq!((made.stdout, made.stderr), expected, "{name}");
        }
    }
    assert_eq!(scene.server.snapshots(), []);
}

#[test]
fn the_key_of_each_copy_is_looked_up_in_its_region() {
    let scene = Scene::with(with_keys(&[mine()]));
    let disk = scene.disk("disk.img");
    let copies = |key| ["--copy-to", THERE, "--copy-kms-key", key];
    let good = scene.ok(&plan(&disk, &copies("alias/mine")));
    assert_eq!(good.stderr, "");
    let log = scene.server.log();
    let asked: Vec<_> = log
        .of("DescribeKey")
        .map(|record| &*record.region)
        .collect();
    assert_eq!(asked, [THERE]);
    // It is not the key of the snapshot here.
    assert_eq!(lines(&good.stdout, "key: "), [] as [&str; 0]);

    let list = format!("name one of those that aws kms list-aliases --region {THERE} shows");
    let missing = scene.fails(2, &plan(&disk, &copies("alias/none")));
    let expected = format!("ERROR: there is no KMS key alias/none in {THERE}; {list}\n");
    assert_eq!(missing.stderr, expected);

    // The region of an ARN is known without a question, so that no AMI is made whose copy would fail.
    let here = arn(HERE, &format!("key/{KMS_KEY}"));
    let expected = format!("ERROR: the KMS key {here} is not of {THERE}; {list}\n");
    let copies = copies(&here);
    assert_eq!(scene.fails(2, &plan(&disk, &copies)).stderr, expected);
    let made = scene.fails(
        2,
        &[&["create", &disk, "--name", "web"], &copies[..]].concat(),
    );
    assert_eq!(made.stderr, expected);
    assert_eq!(scene.server.snapshots(), []);
}

#[test]
fn a_key_that_may_not_be_looked_up_is_a_problem_only_if_it_has_to_be() {
    let scene = Scene::with(Settings {
        denied: ["DescribeKey", "GetEbsDefaultKmsKeyId"]
            .map(str::to_owned)
            .to_vec(),
        ..with_keys(&[mine()])
    });
    let disk = scene.disk("disk.img");
    let refused = format!("Server.AccessDeniedException(400): {DENIED} kms:DescribeKey");
    let key = arn(HERE, &format!("key/{KMS_KEY}"));
    let by_arn = scene.ok(&plan(&disk, &["--kms-key-id", &key]));
    let expected = format!("WARNING: the KMS key {key} in {HERE} cannot be looked up: {refused}\n");
    assert_eq!(by_arn.stderr, expected);
    assert_eq!(lines(&by_arn.stdout, "key: "), [format!("  key: {key}")]);

    let copies = ["--copy-to", THERE, "--copy-kms-key", "alias/mine"];
    let of_copy = scene.ok(&plan(&disk, &copies));
    let expected =
        format!("WARNING: the KMS key alias/mine in {THERE} cannot be looked up: {refused}\n");
    assert_eq!(of_copy.stderr, expected);

    let by_alias = ["--kms-key-id", "alias/mine"];
    let expected = format!(
        "ERROR: Failed to look up the KMS key alias/mine in {HERE}: {refused}; \
         these credentials do not allow it: docs/iam.md has the policies that each verb needs\n"
    );
    assert_eq!(scene.fails(3, &plan(&disk, &by_alias)).stderr, expected);
    let made = [&["create", &disk, "--name", "web"], &by_alias[..]].concat();
    assert_eq!(scene.fails(3, &made).stderr, expected);
    assert_eq!(scene.server.snapshots(), []);

    let default = scene.ok(&plan(&disk, &["--encrypted"]));
    let expected = format!(
        "WARNING: the default KMS key of EBS in {HERE} cannot be looked up: \
         Server.UnauthorizedOperation(403): You are not authorized to perform this operation.\n"
    );
    assert_eq!(default.stderr, expected);
}

#[test]
fn where_no_key_is_named_the_default_one_is_looked_up() {
    let of_aws = Scene::new();
    let disk = of_aws.disk("disk.img");
    let copies = ["--encrypted", "--copy-to", THERE];
    let shown = of_aws.ok(&plan(&disk, &copies));
    assert_eq!(shown.stderr, "");
    assert_eq!(lines(&shown.stdout, "key: "), ["  key: alias/aws/ebs"]);
    // EBS has that one in every account.
    assert_eq!(count(&of_aws.server, "DescribeKey"), 0);
    assert_eq!(count(&of_aws.server, "GetEbsDefaultKmsKeyId"), 2);

    let scene = Scene::with(Settings {
        default_kms_key: Some("alias/mine".to_owned()),
        encryption_by_default: true,
        ..with_keys(&[KmsKey {
            state: "Disabled".to_owned(),
            ..mine()
        }])
    });
    let disk = scene.disk("disk.img");
    let refused = scene.fails(2, &plan(&disk, &["--copy-to", THERE]));
    let disabled = |region| {
        let key = arn(region, &format!("key/{KMS_KEY}"));
        let enable = format!("aws kms enable-key --region {region} --key-id {key}");
        format!("ERROR: the KMS key {key} in {region} is disabled; enable it: {enable}\n")
    };
    assert_eq!(refused.stderr, disabled(HERE) + &disabled(THERE));

    let plain = of_aws.ok(&plan(&disk, &[]));
    assert_eq!(lines(&plain.stdout, "key: "), [] as [&str; 0]);
    assert_eq!(lines(&plain.stdout, "encrypted"), ["  encrypted: no"]);
}

#[test]
fn kms_has_an_endpoint_of_its_own_and_is_asked_again() {
    let scene = Scene::with(with_keys(&[mine()]));
    let disk = scene.disk("disk.img");
    let key = arn(HERE, &format!("key/{KMS_KEY}"));
    let arguments = plan(&disk, &["--kms-key-id", &key]);
    let mut command = scene.command(&arguments);
    let unreached = outcome(command.env("AWS_ENDPOINT_URL_KMS", NOWHERE));
    assert_eq!(unreached.code, 0, "{unreached:?}");
    let expected = format!("WARNING: the KMS key {key} in {HERE} cannot be looked up: ");
    assert!(unreached.stderr.starts_with(&expected), "{unreached:?}");

    // One server stands for all services.
    let url = scene.server.url();
    scene.server.fail("DescribeKey", Fault::Throttle, 0, 1);
    scene.server.fail("DescribeKey", Fault::Error, 0, 1);
    let more = ["--kms-key-id", "alias/mine", "--endpoint-url", &url];
    let arguments = plan(&disk, &more);
    let mut command = scene.command(&arguments);
    let reached = outcome(command.env("AWS_ENDPOINT_URL", NOWHERE));
    assert_eq!((reached.code, &*reached.stderr), (0, ""), "{reached:?}");
    assert_eq!(scene.server.still_to_fail(), 0);
}

#[test]
fn quotas_are_compared_with_what_there_is() {
    let quotas = [
        ("L-309BACF6", 2.0),
        ("L-B665C33B", 3.0),
        ("L-0E3CBAB9", 1.0),
        ("L-AFAE1BE8", 10.0),
        ("L-1774F84A", 12.0),
    ];
    let scene = Scene::with(Settings {
        service_quotas: quotas.map(|(code, value)| (code.to_owned(), value)).into(),
        ..Settings::default()
    });
    let [one, two, disk] = ["one.img", "two.img", "disk.img"].map(|name| scene.disk(name));
    let _ = scene.ok(&["create", &one, "--name", "one"]);
    let _ = scene.ok(&["create", &two, "--name", "two", "--share", "all"]);
    assert_eq!(count(&scene.server, "GetServiceQuota"), 0);
    let public = ["--share", "all", "--copy-to", THERE];
    let shown = scene.fails(3, &plan(&disk, &public));
    let of_quotas = shown.stdout.split("  encrypted: no\n").nth(1);
    let expected = "  snapshots: 2 of 2\n  AMIs: 2 of 3\n  public AMIs: 1 of 1\n  \
        snapshots in us-west-2: 0 of 2\n  AMIs in us-west-2: 0 of 3\n  public AMIs in us-west-2: 0 of 1\n";
    assert_eq!(of_quotas, Some(expected), "{shown:?}");
    let reached = |name: &str, limit: u64, service: &str, code: &str| {
        format!(
            "ERROR: the quota {name:?} in {HERE} is reached: {limit}; delete what is not needed, or ask for more: \
             aws service-quotas request-service-quota-increase --region {HERE} --service-code {service} --quota-code {code} \
             --desired-value NUMBER\n"
        )
    };
    let expected = reached("Snapshots per Region", 2, "ebs", "L-309BACF6")
        + &reached("Public AMIs", 1, "ec2", "L-0E3CBAB9");
    assert_eq!(shown.stderr, expected);

    let told = scene.fails(3, &plan(&disk, &["--json"]));
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let quota = |name: &str, service: &str, code: &str, limit: u64| {
        json!({
            "region": HERE, "name": name, "service": service, "code": code, "used": 2, "is_all": true, "limit": limit
        })
    };
    let expected = json!([
        quota("Snapshots per Region", "ebs", "L-309BACF6", 2),
        quota("AMIs", "ec2", "L-B665C33B", 3),
    ]);
    assert_eq!(told["quotas"], expected);
    assert_eq!(told["problems"].as_array().unwrap().len(), 1);
    assert_eq!(told["kms_key"], Value::Null);
    let number = |name: &str| told[name].as_u64().unwrap();
    let blocks = number("blocks") - number("free_blocks");
    assert!(blocks > 10, "{blocks}");
    assert_eq!(number("least_seconds"), blocks.div_ceil(10));

    // A snapshot that is there counts already, and so does an AMI.
    let image = scene.server.images().remove(0);
    let snapshot = image.snapshots().next().unwrap();
    let of_snapshot = scene.ok(&plan(snapshot, &["--arch", "x86_64"]));
    assert_eq!(lines(&of_snapshot.stdout, "snapshots"), [] as [&str; 0]);
    assert_eq!(lines(&of_snapshot.stdout, "AMIs"), ["  AMIs: 2 of 3"]);
    let again = ["create", snapshot, "--name", &image.name, "--dry-run"];
    let again = scene.ok(&again);
    assert_eq!(lines(&again.stdout, "AMIs"), [] as [&str; 0]);
}

#[test]
fn only_as_much_is_counted_as_is_needed() {
    let mut settings = quick();
    settings.quotas.pending = 1000;
    settings.service_quotas = [("L-309BACF6".to_owned(), 150.0)].into();
    let scene = Scene::with(settings);
    let mut boto = Boto::start(&scene.server.url());
    for _ in 0..201 {
        let _ = begin(&mut boto, json!({}));
    }
    let disk = scene.disk("disk.img");
    let shown = scene.fails(3, &plan(&disk, &[]));
    let counted = ["  snapshots: at least 200 of 150"];
    assert_eq!(lines(&shown.stdout, "snapshots"), counted);
    assert_eq!(lines(&shown.stdout, "AMIs"), ["  AMIs: 0 of 50000"]);
    assert_eq!(count(&scene.server, "DescribeSnapshots"), 1);
}

#[test]
fn quotas_that_cannot_be_read_are_left_out() {
    let scene = Scene::with(Settings {
        denied: vec!["GetServiceQuota".to_owned()],
        ..Settings::default()
    });
    let disk = scene.disk("disk.img");
    let is_left_out = |stdout: &str| {
        let begins = ["snapshots", "AMIs", "sending"];
        begins.iter().all(|begin| lines(stdout, begin).is_empty())
    };
    let quiet = scene.ok(&plan(&disk, &[]));
    assert_eq!(quiet.stderr, "");
    assert!(is_left_out(&quiet.stdout), "{quiet:?}");
    // The others are not asked for when one is refused.
    assert_eq!(count(&scene.server, "GetServiceQuota"), 2);
    let debug = scene.ok(&plan(&disk, &["--debug"]));
    let expected = format!(
        "Failed to look up the quota Snapshots per Region in {HERE}: Server.AccessDeniedException(400): {DENIED} servicequotas:GetServiceQuota"
    );
    assert!(debug.stderr.contains(&expected), "{debug:?}");
    let told = scene.ok(&plan(&disk, &["--json"]));
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let found = (&told["quotas"], &told["least_seconds"]);
    assert_eq!(found, (&json!([]), &Value::Null));

    let arguments = plan(&disk, &[]);
    let mut command = scene.command(&arguments);
    let unreached = outcome(command.env("AWS_ENDPOINT_URL_SERVICE_QUOTAS", NOWHERE));
    assert_eq!((unreached.code, &*unreached.stderr), (0, ""));
    assert!(is_left_out(&unreached.stdout), "{unreached:?}");
}
