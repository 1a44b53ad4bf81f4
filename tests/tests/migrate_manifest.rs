//! `ec2-migrate-manifest`: the contents of a migrated manifest, for whom its key is encrypted, which images it names, and that nothing is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::bundles::{secrets, secrets_for, verify};
use end_to_end::moto::{ACCESS_KEY, Moto, SECRET_KEY};
use end_to_end::same::{assert_same_bytes, assert_same_files};
use end_to_end::traces::assert_no_trace;
use end_to_end::{
    Outcome, command, contents, folder, golden, json, key, names, outcome, run, sha256, text,
};
use serde_json::{Value, json};

const COMMAND: &str = "ec2-migrate-manifest";

/// A copy of a manifest of the older suite.
fn copy_of(bundle: &str, work: &Path) -> PathBuf {
    let manifest = work.join("image.manifest.xml");
    let original = golden(&format!("bundles/{bundle}/image.img.manifest.xml"));
    let _ = fs::copy(original, &manifest).unwrap();
    manifest
}

fn migration(manifest: &Path, more: &[&str]) -> Command {
    let mut command = command::<&str>(COMMAND, &[]);
    let _ = command
        .arg("-k")
        .arg(key("user2048.key"))
        .arg("-c")
        .arg(key("user2048.crt"))
        .arg("-m")
        .arg(manifest)
        .args(more);
    command
}

fn migrate(manifest: &Path, more: &[&str]) -> Outcome {
    outcome(&mut migration(manifest, more))
}

/// A folder with certificates for all partitions, and the private keys of the first two: the test user's and the test EC2's.
fn certificates() -> tempfile::TempDir {
    let home = folder();
    let below = home.path().join("etc/ec2/amitools");
    fs::create_dir_all(&below).unwrap();
    for (file, certificate) in [
        ("cert-ec2.pem", "ec2.crt"),
        ("cert-ec2-gov.pem", "other.crt"),
        ("cert-ec2-cn-north-1.pem", "user4096.crt"),
    ] {
        let _ = fs::copy(key(certificate), below.join(file)).unwrap();
    }
    home
}

#[test]
fn migrated_manifests_are_those_of_the_older_suite_byte_for_byte() {
    let cases = names(&golden("bundles/migrated"));
    assert_eq!(cases.len(), 11);
    for name in cases {
        let case = golden(&format!("bundles/migrated/{name}"));
        let info = json(&case.join("info.json"));
        let work = folder();
        let manifest = work.path().join("m.manifest.xml");
        let before = fs::read(case.join("before.manifest.xml")).unwrap();
        fs::write(&manifest, &before).unwrap();
        let words: Vec<String> = info["command"].as_array().unwrap()[1..]
            .iter()
            .map(|word| {
                text(word)
                    .replace("$DIR", work.path().to_str().unwrap())
                    .replace("$KEYS", golden("keys").to_str().unwrap())
            })
            .collect();
        let result = run(COMMAND, &words);
        if info["signing_key"] != info["user_key"] {
            // EC2 would refuse it.
            assert_eq!(result.code, 254, "{name}");
            assert!(result.stderr.contains("is not that of the private key"));
            assert_eq!(contents(work.path()).len(), 1);
            assert_same_bytes(&fs::read(&manifest).unwrap(), &before);
            continue;
        }
        assert_eq!(result.code, 0, "{name}: {}", result.stderr);
        let after = fs::read(case.join("after.manifest.xml")).unwrap();
        assert_same_bytes(&fs::read(&manifest).unwrap(), &after);
        assert_same_bytes(
            &fs::read(manifest.with_extension("xml.bak")).unwrap(),
            &before,
        );
        verify(&manifest, &key("user2048.crt"));
        assert_no_trace(work.path());
    }
}

