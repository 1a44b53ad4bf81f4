//! Command lines and output.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::bundles::{secrets, secrets_for};
use end_to_end::imds::{Service, Version};
use end_to_end::mounts::Mount;
use end_to_end::proxy::{Proxy, Slowness};
use end_to_end::s3::{BUCKET, Server, bundle_files, manifest, private_key, small_parts, with_keys};
use end_to_end::same::assert_same_bytes;
use end_to_end::volumes::fill;
use end_to_end::{
    METADATA_ENDPOINT, Outcome, bundling, bundling_volume, command, folder, golden, key, names,
    outcome, run, shell,
};

/// A usage error: the line, and the hint about `--help`.
fn usage(name: &str, line: &str) -> Outcome {
    Outcome {
        code: 1,
        stdout: String::new(),
        stderr: format!("{line}\nTry '{name} --help'\n"),
    }
}

/// Runs a command with something on its standard input.
fn answered(command: &mut Command, answer: &str) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answer.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Puts a bundle into a bucket.
fn stored(server: &Server) -> PathBuf {
    let bucket = server.bucket(BUCKET);
    for (name, bytes) in bundle_files(&small_parts()) {
        fs::write(bucket.join(name), bytes).unwrap();
    }
    bucket
}

#[test]
fn finding_25a_a_capital_letter_deletes_no_bundle() {
    let server = Server::start();
    let bucket = stored(&server);
    let before = names(&bucket);
    let proxy = Proxy::start(server.address, Slowness::default());
    for letter in ["-Y", "-C", "-V", "-B", "-N"] {
        for more in [
            &["-p", "image"][..],
            &["-m", &manifest()],
            &["-p", "image", "-y"],
        ] {
            let mut arguments = more.to_vec();
            arguments.push(letter);
            let result = outcome(&mut with_keys(
                "ec2-delete-bundle",
                &proxy.url(),
                &arguments,
            ));
            let line = format!("invalid option: {letter}");
            assert_eq!(result, usage("ec2-delete-bundle", &line));
        }
    }
    assert_eq!(proxy.requests().len(), 0);
    assert_eq!(names(&bucket), before);
}

#[test]
fn finding_25b_commands_that_migrate_take_no_empty_kernel_ram_disk_or_region() {
    for name in ["ec2-migrate-manifest", "ec2-migrate-bundle"] {
        for option in ["--kernel", "--ramdisk", "--region"] {
            assert_eq!(
                run(name, &[option, ""]),
                usage(name, &format!("invalid argument: {option} "))
            );
            let joined = format!("{option}=");
            assert_eq!(
                run(name, &[&joined]),
                usage(name, &format!("invalid argument: {option}="))
            );
        }
    }
    // Accepted where the older suite accepts them.
    assert_eq!(
        run("ec2-bundle-image", &["--kernel", "", "--ramdisk="]),
        usage("ec2-bundle-image", "missing mandatory parameter: --image")
    );
}

#[test]
fn finding_25f_an_empty_list_of_patterns_has_none() {
    let (volume, destination) = (folder(), folder());
    fs::write(volume.path().join("file"), "x").unwrap();
    let words = |more: &[&str]| {
        let mut words = vec!["--dry-run", "-P", "none", "--batch"];
        words.extend(["-v", volume.path().to_str().unwrap()]);
        words.extend(["-d", destination.path().to_str().unwrap()]);
        words.extend(more);
        let mut result = run("ec2-bundle-vol", &words);
        // Other programs use the disk too, so the free space varies.
        let lines = result.stdout.lines();
        let lines = lines.filter(|line| !line.starts_with("Space: "));
        result.stdout = lines.collect::<Vec<_>>().join("\n");
        result
    };
    let plain = words(&[]);
    assert_eq!(plain.code, 0, "{}", plain.stderr);
    assert_eq!(words(&["-e", "", "-i", ""]), plain);
    assert_eq!(words(&["--exclude=", "--include="]), plain);
}

#[test]
fn finding_25i_blanks_around_the_answer_to_deletion_do_not_count() {
    let server = Server::start();
    let bucket = stored(&server);
    let before = names(&bucket);
    let url = server.url();
    let delete = || with_keys("ec2-delete-bundle", &url, &["-p", "image"]);
    for no in ["  n\n", " \n", "\t.y\n"] {
        let result = answered(&mut delete(), no);
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{no:?}");
        assert_eq!(names(&bucket), before, "{no:?}");
    }
    let result = answered(&mut delete(), " \t Yes \n");
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_eq!(bundle_files(&bucket).len(), 0);
}

