//! Bundles to S3 and back: what is stored, where, for whom, and with whose credentials.

use std::fs;
use std::process::Command;

use end_to_end::moto::Moto;
use end_to_end::proxy::{Proxy, Rule, Slowness};
use end_to_end::s3::{
    ACCESS_KEY, BUCKET, SECRET_KEY, Server, bundle_files, for_moto, manifest, ok, private_key,
    small_parts, with_keys,
};
use end_to_end::same::assert_same_files;
use end_to_end::{command, contents, folder, names, outcome, tls};
use serde_json::{Value, json};

#[test]
fn what_is_stored_is_what_was_sent_for_ec2_to_read() {
    const EXEC: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
    let mut moto = Moto::start();
    for (acl, others) in [("aws-exec-read", None), ("public-read", Some(EXEC))] {
        let bucket = format!("{acl}.test");
        let result = for_moto(
            &moto,
            "ec2-upload-bundle",
            &format!("{bucket}/a b/ü"),
            &["-m", &manifest(), "--acl", acl],
        );
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{result:?}");
        for (name, bytes) in bundle_files(&small_parts()) {
            let stored = moto.call("look", &[&bucket, &format!("a b/ü/{name}")]);
            assert_eq!(stored["size"], bytes.len());
            assert_eq!(stored["sha1"], end_to_end::sha1(&bytes));
            let grants = stored["grants"].as_array().unwrap();
            assert!(grants.iter().any(|grant| grant[1] == "FULL_CONTROL"));
            let readers: Vec<&str> = grants
                .iter()
                .filter(|grant| grant[1] == "READ")
                .filter_map(|grant| grant[0].as_str())
                .collect();
            match others {
                Some(everybody) => assert_eq!(readers, [everybody]),
                None => assert!(!readers.contains(&EXEC)),
            }
        }
        assert_eq!(
            moto.call("ownership", &[&bucket]),
            json!(["BucketOwnerPreferred"])
        );
    }
}

#[test]
fn every_file_goes_with_the_acl_and_its_md5() {
    let server = Server::start();
    let proxy = Proxy::start(server.address, Slowness::default());
    let _ = ok(with_keys(
        "ec2-upload-bundle",
        &proxy.url(),
        &["-m", &manifest()],
    ));
    let requests = proxy.requests();
    let puts: Vec<_> = requests
        .iter()
        .filter(|request| request.path.contains("image."))
        .collect();
    assert_eq!(puts.len(), 13);
    for put in puts {
        assert_eq!(put.header("x-amz-acl"), Some("aws-exec-read"));
        let name = put.path.split(['/', '?']).nth(2).unwrap();
        let bytes = fs::read(small_parts().join(name)).unwrap();
        assert_eq!(
            put.header("content-md5"),
            Some(end_to_end::md5_base64(&bytes).as_str())
        );
        assert_eq!(put.body, bytes.len() as u64);
        let others = put
            .headers
            .iter()
            .filter(|(header, _)| header.contains("checksum") || header == "transfer-encoding");
        assert_eq!(
            others.count(),
            0,
            "servers that are not AWS's know no other checksum"
        );
    }
    assert!(
        requests.last().unwrap().path.contains("manifest"),
        "the manifest is the last"
    );
}

#[test]
fn a_bundle_makes_the_whole_way_in_both_signatures() {
    for version in ["2", "4"] {
        let server = Server::start();
        let sigv = ["--sigv", version];
        let at =
            |name: &str, more: &[&str]| ok(with_keys(name, &server.url(), &[more, &sigv].concat()));
        let uploaded = at("ec2-upload-bundle", &["-m", &manifest()]);
        assert!(
            uploaded.stdout.starts_with("Creating bucket...\n"),
            "{uploaded:?}"
        );
        let to = folder();
        let _ = at(
            "ec2-download-bundle",
            &["-k", &private_key(), "-d", to.path().to_str().unwrap()],
        );
        assert_same_files(&contents(to.path()), &bundle_files(&small_parts()));
        let deleted = at("ec2-delete-bundle", &["-m", &manifest(), "-y", "--clear"]);
        assert_eq!(deleted.stdout.matches("Deleted ").count(), 13);
        assert!(!server.bucket("").join(BUCKET).exists());
        let refused = outcome(
            with_keys(
                "ec2-upload-bundle",
                &server.url(),
                &[&["-m", &manifest()][..], &sigv].concat(),
            )
            .env("AWS_SECRET_ACCESS_KEY", "another"),
        );
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(
            refused.stderr.contains("Server.SignatureDoesNotMatch(403)"),
            "{refused:?}"
        );
    }
}

