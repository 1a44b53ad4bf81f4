//! `fetch-ec2-certificates` installs only EC2's certificates.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use end_to_end::same::assert_same_bytes;
use end_to_end::{Outcome, command_path, folder, names, outcome, shell};

const FILES: [&str; 3] = [
    "cert-ec2.pem",
    "cert-ec2-gov.pem",
    "cert-ec2-cn-north-1.pem",
];

fn script() -> PathBuf {
    command_path("fetch-ec2-certificates")
}

fn fetch(script: &Path, zip: &Path, directory: &Path) -> Outcome {
    fetch_with(script, zip, directory, &[], "")
}

/// The same with further options, and an answer on standard input.
fn fetch_with(script: &Path, zip: &Path, directory: &Path, more: &[&str], answer: &str) -> Outcome {
    let folder = zip.parent().unwrap();
    fs::write(folder.join("answer"), answer).unwrap();
    // Its temporary folder is in the test's folder, so that the test can see whether it is removed.
    let result = outcome(
        Command::new(script)
            .arg("--directory")
            .arg(directory)
            .args(more)
            .arg(zip)
            .stdin(fs::File::open(folder.join("answer")).unwrap())
            .env("TMPDIR", folder.join("tmp")),
    );
    assert!(names(&folder.join("tmp")).is_empty());
    result
}

/// Makes a certificate in this folder.
fn made(file: &str, folder: &Path) {
    let _ = shell(
        &format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={file} -keyout /dev/null -out {file} 2> /dev/null"
        ),
        folder,
    );
}

/// Its SHA-256 fingerprint, as OpenSSL writes it.
fn fingerprint(path: &Path) -> String {
    let printed = shell(
        &format!(
            "openssl x509 -in '{}' -noout -fingerprint -sha256",
            path.display()
        ),
        Path::new("/"),
    );
    printed.split_once('=').unwrap().1.to_owned()
}

/// The program's known fingerprints of [`FILES`].
const KNOWN: [&str; 3] = [
    "F5:70:7A:ED:B5:42:51:79:8F:6B:BC:C1:A1:0A:9C:FD:1F:21:FC:69:90:9E:A1:27:63:19:AA:2F:09:8E:47:90",
    "49:56:F9:66:C8:A0:E7:5D:22:B9:B2:34:42:95:94:64:46:8F:20:A6:76:01:0C:E8:23:B4:59:92:E1:22:F7:A9",
    "84:80:E2:B6:0A:0E:51:3C:32:2E:04:60:1F:81:A5:FF:67:A9:CA:D5:53:89:92:5C:6C:B6:ED:6D:01:89:AA:09",
];

/// A copy of the program in which the known fingerprints are replaced by those of these files in `folder`.
fn knowing(files: &[&str], folder: &Path, copy: PathBuf) -> PathBuf {
    // Written by another process: a file that this process has open for writing while it starts children might not be executable.
    let mut script = format!("cp '{}' '{}'\n", script().display(), copy.display());
    for (file, known) in FILES.iter().zip(KNOWN) {
        if files.contains(file) {
            let new = fingerprint(&folder.join(file));
            script.push_str(&format!(
                "grep -qaF '{known}' '{copy}' && sed -i 's/{known}/{new}/' '{copy}'\n",
                copy = copy.display()
            ));
        }
    }
    let _ = shell(&script, Path::new("/"));
    copy
}

/// A zip like AWS's, with made-up certificates.
fn made_up(work: &Path) -> PathBuf {
    let folder = "zip/ec2-ami-tools-1.5.7/etc/ec2/amitools";
    fs::create_dir_all(work.join(folder)).unwrap();
    fs::create_dir(work.join("tmp")).unwrap();
    for file in FILES {
        made(file, &work.join(folder));
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
            .starts_with("fetch-ec2-certificates: cert-ec2-cn-north-1.pem in ")
            && result.stderr.contains(" is not EC2's: its fingerprint is ")
            && result.stderr.ends_with("nothing was installed\n"),
        "{}",
        result.stderr
    );
    assert!(!directory.exists());
    assert!(names(&work.path().join("tmp")).is_empty());
}

/// The tests do not have the real certificates, so a copy of the program that knows the made-up ones installs those.
#[test]
fn certificates_with_the_known_fingerprints_are_installed() {
    let work = folder();
    let zip = made_up(work.path());
    let unpacked = work.path().join("zip/ec2-ami-tools-1.5.7/etc/ec2/amitools");
    let copy = knowing(&FILES, &unpacked, work.path().join("copy"));
    let directory = work.path().join("installed");
    let result = fetch(&copy, &zip, &directory);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let mut expected = FILES.map(str::to_owned);
    expected.sort();
    assert_eq!(names(&directory), expected);
    for file in FILES {
        assert_same_bytes(
            &fs::read(directory.join(file)).unwrap(),
            &fs::read(unpacked.join(file)).unwrap(),
        );
    }

    // If one is wrong, none is installed.
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
    let _ = shell("truncate -s 65M large.zip", work.path());
    let result = fetch(&script(), &work.path().join("large.zip"), &directory);
    assert!(
        result.code == 1
            && result
                .stderr
                .ends_with("large.zip is larger than 67108864 bytes: it is not AWS's\n"),
        "{}",
        result.stderr
    );
    let result = fetch(&script(), &work.path().join("missing.zip"), &directory);
    assert!(result.code == 1, "{}", result.stderr);
    assert!(!directory.exists());
}