#[test]
fn another_partition_can_read_the_key_and_so_can_the_user() {
    let home = certificates();
    let expected = secrets(
        &golden("bundles/a-raw64k/image.img.manifest.xml"),
        &key("user2048.key"),
    );
    for (region, private_key) in [
        ("us-gov-east-1", "other.key"),
        ("cn-northwest-1", "user4096.key"),
        ("eu-central-1", "ec2.key"),
    ] {
        let work = folder();
        let manifest = copy_of("a-raw64k", work.path());
        let result = outcome(
            migration(&manifest, &["--region", region]).env("EC2_AMITOOL_HOME", home.path()),
        );
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{region}");
        assert!(
            result
                .stdout
                .ends_with(&format!("It is now suitable for use in {region}.\n"))
        );
        assert_eq!(secrets_for("ec2", &manifest, &key(private_key)), expected);
        assert_eq!(secrets(&manifest, &key("user2048.key")), expected);
        verify(&manifest, &key("user2048.crt"));

        let parts = golden("bundles/a-raw64k");
        let unbundled = outcome(
            command::<&str>("ec2-unbundle", &[])
                .arg("-k")
                .arg(key("user2048.key"))
                .arg("-m")
                .arg(&manifest)
                .arg("-s")
                .arg(&parts)
                .arg("-d")
                .arg(work.path()),
        );
        assert_eq!(unbundled.code, 0, "{}", unbundled.stderr);
        let info = json(&parts.join("info.json"));
        assert_eq!(
            sha256(&work.path().join("image.img")),
            text(&info["image"]["sha256"])
        );
    }
}

#[test]
fn json_says_what_it_is_now() {
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let result = migrate(&manifest, &["--no-mapping", "--kernel", "aki-1", "--json"]);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let report: Value = serde_json::from_str(&result.stdout).unwrap();
    assert_eq!(
        report,
        json!({
            "manifest": manifest,
            "backup": manifest.with_extension("xml.bak"),
            "region": null,
            "kernel_id": "aki-1",
            "ramdisk_id": null,
        })
    );
}