#[test]
fn buckets_are_made_and_found_where_the_documentation_says() {
    let mut moto = Moto::start();
    let upload = |moto: &Moto, bucket: &str, more: &[&str]| {
        for_moto(
            moto,
            "ec2-upload-bundle",
            bucket,
            &[&["-m", &manifest()][..], more].concat(),
        )
    };
    for (place, made_in) in [
        (&[][..], Value::Null),
        (&["--region", "us-east-1"], Value::Null),
        (&["--location", "US"], Value::Null),
        (&["--region", "ap-southeast-4"], "ap-southeast-4".into()),
        (&["--location", "EU"], "eu-west-1".into()),
        (&["--location", "sa-east-1"], "sa-east-1".into()),
    ] {
        let _ = moto.call("reset", &[]);
        let result = upload(&moto, BUCKET, place);
        assert_eq!(result.code, 0, "{place:?} {result:?}");
        assert_eq!(
            moto.call("state", &[])[BUCKET]["location"],
            made_in,
            "{place:?}"
        );
    }
    let _ = moto.call("reset", &[]);
    let _ = moto.call("bucket", &["here.test"]);
    let _ = moto.call("bucket", &["there.test", "eu-west-1"]);
    for (bucket, place, code) in [
        ("there.test", &[][..], 0),
        ("there.test", &["--region", "us-east-1"], 0),
        ("there.test", &["--region", "eu-west-1"], 0),
        ("there.test", &["--location", "EU"], 0),
        ("there.test", &["--location", "US"], 10),
        ("there.test", &["--region", "eu-west-2"], 10),
        ("here.test", &["--region", "eu-west-2"], 10),
        ("here.test", &["--location", "EU"], 10),
    ] {
        let result = upload(&moto, bucket, place);
        assert_eq!(result.code, code, "{bucket} {place:?} {result:?}");
        if code == 10 {
            let actual = if bucket == "here.test" {
                "US"
            } else {
                "eu-west-1"
            };
            let line = format!(
                "ERROR: Bucket \"{bucket}\" already exists in \"{actual}\" and \"{}\" was specified.\n",
                place[1]
            );
            assert_eq!(result.stderr, line);
        }
    }
}

