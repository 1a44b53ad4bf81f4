//! Instance metadata services that refuse, or say less than they should.

use std::collections::BTreeMap;
use std::fs;

use end_to_end::imds::{Service, Version};
use end_to_end::lonely::LonelyUser;
use end_to_end::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, manifest};
use end_to_end::{METADATA_ENDPOINT, Outcome, bundling_volume, command, folder, outcome};

fn upload(server: &Server, service: &Service, more: &[&str]) -> Outcome {
    let (url, manifest) = (server.url(), manifest());
    let arguments = ["-b", BUCKET, "--url", &url, "-m", &manifest, "--batch"];
    let arguments = [&arguments[..], more].concat();
    let mut upload = command("ec2-upload-bundle", &arguments);
    outcome(upload.env(METADATA_ENDPOINT, &service.endpoint))
}

fn role() -> BTreeMap<String, String> {
    let role = serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z",
        "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "token-of-the-role"
    });
    let path = "/latest/meta-data/iam/security-credentials/";
    [
        (path.to_owned(), "role".to_owned()),
        (format!("{path}role"), role.to_string()),
    ]
    .into()
}

#[test]
fn finding_25p_a_service_that_refuses_has_no_credentials() {
    let server = Server::start();
    for status in [400, 401, 403, 404, 405] {
        let service = Service::start(Version::Refuses(status), BTreeMap::new());
        let result = upload(&server, &service, &[]);
        assert_eq!(
            (result.code, result.stderr.as_str()),
            (
                1,
                "missing mandatory parameter: --access-key (and there are no credentials in the environment, in a profile or of a \
                 role)\nTry 'ec2-upload-bundle --help'\n"
            ),
            "{status}"
        );
    }
}

#[test]
fn finding_25p_what_is_said_without_a_lifetime_is_a_token_if_it_looks_like_one() {
    let server = Server::start();
    for version in [Version::V2WithoutLifetime, Version::V1WithPages] {
        let service = Service::start(version, role());
        let result = upload(&server, &service, &[]);
        assert_eq!(
            (result.code, result.stderr.as_str()),
            (0, ""),
            "{version:?}"
        );
        let requests = service.requests();
        assert!(requests.iter().any(|request| request.starts_with("PUT ")));
    }
}

/// Arguments to bundle a small folder and inherit from the instance.
fn inheriting(volume: &std::path::Path, destination: &std::path::Path) -> Vec<String> {
    fs::write(volume.join("file"), "x").unwrap();
    let mut arguments = bundling_volume(volume, destination);
    arguments.retain(|word| word != "--no-inherit");
    arguments
}

#[test]
fn finding_25p_metadata_that_cannot_be_had_is_said_in_one_plain_line() {
    let (volume, to) = (folder(), folder());
    let arguments = inheriting(volume.path(), to.path());
    for status in [403, 404] {
        let service = Service::start(Version::Refuses(status), BTreeMap::new());
        let mut bundling = command("ec2-bundle-vol", &arguments);
        let result = outcome(bundling.env(METADATA_ENDPOINT, &service.endpoint));
        assert_eq!(
            (result.code, result.stderr),
            (
                12,
                format!(
                    "ERROR: Can't access instance metadata. If you are not bundling on an EC2 instance use --no-inherit: the \
                     instance metadata service answers with status {status}\n"
                )
            )
        );
    }
}

#[test]
fn a_service_that_fails_is_said_with_its_status() {
    let (volume, to) = (folder(), folder());
    let service = Service::start(Version::Refuses(500), BTreeMap::new());
    let said = "the instance metadata service answers with status 500\n";
    let mut bundling = command("ec2-bundle-vol", &inheriting(volume.path(), to.path()));
    let result = outcome(bundling.env(METADATA_ENDPOINT, &service.endpoint));
    assert_eq!(
        (result.code, result.stderr),
        (
            12,
            format!(
                "ERROR: Can't access instance metadata. If you are not bundling on an EC2 instance use --no-inherit: {said}"
            )
        )
    );
    let result = upload(&Server::start(), &service, &[]);
    assert_eq!(
        (result.code, result.stderr),
        (254, format!("ERROR: cannot get credentials: {said}"))
    );
}

/// A name is looked up on a thread, an address is not.
#[test]
fn a_service_by_name_where_there_are_no_threads_is_an_error_in_a_line() {
    let user = LonelyUser::new(&["ec2-bundle-vol"]);
    let (volume, to) = (user.new_folder("volume"), user.new_folder("to"));
    let key = |name: &str| user.path(name).to_str().unwrap().to_owned();
    let [private, certificate, ec2] = ["user2048.key", "user2048.crt", "ec2.crt"].map(key);
    let (from, to) = (volume.to_str().unwrap(), to.to_str().unwrap());
    let named = ["-k", &private, "-c", &certificate, "--ec2cert", &ec2];
    let words = "-u 123456789012 -r x86_64 -s 64 -P none --batch --dry-run";
    let mut arguments: Vec<&str> = words.split(' ').collect();
    arguments.extend(named);
    arguments.extend(["-v", from, "-d", to]);

    let answers = [("/latest/meta-data/".to_owned(), "ami-id".to_owned())];
    let service = Service::start(Version::V2Only, answers.into());
    let port = service.endpoint.rsplit(':').next().unwrap();
    let run = |most, endpoint: &str| {
        let mut bundling = user.command(most, "ec2-bundle-vol", &arguments);
        let result = outcome(bundling.env(METADATA_ENDPOINT, endpoint));
        (result.code, result.stderr)
    };
    let by_name = format!("http://localhost:{port}");
    assert_eq!(run(1, &service.endpoint), (0, String::new()));
    assert_eq!(run(2, &by_name), (0, String::new()));
    let (code, said) = run(1, &by_name);
    let start = "ERROR: Can't access instance metadata. If you are not bundling on an EC2 instance use --no-inherit: the instance \
                 metadata service cannot be reached: the network cannot be used: the limit of open files, of processes or of memory \
                 is too low (";
    assert!(code == 12 && said.starts_with(start), "{code}: {said}");
    assert_eq!(said.matches('\n').count(), 1, "{said}");
}

/// As in the older suite, which asks for these two even if options give them.
#[test]
fn finding_25q_kernel_and_ram_disk_are_missed_even_where_an_option_replaces_them() {
    let (volume, to) = (folder(), folder());
    let mut arguments = inheriting(volume.path(), to.path());
    let more = "--kernel aki-1 --ramdisk ari-1 --productcodes X -B ami=sda1";
    arguments.extend(more.split(' ').map(str::to_owned));
    let path = |item: &str| format!("/latest/meta-data/{item}");
    let answers = [
        (path(""), "ami-id".to_owned()),
        (path("ami-id"), "ami-1".to_owned()),
    ];
    let service = Service::start(Version::V2Only, answers.into());
    let mut bundling = command("ec2-bundle-vol", &arguments);
    let result = outcome(bundling.env(METADATA_ENDPOINT, &service.endpoint));
    assert_eq!(result.code, 0, "{result:?}");
    let missed: Vec<&str> = result
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("Unable to read instance meta-data for "))
        .collect();
    assert_eq!(missed, ["ancestor-ami-ids", "kernel-id", "ramdisk-id"]);
}