#[test]
fn a_certificate_that_is_given_is_used_anywhere() {
    let work = folder();
    let manifest = copy_of("a-raw64k", work.path());
    let given = key("user4096.crt");
    let result = migrate(
        &manifest,
        &["--no-mapping", "--ec2cert", given.to_str().unwrap()],
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    let expected = secrets(&manifest, &key("user2048.key"));
    assert_eq!(
        secrets_for("ec2", &manifest, &key("user4096.key")),
        expected
    );
}

#[test]
fn without_a_partitions_certificate_nothing_is_done() {
    let work = folder();
    let manifest = copy_of("a-raw64k", work.path());
    let before = contents(work.path());
    let result = migrate(&manifest, &["--region", "cn-north-1"]);
    assert_eq!(result.code, 2);
    assert!(
        result.stderr.starts_with(
            "ERROR: EC2's certificate cert-ec2-cn.pem or cert-ec2-cn-north-1.pem was not found; looked in "
        ),
        "{}",
        result.stderr
    );
    assert_same_files(&contents(work.path()), &before);
}

#[test]
fn owner_and_mode_stay_and_a_link_still_leads_there() {
    let work = folder();
    let place = work.path().join("place");
    fs::create_dir(&place).unwrap();
    let manifest = copy_of("a-raw64k", &place);
    fs::set_permissions(&manifest, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&manifest, Some(65534), Some(65534)).unwrap();
    let link = work.path().join("link.manifest.xml");
    symlink(&manifest, &link).unwrap();
    assert_eq!(migrate(&link, &["--no-mapping"]).code, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for path in [&manifest, &work.path().join("link.manifest.xml.bak")] {
        let metadata = fs::symlink_metadata(path).unwrap();
        let found = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        assert_eq!(found, (0o640, 65534, 65534), "{}", path.display());
    }
    assert_eq!(names(&place), ["image.manifest.xml"]);
}

/// A run that was killed between the backup and the new manifest leaves a backup that is the manifest.
#[test]
fn a_backup_that_is_the_manifest_is_not_in_the_way() {
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let backup = manifest.with_extension("xml.bak");
    let _ = fs::copy(&manifest, &backup).unwrap();
    let old = fs::read(&manifest).unwrap();
    let both = ["--no-mapping", "--kernel", "aki-1", "--ramdisk", "ari-1"];
    assert_eq!(migrate(&manifest, &both).code, 0);
    assert_same_bytes(&fs::read(&backup).unwrap(), &old);
    let migrated = fs::read(&manifest).unwrap();
    assert_ne!(migrated, old);

    let again = migrate(&manifest, &both);
    assert_eq!(again.code, 2);
    assert_same_bytes(&fs::read(&manifest).unwrap(), &migrated);
    assert_same_bytes(&fs::read(&backup).unwrap(), &old);
}

#[test]
fn a_manifest_that_was_edited_is_refused_and_stays() {
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let edited = fs::read_to_string(&manifest)
        .unwrap()
        .replace("sda2", "sdb");
    fs::write(&manifest, &edited).unwrap();
    let result = migrate(&manifest, &["--no-mapping", "--batch"]);
    assert_eq!((result.code, result.stdout.as_str()), (254, ""));
    assert!(
        result.stderr.starts_with("ERROR: Bad manifest '"),
        "{}",
        result.stderr
    );
    assert_eq!(fs::read_to_string(&manifest).unwrap(), edited);
    assert_eq!(names(work.path()).len(), 1);
}

/// The two images that `e-meta` names, and their counterparts in Ireland.
fn with_images() -> Moto {
    let mut moto = Moto::start();
    moto.images(
        "us-west-2",
        json!([
            [
                "aki-1a2b3c4d",
                "pub/k/pv-grub.manifest.xml",
                "137112412989",
                "kernel"
            ],
            [
                "ari-5e6f7a8b",
                "pub/r/initrd.manifest.xml",
                "111111111111",
                "ramdisk"
            ],
        ]),
    );
    moto.images(
        "eu-west-1",
        json!([
            [
                "aki-00000001",
                "pub-eu/k/other.manifest.xml",
                "137112412989",
                "kernel"
            ],
            [
                "ari-00000002",
                "pub-eu/k/pv-grub.manifest.xml",
                "137112412989",
                "ramdisk"
            ],
            [
                "aki-00000003",
                "pub-eu/k/pv-grub.manifest.xml",
                "222222222222",
                "kernel"
            ],
            [
                "aki-00000004",
                "pub-eu/k/pv-grub.manifest.xml",
                "137112412989",
                "kernel"
            ],
            [
                "ari-00000005",
                "/pub-eu/r/initrd.manifest.xml",
                "111111111111",
                "ramdisk"
            ],
        ]),
    );
    moto
}

#[test]
fn the_counterparts_are_found_wherever_the_images_are() {
    let moto = with_images();
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let mut command = migration(&manifest, &["--region", "eu-west-1", "--debug"]);
    let result = moto.run(&mut command);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let xml = fs::read_to_string(&manifest).unwrap();
    assert!(
        xml.contains("<kernel_id>aki-00000004</kernel_id><ramdisk_id>ari-00000005</ramdisk_id>")
    );
    verify(&manifest, &key("user2048.crt"));
    for secret in [SECRET_KEY, ACCESS_KEY] {
        assert!(!result.stderr.contains(secret), "{}", result.stderr);
    }
    assert!(
        result
            .stderr
            .contains("aki-1a2b3c4d is aki-00000004 in eu-west-1")
    );
}

#[test]
fn one_that_is_given_is_not_looked_for() {
    let moto = with_images();
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let more = ["--region", "eu-west-1", "--ramdisk", "ari-00000002"];
    let result = moto.run(&mut migration(&manifest, &more));
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let xml = fs::read_to_string(&manifest).unwrap();
    assert!(
        xml.contains("<kernel_id>aki-00000004</kernel_id><ramdisk_id>ari-00000002</ramdisk_id>")
    );
}

#[test]
fn what_is_not_there_is_said_and_nothing_is_done() {
    let moto = with_images();
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let before = contents(work.path());
    for (region, code, said) in [
        (
            "nowhere",
            7,
            "ERROR: Invalid region: these credentials cannot use nowhere, but only (",
        ),
        (
            "ap-south-1",
            6,
            "ERROR: Mapping for 'aki-1a2b3c4d' not found: ap-south-1 has none of the same owner, type and location; ",
        ),
    ] {
        let result = moto.run(&mut migration(&manifest, &["--region", region]));
        assert_eq!(result.code, code, "{}", result.stderr);
        assert!(result.stderr.starts_with(said), "{}", result.stderr);
        assert_same_files(&contents(work.path()), &before);
    }
    let mut empty = Moto::start();
    let _ = empty.call("reset", &[]);
    let result = empty.run(&mut migration(&manifest, &["--region", "eu-west-1"]));
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (
            6,
            "ERROR: 'aki-1a2b3c4d' not found in any region; give another with --kernel or --ramdisk\n"
        )
    );
    assert_same_files(&contents(work.path()), &before);
}

#[test]
fn an_additional_region_that_is_none_is_a_mistake() {
    let work = folder();
    let manifest = copy_of("e-meta", work.path());
    let more = ["--region", "test-1", "-a", "x", "-s", "y"];
    let result = outcome(migration(&manifest, &more).env("AMITOOLS_EC2_REGION_ENDPOINT", "test-1"));
    assert_eq!(result.code, 1);
    assert!(
        result.stderr.contains(
            "AMITOOLS_EC2_REGION_ENDPOINT has invalid value 'test-1': REGION@URL is needed"
        ),
        "{}",
        result.stderr
    );
}