#[test]
fn credentials_come_from_where_awss_tools_have_them() {
    let server = Server::start();
    let proxy = Proxy::start(server.address, Slowness::default());
    let work = folder();
    let profiles = work.path().join("credentials");
    fs::write(
        &profiles,
        format!("[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[other]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"),
    )
    .unwrap();
    let url = proxy.url();
    let run = |more: &[&str], variables: &[(&str, &str)]| {
        let manifest = manifest();
        let mut arguments = vec!["-b", BUCKET, "--url", &url, "-m", &manifest, "--debug"];
        arguments.extend(more);
        let mut command = command("ec2-upload-bundle", &arguments);
        outcome(
            command
                .env("AWS_SHARED_CREDENTIALS_FILE", &profiles)
                .envs(variables.iter().copied()),
        )
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    let given = ["-a", ACCESS_KEY, "-s", SECRET_KEY];
    let token = ("AWS_DELEGATION_TOKEN", "token/of+somebody=");
    for (more, variables, source, has_token) in [
        (&given[..], &[][..], "given on the command line", false),
        (&given[..], &[token], "given on the command line", true),
        (&[], &keys, "from environment variables", false),
        (&["--profile", "other"], &[], "from a profile", false),
        (&[], &[("AWS_PROFILE", "other")], "from a profile", false),
    ] {
        proxy.set_rules(Vec::new());
        let result = run(more, variables);
        assert_eq!(result.code, 0, "{source}: {result:?}");
        assert!(
            result
                .stderr
                .contains(&format!("DEBUG credentials: {source}")),
            "{}",
            result.stderr
        );
        let printed = format!("{}{}", result.stdout, result.stderr);
        assert!(
            !printed.contains(SECRET_KEY) && !printed.contains("token/of"),
            "{printed}"
        );
        let warns = result
            .stderr
            .matches("Others on this machine can see the keys")
            .count();
        assert_eq!(warns, usize::from(more.contains(&"-s")), "{source}");
        let requests = proxy.requests();
        let sent = requests
            .iter()
            .filter(|request| request.header("x-amz-security-token").is_some());
        assert_eq!(sent.count(), if has_token { requests.len() } else { 0 });
    }
    let none = outcome(&mut command(
        "ec2-upload-bundle",
        &["-b", BUCKET, "--url", &url, "-m", &manifest()],
    ));
    assert_eq!(none.code, 1);
    assert!(
        none.stderr
            .starts_with("missing mandatory parameter: --access-key"),
        "{none:?}"
    );
    let both = run(&["-a", "x", "-s", "y", "--profile", "other"], &[]);
    assert_eq!(
        (both.code, both.stderr.lines().next()),
        (
            1,
            Some("--access-key and --profile may not both be provided")
        )
    );
}

/// They never appear in another process, a log or a file, not even in a run with faults.
#[test]
fn no_secret_is_printed_or_handed_to_another_program() {
    let server = Server::start();
    let proxy = Proxy::start(server.address, Slowness::default());
    let work = folder();
    let trace = work.path().join("trace");
    let url = proxy.url();
    let traced = |name: &str, more: &[&str]| {
        proxy.set_rules(vec![Rule::error(
            "",
            "part.03",
            Some(1),
            500,
            "InternalError",
        )]);
        let mut strace = Command::new("strace");
        let _ = end_to_end::isolate(&mut strace)
            .args(["-f", "-s", "100000", "-e", "trace=execve,execveat", "-o"])
            .arg(&trace)
            .arg(end_to_end::command_path(name))
            .args(["-b", BUCKET, "--url", &url, "--debug", "--retry"])
            .args(more)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_SESSION_TOKEN", "token/of+somebody=");
        let result = outcome(&mut strace);
        assert_eq!(result.code, 0, "{result:?}");
        assert!(result.stderr.contains("DEBUG"));
        result.stdout + &result.stderr + &fs::read_to_string(&trace).unwrap()
    };
    let to = folder();
    let everything = traced("ec2-upload-bundle", &["-m", &manifest()])
        + &traced(
            "ec2-download-bundle",
            &["-k", &private_key(), "-d", to.path().to_str().unwrap()],
        )
        + &traced("ec2-delete-bundle", &["-m", &manifest(), "-y"]);
    for secret in [
        SECRET_KEY,
        "token/of+somebody=",
        "Signature=",
        "Credential=",
    ] {
        assert!(
            !everything.contains(secret),
            "{secret} was printed, or handed on"
        );
    }
    assert!(everything.contains("Server.InternalError(500)"));
}

#[test]
fn a_damaged_part_is_kept_only_if_that_is_wanted() {
    let server = Server::start();
    let store = server.bucket(BUCKET);
    let mut files = bundle_files(&small_parts());
    let _ = files.insert("image.part.03".to_owned(), b"damaged".to_vec());
    for (name, bytes) in &files {
        fs::write(store.join(name), bytes).unwrap();
    }
    let to = folder();
    let arguments = ["-k", &private_key(), "-d", to.path().to_str().unwrap()];
    let refused = outcome(&mut with_keys(
        "ec2-download-bundle",
        &server.url(),
        &arguments,
    ));
    assert_eq!(refused.code, 3);
    assert!(
        refused
            .stderr
            .starts_with("ERROR: Failed to download \"image.part.03\": its SHA-1 is "),
        "{refused:?}"
    );
    assert_eq!(names(to.path()), [""; 0]);
    let taken = ok(with_keys(
        "ec2-download-bundle",
        &server.url(),
        &[&arguments[..], &["--no-verify"]].concat(),
    ));
    assert!(
        taken
            .stderr
            .starts_with("WARNING: image.part.03 is damaged"),
        "{taken:?}"
    );
    assert_same_files(&contents(to.path()), &files);
}

#[test]
fn a_server_that_deletes_one_by_one_is_enough() {
    let server = Server::start();
    let store = server.bucket(BUCKET);
    for (name, bytes) in bundle_files(&small_parts()) {
        fs::write(store.join(name), bytes).unwrap();
    }
    let proxy = Proxy::start(server.address, Slowness::default());
    proxy.set_rules(vec![Rule::error(
        "POST",
        "delete",
        None,
        501,
        "NotImplemented",
    )]);
    let result = ok(with_keys(
        "ec2-delete-bundle",
        &proxy.url(),
        &["-p", "image", "-y"],
    ));
    let deleted: Vec<&str> = result
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("Deleted "))
        .collect();
    let expected: Vec<String> = bundle_files(&small_parts()).into_keys().collect();
    assert_eq!(
        deleted, expected,
        "the manifest first, then the parts in order"
    );
    assert_eq!(bundle_files(&store).len(), 0);
}