/// A zip like that of the newer suite: the known certificates, those of two regions, and a file that is not a certificate.
fn newer(work: &Path) -> (PathBuf, PathBuf) {
    let _ = made_up(work);
    let unpacked = work.join("zip/ec2-ami-tools-1.5.7/etc/ec2/amitools");
    for file in ["cert-ec2-me-south-1.pem", "cert-ec2-af-south-1.pem"] {
        made(file, &unpacked);
    }
    fs::write(unpacked.join("cert-ec2-bad.pem"), "no certificate").unwrap();
    fs::write(unpacked.join("cert-ec2.txt"), "not even called one").unwrap();
    let _ = shell("rm tools.zip; cd zip && zip -qr ../tools.zip .", work);
    let copy = knowing(&FILES, &unpacked, work.join("copy"));
    (copy, unpacked)
}

#[test]
fn finding_27_unknown_certificates_are_shown_and_installed_after_a_yes_only() {
    let work = folder();
    let (script, unpacked) = newer(work.path());
    let zip = work.path().join("tools.zip");
    let known = {
        let mut known = FILES.map(str::to_owned).to_vec();
        known.sort();
        known
    };
    for (answer, is_installed) in [("", false), ("n\n", false), ("\n", false), ("y\n", true)] {
        let directory = work.path().join(format!("installed {}", answer.trim()));
        let result = fetch_with(&script, &zip, &directory, &[], answer);
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{answer:?}");
        for file in ["cert-ec2-me-south-1.pem", "cert-ec2-af-south-1.pem"] {
            let shown = format!("\n{file}\n    subject=CN={file}\n    notBefore=");
            assert!(result.stdout.contains(&shown), "{}", result.stdout);
            let shown = format!("\n    sha256={}\n", fingerprint(&unpacked.join(file)));
            assert!(result.stdout.contains(&shown), "{}", result.stdout);
        }
        assert!(
            result
                .stdout
                .contains("/cert-ec2-bad.pem: not a certificate with an RSA key\n")
        );
        assert!(!result.stdout.contains("cert-ec2.txt"));
        let mut expected = known.clone();
        if is_installed {
            expected
                .extend(["cert-ec2-af-south-1.pem", "cert-ec2-me-south-1.pem"].map(str::to_owned));
            expected.sort();
        }
        assert_eq!(names(&directory), expected, "{answer:?}");
        fs::remove_dir_all(directory).unwrap();
    }

    // A fingerprint, in any spelling, accepts that certificate; the other one is still asked about.
    let wanted = fingerprint(&unpacked.join("cert-ec2-me-south-1.pem"));
    for wanted in [wanted.clone(), wanted.replace(':', "").to_lowercase()] {
        let directory = work.path().join("accepted");
        let result = fetch_with(&script, &zip, &directory, &["--accept", &wanted], "");
        assert_eq!((result.code, result.stderr.as_str()), (0, ""));
        assert!(!result.stdout.contains("CN=cert-ec2-me-south-1.pem"));
        let mut expected = known.clone();
        expected.push("cert-ec2-me-south-1.pem".to_owned());
        expected.sort();
        assert_eq!(names(&directory), expected);
        fs::remove_dir_all(directory).unwrap();
    }

    // A fingerprint without a certificate is an error, and so is an invalid fingerprint.
    let directory = work.path().join("none");
    for (wrong, said) in [
        ("00".repeat(32), "; nothing was installed\n"),
        ("00".repeat(31), "with or without colons\n"),
        ("zz".repeat(32), "with or without colons\n"),
    ] {
        let result = fetch_with(&script, &zip, &directory, &["--accept", &wrong], "y\n");
        assert!(
            result.code == 1 && result.stderr.ends_with(said),
            "{}",
            result.stderr
        );
        assert!(!directory.exists());
    }
}

#[test]
fn finding_27_a_known_name_with_another_certificate_needs_its_fingerprint() {
    let work = folder();
    let zip = made_up(work.path());
    let unpacked = work.path().join("zip/ec2-ami-tools-1.5.7/etc/ec2/amitools");
    let script = knowing(&FILES[1..], &unpacked, work.path().join("copy"));
    let directory = work.path().join("installed");
    let result = fetch_with(&script, &zip, &directory, &[], "y\n");
    assert!(
        result.code == 1 && result.stderr.contains(": cert-ec2.pem in "),
        "{}",
        result.stderr
    );
    assert!(!directory.exists());
    let accepted = fingerprint(&unpacked.join(FILES[0]));
    let result = fetch_with(&script, &zip, &directory, &["--accept", &accepted], "");
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_eq!(names(&directory).len(), 3);
}

