//! `scripts/fetch-ec2-certificates` installs EC2's certificates and no others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{Outcome, folder, names, outcome, shell};

const FILES: [&str; 3] = [
    "cert-ec2.pem",
    "cert-ec2-gov.pem",
    "cert-ec2-cn-north-1.pem",
];

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch-ec2-certificates")
}

fn fetch(script: &Path, zip: &Path, directory: &Path) -> Outcome {
    // Its temporary folder is where a test can see that it goes.
    outcome(
        Command::new(script)
            .args([
                "--directory".as_ref(),
                directory.as_os_str(),
                zip.as_os_str(),
            ])
            .env("TMPDIR", zip.parent().unwrap().join("tmp")),
    )
}

/// A zip with made-up certificates where AWS's has the real ones.
fn made_up(work: &Path) -> PathBuf {
    let folder = "zip/ec2-ami-tools-1.5.7/etc/ec2/amitools";
    fs::create_dir_all(work.join(folder)).unwrap();
    fs::create_dir(work.join("tmp")).unwrap();
    for file in FILES {
        let _ = shell(
            &format!(
                "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={file} -keyout key -out {folder}/{file} 2> /dev/null"
            ),
            work,
        );
    }
    let _ = shell("cd zip && zip -qr ../tools.zip .", work);
    work.join("tools.zip")
}

#[test]
fn made_up_certificates_are_refused_and_nothing_is_installed() {
    let work = folder();
    let zip = made_up(work.path());
    let directory = work.path().join("installed");
    let result = fetch(&script(), &zip, &directory);
    assert_eq!((result.code, result.stdout.as_str()), (1, ""));
    assert!(
        result
            .stderr
            .starts_with("fetch-ec2-certificates: cert-ec2.pem in ")
            && result.stderr.contains(" is not EC2's: its fingerprint is ")
            && result.stderr.ends_with("nothing was installed\n"),
        "{}",
        result.stderr
    );
    assert!(!directory.exists());
    assert!(names(&work.path().join("tmp")).is_empty());
}

/// The real certificates are not here: a copy of the script that knows the made-up ones' fingerprints installs those.
#[test]
fn certificates_with_the_known_fingerprints_are_installed() {
    let work = folder();
    let zip = made_up(work.path());
    let mut text = fs::read_to_string(script()).unwrap();
    let unpacked = work.path().join("zip/ec2-ami-tools-1.5.7/etc/ec2/amitools");
    for file in FILES {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{file} ")))
            .unwrap()
            .to_owned();
        let fingerprint = shell(
            &format!("openssl x509 -in {file} -noout -fingerprint -sha256"),
            &unpacked,
        );
        let fingerprint = fingerprint.split_once('=').unwrap().1;
        text = text.replace(&line, &format!("{file} {fingerprint}"));
    }
    let copy = work.path().join("copy");
    fs::write(&copy, &text).unwrap();
    let _ = shell("chmod +x copy", work.path());
    let directory = work.path().join("installed");
    let result = fetch(&copy, &zip, &directory);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let mut expected = FILES.map(str::to_owned);
    expected.sort();
    assert_eq!(names(&directory), expected);
    for file in FILES {
        assert_eq!(
            fs::read(directory.join(file)).unwrap(),
            fs::read(unpacked.join(file)).unwrap()
        );
    }

    // One that is wrong keeps all from being installed.
    let _ = fs::copy(unpacked.join(FILES[0]), unpacked.join(FILES[2])).unwrap();
    let _ = shell(
        "rm tools.zip; cd zip && zip -qr ../tools.zip .",
        work.path(),
    );
    let directory = work.path().join("again");
    assert_eq!(fetch(&copy, &zip, &directory).code, 1);
    assert!(!directory.exists());
}

#[test]
fn what_is_no_zip_or_lacks_a_certificate_is_refused() {
    let work = folder();
    fs::create_dir(work.path().join("tmp")).unwrap();
    let zip = work.path().join("tools.zip");
    fs::write(&zip, "not a zip").unwrap();
    let directory = work.path().join("installed");
    let result = fetch(&script(), &zip, &directory);
    assert!(
        result.code == 1 && result.stderr.ends_with("is it a zip?\n"),
        "{}",
        result.stderr
    );
    let _ = shell(
        "rm tools.zip; echo x > other; zip -q tools.zip other",
        work.path(),
    );
    let result = fetch(&script(), &zip, &directory);
    assert!(
        result.code == 1 && result.stderr.ends_with("has no cert-ec2.pem\n"),
        "{}",
        result.stderr
    );
    let result = fetch(&script(), &work.path().join("missing.zip"), &directory);
    assert!(result.code == 1, "{}", result.stderr);
    assert!(!directory.exists());
}
