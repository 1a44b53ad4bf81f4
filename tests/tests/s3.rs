//! Bundles to S3 and back: what is stored, where, for whom, and what is deleted again.

use std::fs;

use end_to_end::moto::Moto;
use end_to_end::proxy::{Proxy, Rule, Slowness};
use end_to_end::s3::{
    BUCKET, Server, bundle_files, for_moto, manifest, ok, private_key, small_parts, with_keys,
};
use end_to_end::same::assert_same_files;
use end_to_end::{contents, folder, names, outcome};
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