#[test]
fn finding_25l_help_and_version_win_and_the_last_bucket_counts() {
    for name in [
        "ec2-upload-bundle",
        "ec2-download-bundle",
        "ec2-delete-bundle",
        "ec2-migrate-bundle",
    ] {
        for (wanted, begins) in [
            ("--version", format!("{name} 1.5.7 20071010\n")),
            ("--help", String::new()),
            ("--manual", String::new()),
        ] {
            for bad in [
                ["--sigv", "3"],
                ["--sigv", ""],
                ["--url", "ftp://x"],
                ["--endpoint-url", "x"],
                ["-b", "/"],
            ] {
                for line in [[wanted, bad[0], bad[1]], [bad[0], bad[1], wanted]] {
                    let result = run(name, &line);
                    assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{line:?}");
                    assert!(result.stdout.starts_with(&begins), "{line:?}");
                }
            }
            // Other invalid values are still reported first.
            let result = run(name, &[wanted, "--parallel", "0"]);
            assert_eq!(result.code, 1, "{wanted}");
        }
        let bad = run(name, &["-b", "good", "-b", "/"]);
        assert_eq!(
            bad,
            usage(
                name,
                "--bucket has invalid value '/': the name of a bucket is needed: NAME or NAME/FOLDER"
            )
        );
        let good = run(
            name,
            &["-b", "/", "--sigv", "3", "-b", "good", "--sigv", "4"],
        );
        assert!(
            good.code == 1 && good.stderr.starts_with("missing mandatory parameter: "),
            "{name}: {}",
            good.stderr
        );
    }
}

#[test]
fn finding_25m_a_letter_is_shown_as_it_was_typed() {
    for (word, shown) in [("-ü", "-ü"), ("-h-1", "-1"), ("-hü", "-ü")] {
        assert_eq!(
            run("ec2-unbundle", &[word]),
            usage("ec2-unbundle", &format!("invalid option: {shown}"))
        );
    }
}

#[test]
fn finding_25m_a_bad_manifest_is_said_once() {
    let work = folder();
    let path = work.path().join("image.manifest.xml");
    let text = fs::read_to_string(manifest()).unwrap();
    fs::write(&path, text.replace("<user>", "<user>0")).unwrap();
    let certificate = key("user2048.crt");
    let path = path.to_str().unwrap();
    let mut words = vec!["-m", path, "-k"];
    let private_key = private_key();
    words.extend([&private_key, "-c", certificate.to_str().unwrap()]);
    words.extend(["--no-mapping", "--batch"]);
    let result = run("ec2-migrate-manifest", &words);
    let expected = format!(
        "ERROR: Bad manifest '{path}': the manifest's signature is invalid: the manifest was changed after it was signed, or signed with \
         another key than that of \"O=golden test, CN=golden user 2048\"\n"
    );
    assert_eq!((result.code, result.stderr), (254, expected));
}

#[test]
fn finding_25m_a_script_is_shown_as_given_and_run_where_it_is() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    fs::remove_file(volume.path().join("home/u/x.swp")).unwrap();
    fs::remove_file(volume.path().join("home/u/.ssh/authorized_keys")).unwrap();
    let work = folder();
    // PATH has a program of this name too.
    let _ = shell(
        "printf '#!/bin/sh\\ntouch \"$1/was-here\"\\n' > true; chmod 755 true; mkdir bin out; cp true bin/it; echo 'exit 1' > bin/true",
        work.path(),
    );
    for script in ["true", "./true", "bin/../bin/it"] {
        let destination = work.path().join("out");
        let mut words = bundling_volume(&volume.path(), &destination);
        words.extend(
            [
                "--clone-only",
                "-p",
                &script.replace('/', "-"),
                "-S",
                script,
            ]
            .map(str::to_owned),
        );
        let result = outcome(command("ec2-bundle-vol", &words).current_dir(work.path()));
        assert_eq!(result.code, 0, "{}", result.stderr);
        let line = format!("with script {script}\n");
        assert!(result.stdout.contains(&line), "{}", result.stdout);
        let image = Mount::of_image(&destination.join(script.replace('/', "-")), 0, "");
        assert!(image.path().join("was-here").exists());
        // One is one.
        assert_eq!(
            result.stderr,
            "Left out 1 file that looks like a secret or leftover (--dry-run lists them; --include brings back, --no-filter keeps all).\n"
        );
    }
}

/// A folder in which these test certificates serve as EC2's.
fn home_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let home = folder();
    let certificates = home.path().join("etc/ec2/amitools");
    fs::create_dir_all(&certificates).unwrap();
    for (file, certificate) in files {
        let _ = fs::copy(key(certificate), certificates.join(file)).unwrap();
    }
    home
}

/// The beginning of the error that a region's own certificate is missing.
fn missing(region: &str, home: &Path) -> String {
    format!(
        "ERROR: EC2's certificate cert-ec2-{region}.pem was not found; looked in {}/etc/ec2/amitools, ",
        home.display()
    )
}

/// Whether EC2's copy of the bundle's key can be decrypted with this private key.
fn is_for(manifest: &Path, private_key: &str) -> bool {
    secrets_for("ec2", manifest, &key(private_key)) == secrets(manifest, &key("user2048.key"))
}

