//! `ec2-migrate-bundle`: what S3 copies, the new manifest, and that nothing is begun that cannot be done.

use std::fs;
use std::process::Command;

use end_to_end::bundles::verify;
use end_to_end::moto::Moto;
use end_to_end::{command, contents, folder, key, names, outcome};
use serde_json::{Value, json};

/// A server with a bundle of four parts in `from.here/a b/c+d`, and the bundle.
fn with_bundle() -> (Moto, tempfile::TempDir) {
    let mut moto = Moto::start();
    let (work, made) = (folder(), folder());
    let image = made.path().join("image.img");
    end_to_end::images::incompressible(&image, 30 << 20);
    let _ = end_to_end::bundle(&image, work.path(), &["--kernel", "aki-1a2b3c4d"]);
    let _ = moto.call("bucket", &["from.here", "us-west-2"]);
    for name in names(work.path()) {
        let path = work.path().join(&name);
        let key = format!("a b/c+d/{name}");
        let _ = moto.call("put", &["from.here", &key, path.to_str().unwrap()]);
    }
    (moto, work)
}

fn bundle_migration(moto: &Moto, more: &[&str]) -> Command {
    let mut command = command::<&str>("ec2-migrate-bundle", &[]);
    let _ = command
        .arg("-k")
        .arg(key("user2048.key"))
        .arg("-c")
        .arg(key("user2048.crt"))
        .args(["-m", "image.img.manifest.xml", "-b", "from.here/a b/c+d"])
        .args(more);
    let _ = command.env("AWS_ENDPOINT_URL", moto.url());
    command
}

#[test]
fn a_bundle_is_copied_with_its_new_manifest_and_can_be_unbundled() {
    let (mut moto, bundled) = with_bundle();
    moto.images(
        "us-west-2",
        json!([[
            "aki-1a2b3c4d",
            "pub/k.manifest.xml",
            "137112412989",
            "kernel"
        ]]),
    );
    moto.images(
        "eu-west-1",
        json!([[
            "aki-99999999",
            "pub-eu/k.manifest.xml",
            "137112412989",
            "kernel"
        ]]),
    );
    let more = [
        "-d",
        "to.there/new",
        "--region",
        "eu-west-1",
        "--acl",
        "public-read",
        "--json",
    ];
    let result = moto.run(&mut bundle_migration(&moto, &more));
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&result.stdout).unwrap();
    let parts: Vec<String> = names(bundled.path())
        .into_iter()
        .filter(|name| name.contains(".part."))
        .collect();
    assert_eq!(parts.len(), 4);
    assert_eq!(
        report,
        json!({
            "manifest": "to.there/new/image.img.manifest.xml",
            "region": "eu-west-1",
            "bucket_created": true,
            "copied": parts,
        })
    );
    assert_eq!(moto.call("state", &[])["to.there"]["location"], "eu-west-1");
    assert_eq!(
        moto.call("ownership", &["to.there"]),
        json!(["BucketOwnerPreferred"])
    );

    let work = folder();
    let mut download = command::<&str>("ec2-download-bundle", &[]);
    let _ = download
        .args(["-b", "to.there/new", "-m", "image.img.manifest.xml", "-k"])
        .arg(key("user2048.key"))
        .arg("-d")
        .arg(work.path());
    assert_eq!(moto.run(&mut download).code, 0);
    let (old, new) = (contents(bundled.path()), contents(work.path()));
    for part in &parts {
        assert!(old[part] == new[part], "{part}");
        let key = format!("new/{part}");
        let grants = &moto.call("look", &["to.there", &key])["grants"];
        assert!(grants.to_string().contains("AllUsers\",\"READ"), "{grants}");
    }
    let manifest = work.path().join("image.img.manifest.xml");
    verify(&manifest, &key("user2048.crt"));
    let xml = fs::read_to_string(&manifest).unwrap();
    assert!(xml.contains("<kernel_id>aki-99999999</kernel_id>"));
}

/// S3 and EC2 are used with the same credentials, and the warning that others can see the keys is printed once.
#[test]
fn keys_on_the_command_line_are_warned_of_once() {
    let (mut moto, _bundled) = with_bundle();
    let image = json!([[
        "aki-1a2b3c4d",
        "pub/k.manifest.xml",
        "137112412989",
        "kernel"
    ]]);
    moto.images("us-west-2", image);
    let more = [
        "-d",
        "to.there",
        "--region",
        "us-west-2",
        "-a",
        "x",
        "-s",
        "y",
    ];
    let result = outcome(&mut bundle_migration(&moto, &more));
    assert_eq!(result.code, 0, "{}", result.stderr);
    let warnings = result.stderr.matches("Others on this machine can see");
    assert_eq!(warnings.count(), 1, "{}", result.stderr);
}

#[test]
fn a_bundle_that_is_not_whole_is_not_copied_and_no_bucket_is_made() {
    let (mut moto, bundled) = with_bundle();
    let short = bundled.path().join("short");
    fs::write(&short, b"too short").unwrap();
    let key = "a b/c+d/image.img.part.2";
    let _ = moto.call("put", &["from.here", key, short.to_str().unwrap()]);
    let more = ["-d", "to.there", "--no-mapping"];
    let result = moto.run(&mut bundle_migration(&moto, &more));
    assert_eq!(result.code, 3);
    assert!(
        result.stderr.contains("bytes in all, the manifest says "),
        "{}",
        result.stderr
    );
    assert_eq!(moto.call("state", &[])["to.there"], Value::Null);
}
