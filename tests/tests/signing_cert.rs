//! `ec2-create-signing-cert`: bundles can be made and read with its key and certificate, and OpenSSL accepts them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use end_to_end::images::noise;
use end_to_end::same::{assert_same_bytes, assert_same_files};
use end_to_end::traces::assert_no_trace;
use end_to_end::{Outcome, contents, folder, key, names, run, shell, text};
use serde_json::Value;

const COMMAND: &str = "ec2-create-signing-cert";

/// Makes an image, and bundles it in its folder as `bundle` with a private key, its certificate and EC2's.
fn bundle(image: &Path, keys: [&str; 3], more: &[&str]) -> Outcome {
    fs::write(image, noise(100_000, 1)).unwrap();
    let [private_key, certificate, ec2] = keys;
    let [image, folder] = [image, image.parent().unwrap()].map(|path| path.to_str().unwrap());
    let keys = ["-k", private_key, "-c", certificate, "--ec2cert", ec2];
    let about = ["-u", "123456789012", "-r", "x86_64", "-p", "bundle"];
    let places = ["-i", image, "-d", folder];
    let arguments = [&keys[..], &about, &places, more].concat();
    run("ec2-bundle-image", &arguments)
}

#[test]
fn a_bundle_made_with_them_comes_back() {
    let work = folder();
    let root = work.path().to_str().unwrap();
    let made = run(COMMAND, &["-d", root]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert_eq!(
        names(work.path()),
        ["cert-ec2-ami-tools.pem", "pk-ec2-ami-tools.pem"]
    );
    let (private_key, certificate) = (
        format!("{root}/pk-ec2-ami-tools.pem"),
        format!("{root}/cert-ec2-ami-tools.pem"),
    );
    let next = format!(
        "  ec2-bundle-vol -k {private_key} -c {certificate} -u ACCOUNT -r x86_64 -d /mnt --batch\n"
    );
    assert!(made.stdout.ends_with(&next), "{}", made.stdout);
    let until = shell(
        "openssl x509 -in cert-ec2-ami-tools.pem -noout -enddate | cut -d = -f 2",
        work.path(),
    );
    let about = format!("  \"CN=ec2-ami-tools\", 2048 bits, valid until {until}\n");
    assert!(made.stdout.contains(&about), "{}", made.stdout);
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&private_key), mode(&certificate)), (0o600, 0o644));

    let image = work.path().join("image");
    let ec2 = key("ec2.crt");
    let bundled = bundle(
        &image,
        [&private_key, &certificate, ec2.to_str().unwrap()],
        &[],
    );
    assert_eq!(bundled.code, 0, "{}", bundled.stderr);
    let manifest = format!("{root}/bundle.manifest.xml");
    let unbundled = run(
        "ec2-unbundle",
        &[
            "-k",
            &private_key,
            "-c",
            &certificate,
            "-m",
            &manifest,
            "-s",
            root,
            "-d",
            root,
        ],
    );
    assert_eq!(unbundled.code, 0, "{}", unbundled.stderr);
    assert_same_bytes(
        &fs::read(work.path().join("bundle")).unwrap(),
        &fs::read(image).unwrap(),
    );
}