#[test]
fn finding_27_a_bundle_is_for_the_regions_own_certificate_or_is_not_made() {
    let work = folder();
    let image = work.path().join("image");
    fs::write(&image, "some bytes").unwrap();
    let common = [("cert-ec2.pem", "ec2.crt")];
    let both = [common[0], ("cert-ec2-me-south-1.pem", "other.crt")];
    let bundle = |home: &Path, region: &str| {
        let mut words = bundling(&image, work.path());
        let at = words.iter().position(|word| word == "--ec2cert").unwrap();
        let _ = words.drain(at..at + 2);
        words.extend(["--region", region].map(str::to_owned));
        outcome(command("ec2-bundle-image", &words).env("EC2_AMITOOL_HOME", home))
    };
    let manifest = work.path().join("image.manifest.xml");

    let home = home_with(&common);
    let result = bundle(home.path(), "me-south-1");
    let line = missing("me-south-1", home.path());
    assert!(
        result.code == 2 && result.stderr.starts_with(&line),
        "{}",
        result.stderr
    );
    assert!(result.stderr.contains("get it with fetch-ec2-certificates"));
    assert!(!manifest.exists());

    let home = home_with(&both);
    for (region, private_key) in [
        ("me-south-1", "other.key"),
        ("eu-west-1", "ec2.key"),
        ("", "ec2.key"),
    ] {
        let result = bundle(home.path(), region);
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{region}");
        assert!(is_for(&manifest, private_key), "{region}");
    }
}

#[test]
fn finding_27_a_volumes_bundle_is_for_the_region_of_its_instance() {
    let answers = [
        ("/latest/meta-data/", "ami-id"),
        ("/latest/meta-data/ami-id", "ami-11111111"),
        (
            "/latest/meta-data/placement/availability-zone",
            "me-south-1b",
        ),
    ];
    let answers = answers.map(|(path, answer)| (path.to_owned(), answer.to_owned()));
    let service = Service::start(Version::V2Only, answers.into());
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    let work = folder();
    let bundle = |home: &Path, more: &[&str]| {
        let mut words = bundling_volume(&volume.path(), work.path());
        for (word, count) in [("--ec2cert", 2), ("--no-inherit", 1)] {
            let at = words.iter().position(|found| found == word).unwrap();
            let _ = words.drain(at..at + count);
        }
        words.extend(["-s", "16", "--no-keep-image"].map(str::to_owned));
        words.extend(more.iter().map(|&word| word.to_owned()));
        let mut command = command("ec2-bundle-vol", &words);
        outcome(
            command
                .env("EC2_AMITOOL_HOME", home)
                .env(METADATA_ENDPOINT, &service.endpoint),
        )
    };
    let manifest = work.path().join("image.manifest.xml");

    let home = home_with(&[("cert-ec2.pem", "ec2.crt")]);
    let result = bundle(home.path(), &[]);
    let line = missing("me-south-1", home.path());
    assert!(
        result.code == 2 && result.stderr.starts_with(&line),
        "{}",
        result.stderr
    );

    // The option takes precedence.
    let result = bundle(home.path(), &["--region", "eu-west-1"]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert!(is_for(&manifest, "ec2.key"));

    let home = home_with(&[
        ("cert-ec2.pem", "ec2.crt"),
        ("cert-ec2-me-south-1.pem", "other.crt"),
    ]);
    let result = bundle(home.path(), &[]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert!(is_for(&manifest, "other.key"));
}

#[test]
fn finding_27_a_manifest_that_moves_is_for_the_regions_own_certificate_or_stays() {
    let work = folder();
    let manifest = work.path().join("m.manifest.xml");
    let old = fs::read(golden("bundles/a-raw64k/image.img.manifest.xml")).unwrap();
    fs::write(&manifest, &old).unwrap();
    let (private_key, certificate) = (key("user2048.key"), key("user2048.crt"));
    let migrate = |home: &Path| {
        let mut words: Vec<&OsStr> = vec!["-m".as_ref(), manifest.as_ref(), "-k".as_ref()];
        words.extend([
            private_key.as_os_str(),
            "-c".as_ref(),
            certificate.as_os_str(),
        ]);
        words.extend(["--region", "af-south-1"].map(OsStr::new));
        outcome(command("ec2-migrate-manifest", &words).env("EC2_AMITOOL_HOME", home))
    };
    let home = home_with(&[("cert-ec2.pem", "ec2.crt")]);
    let result = migrate(home.path());
    let line = missing("af-south-1", home.path());
    assert!(
        result.code == 2 && result.stderr.starts_with(&line),
        "{}",
        result.stderr
    );
    assert_same_bytes(&fs::read(&manifest).unwrap(), &old);
    assert_eq!(names(work.path()), ["m.manifest.xml"]);

    let home = home_with(&[("cert-ec2-af-south-1.pem", "other.crt")]);
    let result = migrate(home.path());
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert!(is_for(&manifest, "other.key"));
}