#[test]
fn more_than_a_thousand_keys_are_deleted_and_no_other() {
    let mut moto = Moto::start();
    let _ = moto.call("bucket", &[BUCKET]);
    let _ = moto.call_with("many", &[BUCKET, "big.part.%04d"], json!({"count": 2105}));
    for other in [
        "big.part.0000.bak",
        "big",
        "bigger.part.0",
        "big.manifest.xml.bak",
    ] {
        let _ = moto.call_with("put", &[BUCKET, other], json!({"text": "x"}));
    }
    let _ = moto.call_with("put", &[BUCKET, "big.manifest.xml"], json!({"text": "x"}));
    let result = for_moto(
        &moto,
        "ec2-delete-bundle",
        BUCKET,
        &["-p", "big", "-y", "--clear"],
    );
    assert_eq!(result.code, 3, "{}", result.stderr);
    assert!(
        result.stderr.contains("Server.BucketNotEmpty(409)")
            && result.stderr.contains("it holds other files, and stays")
    );
    assert_eq!(result.stdout.matches("Deleted ").count(), 2106);
    assert!(
        result
            .stdout
            .contains("\nDeleted big.manifest.xml\nDeleted big.part.0000\n")
    );
    let left = moto.call("state", &[])[BUCKET]["keys"].clone();
    let left: Vec<&str> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!(
        left,
        [
            "big",
            "big.manifest.xml.bak",
            "big.part.0000.bak",
            "bigger.part.0"
        ]
    );
}

#[test]
fn a_profile_says_which_endpoints_are_asked() {
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let work = folder();
    let url = server.url();
    let keys = format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    let configuration = work.path().join("config");
    let text = format!(
        "[profile own]\n{keys}services = here\n\
         [profile all]\n{keys}endpoint_url = {url}\n\
         [profile fips]\n{keys}use_fips_endpoint = true\n\
         [profile dual]\n{keys}use_dualstack_endpoint = true\n\
         [profile both]\n{keys}use_fips_endpoint = true\nuse_dualstack_endpoint = true\n\
         [profile none]\n{keys}services = here\nignore_configured_endpoint_urls = true\n\
         [services here]\ns3 =\n  endpoint_url = {url}\n"
    );
    fs::write(&configuration, text).unwrap();
    // Nobody answers there; what is asked for is noted.
    let (proxy, asked) = tls::tunnels(server.address);
    let upload = |profile: &str, more: &[&str]| {
        let manifest = manifest();
        let arguments = [
            "-b",
            BUCKET,
            "-m",
            &manifest,
            "--batch",
            "--profile",
            profile,
        ];
        let mut upload = command("ec2-upload-bundle", &[&arguments[..], more].concat());
        let _ = upload
            .env("AWS_CONFIG_FILE", &configuration)
            .env("HTTPS_PROXY", format!("http://{proxy}"));
        let result = outcome(&mut upload);
        (result, std::mem::take(&mut *asked.lock().unwrap()))
    };
    for profile in ["own", "all"] {
        let (result, asked) = upload(profile, &[]);
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{profile}");
        assert!(asked.is_empty(), "{profile}: {asked:?}");
        assert_same_files(&bundle_files(&bucket), &bundle_files(&small_parts()));
        for name in names(&bucket) {
            fs::remove_file(bucket.join(name)).unwrap();
        }
    }
    for (profile, host) in [
        ("fips", "s3-fips.eu-west-1.amazonaws.com"),
        ("dual", "s3.dualstack.eu-west-1.amazonaws.com"),
        ("both", "s3-fips.dualstack.eu-west-1.amazonaws.com"),
        ("none", "s3.eu-west-1.amazonaws.com"),
    ] {
        let (result, mut asked) = upload(profile, &["--region", "eu-west-1"]);
        assert_eq!(result.code, 3, "{profile}: {result:?}");
        asked.dedup();
        assert_eq!(asked, [format!("CONNECT {host}:443 HTTP/1.1")], "{profile}");
        assert!(names(&bucket).is_empty());
    }
}