#[test]
fn openssl_finds_what_was_asked_for() {
    let work = folder();
    let root = work.path().to_str().unwrap();
    for (bits, days) in [("2048", "1"), ("3072", "730"), ("4096", "36500")] {
        let name = format!("web.{bits}");
        let more = ["-d", root, "--bits", bits, "--days", days, "--cn", &name];
        assert_eq!(run(COMMAND, &more).code, 0);
        let certificate = format!("cert-{name}.pem");
        let text = shell(
            &format!("openssl x509 -in {certificate} -noout -text"),
            work.path(),
        );
        for expected in [
            "Version: 3 (0x2)",
            "Signature Algorithm: sha256WithRSAEncryption",
            &format!("Subject: CN = {name}"),
            &format!("Issuer: CN = {name}"),
            &format!("Public-Key: ({bits} bit)"),
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let script = format!(
            "openssl verify -CAfile {certificate} {certificate}
             openssl rsa -in pk-{name}.pem -check -noout
             [ \"$(openssl x509 -in {certificate} -noout -pubkey)\" = \"$(openssl rsa -in pk-{name}.pem -pubout)\" ]
             begin=$(date -d \"$(openssl x509 -in {certificate} -noout -startdate | cut -d = -f 2)\" +%s)
             end=$(date -d \"$(openssl x509 -in {certificate} -noout -enddate | cut -d = -f 2)\" +%s)
             echo $(((end - begin) / 86400))"
        );
        let printed = shell(&script, work.path());
        let expected = format!("{certificate}: OK\nRSA key ok\n{days}");
        assert_eq!(printed, expected);
    }
}

#[test]
fn json_names_both() {
    let work = folder();
    let root = work.path().to_str().unwrap();
    let made = run(COMMAND, &["-d", root, "--json"]);
    let report: Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!(
        report["private_key"],
        format!("{root}/pk-ec2-ami-tools.pem")
    );
    assert_eq!(
        report["certificate"],
        format!("{root}/cert-ec2-ami-tools.pem")
    );
    let script =
        "openssl x509 -in cert-ec2-ami-tools.pem -outform DER | sha256sum | cut -d ' ' -f 1
        openssl x509 -in cert-ec2-ami-tools.pem -noout -enddate | cut -d = -f 2";
    let expected = shell(script, work.path());
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(
        [text(&report["sha256"]), text(&report["not_after"])],
        expected[..]
    );
}

#[test]
fn nothing_is_overwritten() {
    let work = folder();
    let root = work.path().to_str().unwrap();
    assert_eq!(run(COMMAND, &["-d", root]).code, 0);
    let before = contents(work.path());
    let again = run(COMMAND, &["-d", root]);
    assert_eq!((again.code, again.stdout.as_str()), (2, ""));
    assert_eq!(
        again.stderr,
        format!(
            "ERROR: {root}/pk-ec2-ami-tools.pem already exists: choose another --cn or --destination\n"
        )
    );
    assert_same_files(&contents(work.path()), &before);

    fs::write(work.path().join("cert-b.pem"), "mine").unwrap();
    assert_eq!(run(COMMAND, &["-d", root, "--cn", "b"]).code, 2);
    assert_eq!(
        fs::read_to_string(work.path().join("cert-b.pem")).unwrap(),
        "mine"
    );
    assert!(!work.path().join("pk-b.pem").exists());
    assert_no_trace(work.path());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let work = folder();
    let root = work.path().to_str().unwrap();
    for (option, value, reason) in [
        (
            "--bits",
            "1024",
            "Please specify one of these values: 2048, 3072, 4096",
        ),
        ("--days", "0", "a number from 1 to 36500 is needed."),
        ("--days", "36501", "a number from 1 to 36500 is needed."),
        (
            "--cn",
            "a/b",
            "up to 64 letters, digits and -_.@ are needed.",
        ),
        ("--cn", "ü", "up to 64 letters, digits and -_.@ are needed."),
    ] {
        let result = run(COMMAND, &["-d", root, option, value]);
        let expected =
            format!("{option} has invalid value '{value}': {reason}\nTry '{COMMAND} --help'\n");
        assert_eq!((result.code, result.stderr), (1, expected));
    }
    assert_eq!(names(work.path()), [""; 0]);
}

/// A certificate for `key` with the validity `days`, counted from now.
fn certificate_of(key: &str, name: &str, days: &str, work: &Path) -> String {
    let path = format!("{name}.pem");
    let _ = shell(
        &format!(
            "openssl req -new -key '{key}' -subj '/CN={name}' -out request
             openssl x509 -req -in request -signkey '{key}' {days} -out {path}"
        ),
        work,
    );
    work.join(path).to_str().unwrap().to_owned()
}

#[test]
fn a_certificate_that_has_expired_is_warned_of_and_used_and_ec2s_own_is_not_looked_at() {
    let work = folder();
    let root = work.path().to_str().unwrap();
    let private_key = key("user2048.key");
    let private_key = private_key.to_str().unwrap();
    let expired = certificate_of(private_key, "gone", "-days -1", work.path());
    let until = shell(
        "openssl x509 -in gone.pem -noout -enddate | cut -d = -f 2",
        work.path(),
    );
    let warning = format!(
        "WARNING: the certificate {expired} (\"CN=gone\") has expired: it was valid until {until}.\n"
    );
    let image = work.path().join("image");
    let bundled = bundle(&image, [private_key, &expired, &expired], &["--batch"]);
    assert_eq!((bundled.code, &bundled.stderr), (0, &warning));
    let manifest = format!("{root}/bundle.manifest.xml");
    let verified = run("ec2-verify-bundle", &["-m", &manifest, "-c", &expired]);
    assert_eq!((verified.code, &verified.stderr), (0, &warning));
    let signature = format!(
        "signature  ok           that of the certificate's owner: \"CN=gone\", 2048 bits, valid until {until}\n"
    );
    assert!(verified.stdout.contains(&signature), "{}", verified.stdout);
    let unbundled = run(
        "ec2-unbundle",
        &[
            "-k",
            private_key,
            "-c",
            &expired,
            "-m",
            &manifest,
            "-s",
            root,
            "-d",
            root,
        ],
    );
    assert_eq!((unbundled.code, &unbundled.stderr), (0, &warning));
    let migrated = run(
        "ec2-migrate-manifest",
        &[
            "-k",
            private_key,
            "-c",
            &expired,
            "-m",
            &manifest,
            "--no-mapping",
            "--batch",
        ],
    );
    assert_eq!((migrated.code, &migrated.stderr), (0, &warning));
}