#[test]
fn finding_27_a_hostile_zip_places_nothing_elsewhere() {
    let work = folder();
    let _ = made_up(work.path());
    let unpacked = work.path().join("zip/ec2-ami-tools-1.5.7/etc/ec2/amitools");
    let script = knowing(&FILES, &unpacked, work.path().join("copy"));
    made("cert-ec2-evil.pem", work.path());
    // Paths that lead out, an absolute one, a link, an endless file, names that are options, patterns or escapes.
    let _ = shell(
        r#"cat > make.py <<'END'
import os, stat, zipfile
pem = open("cert-ec2-evil.pem").read()
with zipfile.ZipFile("tools.zip", "a", zipfile.ZIP_DEFLATED) as zip:
    zip.writestr("../../../cert-ec2-up.pem", pem)
    zip.writestr(os.path.abspath("abs/cert-ec2-absolute.pem"), pem)
    link = zipfile.ZipInfo("x/cert-ec2-link.pem")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    zip.writestr(link, "/etc/passwd")
    zip.writestr("x/cert-ec2-zeros.pem", bytes(200 << 20))
    zip.writestr("-d/cert-ec2-option.pem", pem)
    zip.writestr("[a-z]*/cert-ec2-pattern.pem", pem)
    zip.writestr("x/cert-ec2-[31m.pem", pem)
    zip.writestr("x/cert-ec2-..pem", pem)
END
python3 make.py"#,
        work.path(),
    );
    let zip = work.path().join("tools.zip");
    let directory = work.path().join("installed");
    let result = fetch_with(&script, &zip, &directory, &[], "y\n");
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let mut expected = FILES.map(str::to_owned).to_vec();
    // Installed only under its file name and, like any other, only after a yes.
    expected.push("cert-ec2-up.pem".to_owned());
    expected.sort();
    assert_eq!(names(&directory), expected);
    assert!(!work.path().join("abs").exists());
    assert!(!result.stdout.contains('\u{1b}'), "{:?}", result.stdout);
    for skipped in [
        "x/cert-ec2-link.pem: not a c",
        "x/cert-ec2-zeros.pem: not a c",
        "/abs/cert-ec2-absolute.pem: no n",
        "-d/cert-ec2-option.pem: no n",
        "pattern.pem: no n",
    ] {
        assert!(
            result.stdout.contains(skipped),
            "{skipped}: {}",
            result.stdout
        );
    }

    // Two certificates with one name, and too many.
    for (more, said) in [
        (
            "zip.writestr('y/cert-ec2-gov.pem', open('cert-ec2-evil.pem').read())",
            "has two different files cert-ec2-gov.pem: nothing was installed\n",
        ),
        (
            "[zip.writestr(f'{n}', b'') for n in range(10001)]",
            "files: it is not AWS's\n",
        ),
        (
            "[zip.writestr(f'z/cert-ec2-{n}.pem', b'') for n in range(101)]",
            "certificates: it is not AWS's\n",
        ),
    ] {
        let script_text = format!(
            "cp tools.zip more.zip; python3 -c \"import zipfile; zip = zipfile.ZipFile('more.zip', 'a'); {more}; zip.close()\""
        );
        let _ = shell(&script_text, work.path());
        let directory = work.path().join("refused");
        let result = fetch_with(
            &script,
            &work.path().join("more.zip"),
            &directory,
            &[],
            "y\n",
        );
        assert!(
            result.code == 1 && result.stderr.ends_with(said),
            "{}",
            result.stderr
        );
        assert!(!directory.exists());
    }
}

/// The zip is downloaded only over HTTPS, through the proxy in the environment, from a server whose certificate is trusted.
#[test]
fn the_zip_is_downloaded_from_aws_only() {
    let work = folder();
    let directory = work.path().join("installed");
    let fetch = |proxy: &str| {
        let mut command = Command::new(script());
        let _ = end_to_end::isolate(&mut command);
        outcome(
            command
                .arg("--directory")
                .arg(&directory)
                .stdin(Stdio::null())
                .env("HTTPS_PROXY", proxy),
        )
    };
    // A proxy that refuses, and none at all.
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let (mut client, _) = refusing.accept().unwrap();
        let mut request = [0; 1024];
        let length = client.read(&mut request).unwrap();
        client
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let result = fetch(&format!("http://{address}"));
    let said = "fetch-ec2-certificates: https://s3.amazonaws.com/ec2-downloads/ec2-ami-tools.zip could not be downloaded: ";
    assert!(
        result.code == 1 && result.stderr.starts_with(said),
        "{}",
        result.stderr
    );
    assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
    assert!(
        asked
            .join()
            .unwrap()
            .starts_with("CONNECT s3.amazonaws.com:443 ")
    );
    let result = fetch(&format!("http://{address}"));
    assert!(
        result.code == 1 && result.stderr.starts_with(said),
        "{}",
        result.stderr
    );
    assert!(!directory.exists());
}