#[test]
fn tls_trusts_the_given_authority_and_goes_through_the_proxy() {
    let server = Server::start();
    let work = folder();
    let secure = tls::terminate(server.address, work.path());
    let (proxy, asked) = tls::tunnels(secure);
    let through = format!("http://{proxy}");
    let authority = work.path().join("ca.pem");
    let upload = |url: &str, variables: &[(&str, &str)]| {
        let mut command = with_keys("ec2-upload-bundle", url, &["-m", &manifest()]);
        outcome(command.envs(variables.iter().copied()))
    };
    let direct = format!("https://localhost:{}", secure.port());
    let trusted = ("AWS_CA_BUNDLE", authority.to_str().unwrap());
    let refused = upload(&direct, &[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("UnknownIssuer"), "{refused:?}");
    assert_eq!(upload(&direct, &[trusted]).code, 0);
    // Nothing listens on that port: the server can be reached only through the proxy.
    let proxied = upload("https://localhost:1", &[trusted, ("HTTPS_PROXY", &through)]);
    assert_eq!(proxied.code, 0, "{proxied:?}");
    let names = asked.lock().unwrap().clone();
    assert!(
        !names.is_empty()
            && names
                .iter()
                .all(|line| line == "CONNECT localhost:1 HTTP/1.1"),
        "{names:?}"
    );
    let not_proxied = upload(
        &direct,
        &[
            trusted,
            ("HTTPS_PROXY", "http://127.0.0.1:1"),
            ("NO_PROXY", "localhost"),
        ],
    );
    assert_eq!(not_proxied.code, 0, "{not_proxied:?}");
    let empty = work.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    for file in [empty, "/dev/null"] {
        let useless = upload(&direct, &[("AWS_CA_BUNDLE", file)]);
        assert_eq!(
            (useless.code, useless.stderr),
            (
                254,
                format!("ERROR: AWS_CA_BUNDLE names {file}, which holds no certificates in PEM\n")
            )
        );
    }
}

#[test]
fn json_says_what_was_done() {
    let server = Server::start();
    let run = |name: &str, more: &[&str]| {
        let result = ok(with_keys(
            name,
            &server.url(),
            &[more, &["--json"]].concat(),
        ));
        assert_eq!(result.stderr, "");
        serde_json::from_str::<Value>(&result.stdout).unwrap()
    };
    let uploaded = run("ec2-upload-bundle", &["-m", &manifest(), "--part", "10"]);
    assert_eq!(uploaded["manifest"], format!("{BUCKET}/image.manifest.xml"));
    assert_eq!(
        uploaded["uploaded"],
        json!(["image.part.10", "image.part.11"])
    );
    assert_eq!(uploaded["skipped"].as_array().unwrap().len(), 10);
    assert_eq!(
        (&uploaded["bucket_created"], &uploaded["region"]),
        (&json!(true), &json!("us-east-1"))
    );
    let _ = run("ec2-upload-bundle", &["-m", &manifest()]);
    let to = folder();
    let path = to.path().to_str().unwrap();
    let downloaded = run("ec2-download-bundle", &["-k", &private_key(), "-d", path]);
    assert_eq!(downloaded["manifest"], format!("{path}/image.manifest.xml"));
    assert_eq!(downloaded["downloaded"].as_array().unwrap().len(), 12);
    let deleted = run("ec2-delete-bundle", &["-p", "image", "-y", "--clear"]);
    assert_eq!(
        (
            deleted["deleted"].as_array().unwrap().len(),
            &deleted["bucket_deleted"]
        ),
        (13, &json!(true))
    );
}
