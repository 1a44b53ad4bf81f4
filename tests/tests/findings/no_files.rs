//! FIFOs, sockets, devices and folders in place of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, private_key, small_parts};
use end_to_end::{Outcome, command_path, folder, key, names, outcome, shell};

/// Runs a command, which is killed if it hangs.
fn unless_it_hangs(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut timeout = Command::new("timeout");
    let _ = end_to_end::isolate(&mut timeout)
        .args(["-s", "KILL", "120"])
        .arg(command_path(name))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    outcome(&mut timeout)
}

/// Puts something else in place of a file.
fn put_no_file(kind: &str, path: &Path) {
    fs::remove_file(path).unwrap();
    match kind {
        "a FIFO" => drop(shell(
            &format!("mkfifo '{}'", path.display()),
            Path::new("/"),
        )),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a character device" => symlink("/dev/zero", path).unwrap(),
        _ => fs::create_dir(path).unwrap(),
    }
}

#[test]
fn finding_06_parts_that_are_no_files_are_errors_at_once() {
    let server = Server::start();
    let _ = server.bucket(BUCKET);
    let url = server.url();
    for kind in ["a FIFO", "a socket", "a character device", "a directory"] {
        let (work, destination) = (folder(), folder());
        let _ = shell(
            &format!("cp '{}'/image.* .", small_parts().display()),
            work.path(),
        );
        let manifest = work.path().join("image.manifest.xml");
        let part = work.path().join("image.part.00");
        put_no_file(kind, &part);
        let (manifest, source) = (manifest.to_str().unwrap(), work.path().to_str().unwrap());
        let private_key = private_key();
        let opened = format!("open {}: it is {kind}, not a regular file", part.display());

        let unbundle = ["-k", &private_key, "-m", manifest, "-s", source, "-d"];
        let destination = destination.path().to_str().unwrap();
        let result = unless_it_hangs(
            "ec2-unbundle",
            &[&unbundle[..], &[destination]].concat(),
            &[],
        );
        assert_eq!(
            (result.code, result.stdout.as_str()),
            (254, ""),
            "{kind}: {result:?}"
        );
        assert!(result.stderr.contains(&opened), "{kind}: {}", result.stderr);
        assert!(names(destination.as_ref()).is_empty());

        let verify = ["-k", &private_key, "-m", manifest];
        let result = unless_it_hangs("ec2-verify-bundle", &verify, &[]);
        assert_eq!(result.code, 254, "{kind}: {result:?}");
        assert!(result.stdout.contains(&opened), "{kind}: {}", result.stdout);

        let keys = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        let upload = ["-b", BUCKET, "--url", &url, "-m", manifest, "--batch"];
        let result = unless_it_hangs("ec2-upload-bundle", &upload, &keys);
        assert_eq!(result.code, 254, "{kind}: {result:?}");
        assert!(result.stderr.contains(&opened), "{kind}: {}", result.stderr);
    }
}

#[test]
fn finding_06_other_files_that_are_none_are_errors_at_once() {
    for kind in ["a FIFO", "a socket", "a character device"] {
        let work = folder();
        let at = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("x"), "").unwrap();
        put_no_file(kind, at("x").as_ref());
        let user_key = private_key();
        let certificate = key("user2048.crt").to_str().unwrap().to_owned();
        let manifest = end_to_end::s3::manifest();
        let bundling = [
            "-u",
            "123456789012",
            "-r",
            "x86_64",
            "-d",
            &at(""),
            "--batch",
            "-k",
            &user_key,
        ];
        for (name, words) in [
            ("ec2-unbundle", vec!["-m", &at("x"), "-k", &user_key]),
            ("ec2-unbundle", vec!["-m", &manifest, "-k", &at("x")]),
            ("ec2-verify-bundle", vec!["-m", &manifest, "-c", &at("x")]),
            (
                "ec2-bundle-image",
                [
                    &bundling[..],
                    &[
                        "-c",
                        &certificate,
                        "--ec2cert",
                        &certificate,
                        "-i",
                        &at("x"),
                    ],
                ]
                .concat(),
            ),
            (
                "ec2-bundle-image",
                [
                    &bundling[..],
                    &["-c", &certificate, "--ec2cert", &at("x"), "-i", &manifest],
                ]
                .concat(),
            ),
        ] {
            let result = unless_it_hangs(name, &words, &[]);
            assert_eq!(result.code, 1, "{kind} {name} {words:?}: {result:?}");
            assert!(
                result.stderr.contains("has invalid value"),
                "{}",
                result.stderr
            );
        }

        let keys = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_CA_BUNDLE", &at("x")),
        ];
        let words = [
            "-b",
            BUCKET,
            "-k",
            &user_key,
            "--url",
            "https://127.0.0.1:9",
        ];
        let result = unless_it_hangs("ec2-download-bundle", &words, &keys);
        assert_eq!(result.code, 254, "{kind}: {result:?}");
        let said = format!(
            "AWS_CA_BUNDLE names {}, which holds no certificates in PEM",
            at("x")
        );
        assert!(result.stderr.contains(&said), "{}", result.stderr);

        // The backup of a migrated manifest.
        fs::copy(&manifest, at("image.manifest.xml"))
            .map(drop)
            .unwrap();
        fs::write(at("image.manifest.xml.bak"), "").unwrap();
        put_no_file(kind, at("image.manifest.xml.bak").as_ref());
        let words = [
            "-k",
            &user_key,
            "-c",
            &certificate,
            "-m",
            &at("image.manifest.xml"),
            "--no-mapping",
            "--ec2cert",
            &certificate,
        ];
        let result = unless_it_hangs("ec2-migrate-manifest", &words, &[]);
        assert_eq!(result.code, 2, "{kind}: {result:?}");
        assert!(
            result.stderr.contains("already exists"),
            "{}",
            result.stderr
        );
    }
}

#[test]
fn finding_06_files_are_opened_where_there_is_no_proc_too() {
    let work = folder();
    let _ = shell(
        &format!("cp '{}'/image.* .", small_parts().display()),
        work.path(),
    );
    let verify = || {
        let mut unshare = Command::new("timeout");
        let _ = end_to_end::isolate(&mut unshare)
            .args(["-s", "KILL", "120", "unshare", "-m", "sh", "-c"])
            .arg("mount -t tmpfs none /proc && exec \"$@\"")
            .arg("sh")
            .arg(command_path("ec2-verify-bundle"))
            .arg("-m")
            .arg(work.path().join("image.manifest.xml"));
        outcome(&mut unshare)
    };
    let result = verify();
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (0, ""),
        "{}",
        result.stdout
    );
    put_no_file("a FIFO", &work.path().join("image.part.11"));
    let result = verify();
    assert_eq!(result.code, 254);
    assert!(result.stdout.contains("it is a FIFO, not a regular file"));
}
