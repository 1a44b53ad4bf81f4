//! Names in a hostile manifest or bundle.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::bundles::forge_image;
use end_to_end::proxy::{Proxy, Slowness};
use end_to_end::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, private_key, small_parts, with_keys};
use end_to_end::same::{assert_same_bytes, assert_same_files};
use end_to_end::{Outcome, command, command_path, contents, folder, names, outcome, shell};

/// The part of [`small_parts`] that is renamed in these manifests.
const ONE: &str = "image.part.03";

/// Puts the small bundle into a bucket, with [`ONE`] under another name, and returns its manifest's text.
fn put_bundle(bucket: &Path, name: &str) -> String {
    for (file, bytes) in contents(&small_parts()) {
        let file = if file == ONE { name } else { &file };
        fs::write(bucket.join(file), bytes).unwrap();
    }
    let text = fs::read_to_string(small_parts().join("image.manifest.xml")).unwrap();
    assert!(text.contains(ONE));
    let text = text.replace(ONE, name);
    fs::write(bucket.join("image.manifest.xml"), &text).unwrap();
    text
}

/// Downloads that bundle.
fn download(url: &str, private_key: &Path, destination: &Path, more: &[&str]) -> Outcome {
    let mut words = vec![
        "-k",
        private_key.to_str().unwrap(),
        "-d",
        destination.to_str().unwrap(),
    ];
    words.extend(more);
    outcome(&mut with_keys("ec2-download-bundle", url, &words))
}

#[test]
fn finding_02_a_manifest_chooses_neither_what_a_download_replaces_nor_hidden_files() {
    let server = Server::start();
    let proxy = Proxy::start(server.address, Slowness::default());
    let bucket = server.bucket(BUCKET);
    let is_there = "already exists, and is not replaced because it is not named like a part";
    for (name, in_the_way, said) in [
        ("pk.pem", "pk.pem", "is the private key, or a link to it"),
        (
            "image.part.99",
            "image.part.99",
            "is the private key, or a link to it",
        ),
        ("notes.txt", "notes.txt", is_there),
        ("dangling", "dangling", is_there),
        ("other.manifest.xml", "other.manifest.xml", is_there),
        (".bashrc", ".bashrc", "a hidden file"),
        (".profile", "", "a hidden file"),
        (".profile.part.0", "", "a hidden file"),
        ("image.manifest.xml", "", "the manifest's own name"),
        ("image.part.04", "", "more than once"),
    ] {
        let _ = put_bundle(&bucket, name);
        let destination = folder();
        let at = |name: &str| destination.path().join(name);
        fs::copy(private_key(), at("pk.pem")).map(drop).unwrap();
        match in_the_way {
            "" | "pk.pem" => {}
            "image.part.99" => fs::hard_link(at("pk.pem"), at(in_the_way)).unwrap(),
            "dangling" => symlink("nowhere", at(in_the_way)).unwrap(),
            name => fs::write(at(name), "precious").unwrap(),
        }
        let listing = || {
            shell(
                "ls -lAi --time-style=full-iso; sha1sum pk.pem",
                destination.path(),
            )
        };
        let before = listing();
        let seen = proxy.requests().len();
        for more in [&[][..], &["--retry"]] {
            let result = download(&proxy.url(), &at("pk.pem"), destination.path(), more);
            assert_eq!(result.code, 254, "{name}: {result:?}");
            assert!(result.stderr.contains(said), "{name}: {}", result.stderr);
            assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
            assert_eq!(listing(), before, "{name}");
        }
        let asked = proxy.requests().split_off(seen);
        let parts = asked.iter().filter(|request| request.path.contains("part"));
        assert_eq!(parts.count(), 0, "{name}");
    }
}

#[test]
fn finding_02_odd_part_names_are_downloaded_where_nothing_has_them() {
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let text = put_bundle(&bucket, "pk.pem");
    let destination = folder();
    let private_key = PathBuf::from(private_key());
    // Older parts and manifests are replaced.
    fs::write(destination.path().join("image.part.00"), "old").unwrap();
    fs::write(destination.path().join("image.manifest.xml"), "old").unwrap();
    let result = download(&server.url(), &private_key, destination.path(), &[]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let found = contents(destination.path());
    assert_same_bytes(&found["image.manifest.xml"], text.as_bytes());
    assert_same_bytes(
        &found["pk.pem"],
        &fs::read(small_parts().join(ONE)).unwrap(),
    );
    assert_eq!(found.len(), 13);
}

#[test]
fn finding_02_the_manifests_name_is_the_persons_but_never_a_hidden_file_or_the_key() {
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let text = put_bundle(&bucket, ONE);
    for name in [".bashrc", "key.manifest.xml", "a name"] {
        fs::write(bucket.join(name), &text).unwrap();
    }
    let destination = folder();
    let own_key = destination.path().join("key.manifest.xml");
    fs::copy(private_key(), &own_key).map(drop).unwrap();
    let before = contents(destination.path());
    for (words, code, said) in [
        (
            ["-m", ".bashrc"],
            1,
            "--manifest has invalid value '.bashrc': it is the name of a hidden file.\n",
        ),
        (
            ["-p", ".x"],
            1,
            "--prefix has invalid value '.x.manifest.xml': it is the name of a hidden file.\n",
        ),
        (["-p", "key"], 254, "is the private key, or a link to it"),
    ] {
        let result = download(&server.url(), &own_key, destination.path(), &words);
        assert_eq!(result.code, code, "{result:?}");
        assert!(result.stderr.contains(said), "{}", result.stderr);
        assert_same_files(&contents(destination.path()), &before);
    }
    let result = download(
        &server.url(),
        &own_key,
        destination.path(),
        &["-m", "a name"],
    );
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_same_bytes(&contents(destination.path())["a name"], text.as_bytes());
}

/// Unbundles with a key and umask.
fn unbundle(manifest: &Path, key: &Path, destination: &Path, umask: &str) -> Outcome {
    let mut shell = Command::new("sh");
    let _ = shell
        .args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask])
        .arg(command_path("ec2-unbundle"))
        .arg("-m")
        .arg(manifest)
        .arg("-s")
        .arg(manifest.parent().unwrap())
        .arg("-k")
        .arg(key)
        .arg("-d")
        .arg(destination);
    outcome(&mut shell)
}

#[test]
fn finding_02_an_image_replaces_only_the_file_that_its_manifest_is_called_after() {
    let private_key = PathBuf::from(private_key());
    let exists = "already exists, and the manifest is not named after it";
    for (name, manifest, in_the_way, said) in [
        (
            ".bashrc",
            "forged.manifest.xml",
            "",
            "the name of a hidden file",
        ),
        (
            ".bashrc",
            ".bashrc.manifest.xml",
            ".bashrc",
            "the name of a hidden file",
        ),
        ("notes", "forged.manifest.xml", "notes", exists),
        ("notes", "notes", "notes", "the image would replace"),
        ("notes", "notes.xml", "notes", exists),
        (
            "forged.part.0",
            "forged.part.0.manifest.xml",
            "",
            "the image would replace",
        ),
        (
            "forged.manifest.xml",
            "forged.manifest.xml",
            "",
            "the image would replace",
        ),
    ] {
        let work = folder();
        let at = |name: &str| work.path().join(name);
        let forged = forge_image(work.path(), name, "0644");
        if forged != at(manifest) {
            fs::rename(forged, at(manifest)).unwrap();
        }
        if !in_the_way.is_empty() && in_the_way != manifest {
            fs::write(at(in_the_way), "precious").unwrap();
        }
        let before = contents(work.path());
        let result = unbundle(&at(manifest), &private_key, work.path(), "022");
        assert_eq!(result.code, 254, "{name} {manifest}: {result:?}");
        assert!(result.stderr.contains(said), "{name}: {}", result.stderr);
        assert_same_files(&contents(work.path()), &before);
    }

    // The key, as a hard link and as a symbolic link whose name matches the manifest's.
    for link in ["ln pk.pem key", "ln -s pk.pem key"] {
        let work = folder();
        let forged = forge_image(work.path(), "key", "0644");
        let manifest = work.path().join("key.manifest.xml");
        fs::rename(forged, &manifest).unwrap();
        fs::copy(&private_key, work.path().join("pk.pem"))
            .map(drop)
            .unwrap();
        let _ = shell(link, work.path());
        let result = unbundle(&manifest, &work.path().join("pk.pem"), work.path(), "022");
        assert_eq!(result.code, 254, "{link}: {result:?}");
        assert!(result.stderr.contains("the image would replace"));
        let key = fs::read(work.path().join("key")).unwrap();
        assert_same_bytes(&key, &fs::read(&private_key).unwrap());
    }
}

#[test]
fn finding_02_an_image_keeps_its_name_and_its_permissions_follow_the_umask() {
    let private_key = PathBuf::from(private_key());
    for (mode, umask, expected) in [
        ("0777", "022", 0o644),
        ("4755", "027", 0o640),
        ("0666", "000", 0o666),
        ("0600", "022", 0o600),
        ("0666", "077", 0o600),
    ] {
        let (work, destination) = (folder(), folder());
        let manifest = forge_image(work.path(), "forged", mode);
        // An older image whose name matches the manifest's.
        fs::write(destination.path().join("forged"), "old").unwrap();
        let result = unbundle(&manifest, &private_key, destination.path(), umask);
        assert_eq!((result.code, result.stderr.as_str()), (0, ""));
        let image = destination.path().join("forged");
        assert_eq!(fs::read(&image).unwrap(), b"the image");
        let found = fs::metadata(&image).unwrap().mode() & 0o7777;
        assert_eq!(found, expected, "{mode} {umask}: {found:o}");
    }
    // With a renamed manifest, the image is still restored if its name is free.
    let (work, destination) = (folder(), folder());
    let manifest = work.path().join("renamed");
    fs::rename(forge_image(work.path(), "forged", "0644"), &manifest).unwrap();
    let result = unbundle(&manifest, &private_key, destination.path(), "022");
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_eq!(names(destination.path()), ["forged"]);
}

/// Deletes by a manifest; `answers` is the standard input.
fn delete(server: &Server, manifest: &Path, answers: &str, more: &[&str]) -> Outcome {
    let url = server.url();
    let mut words = vec![
        "-b",
        BUCKET,
        "--url",
        &url,
        "-m",
        manifest.to_str().unwrap(),
    ];
    words.extend(more);
    let mut child = command("ec2-delete-bundle", &words)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command need not read all of it.
    let _ = child.stdin.take().unwrap().write_all(answers.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn finding_02_what_is_not_called_as_a_part_is_deleted_only_after_a_question_of_its_own() {
    for (answers, more, goes) in [
        ("", &["-y"][..], false),
        ("y\n", &["-y", "--batch"], false),
        ("n\n", &["-y"], false),
        ("y\n", &["-y", "--json"], false),
        ("y\n", &["-y"], true),
        ("y\ny\n", &[], true),
        ("y\nn\n", &[], false),
    ] {
        let server = Server::start();
        let bucket = server.bucket(BUCKET);
        let text = put_bundle(&bucket, "database.dump").replace("image.part.04", ".htaccess");
        fs::rename(bucket.join("image.part.04"), bucket.join(".htaccess")).unwrap();
        let work = folder();
        let manifest = work.path().join("image.manifest.xml");
        fs::write(&manifest, text).unwrap();

        let result = delete(&server, &manifest, answers, more);
        assert_eq!(result.code, 0, "{more:?} {answers:?}: {result:?}");
        let mut expected = vec![".htaccess"];
        expected.extend((!goes).then_some("database.dump"));
        assert_eq!(names(&bucket), expected, "{more:?} {answers:?}");
        let kept = result.stderr.lines();
        let kept = kept.filter(|line| line.starts_with("Not deleted: "));
        assert_eq!(kept.count(), expected.len(), "{}", result.stderr);
        let asks = !more.contains(&"--batch") && !more.contains(&"--json");
        assert_eq!(result.stdout.contains("Delete these too [y/N]: "), asks);
    }
    // After a no to the first question, nothing is deleted and nothing else is asked.
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let text = put_bundle(&bucket, "database.dump");
    let work = folder();
    let manifest = work.path().join("image.manifest.xml");
    fs::write(&manifest, text).unwrap();
    let before = contents(&bucket);
    let result = delete(&server, &manifest, "n\n", &[]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert!(!result.stdout.contains("Delete these too"));
    assert_same_files(&contents(&bucket), &before);
}

#[test]
fn finding_25k_a_download_into_a_folder_that_cannot_be_written_exits_with_3() {
    let server = Server::start();
    let _ = put_bundle(&server.bucket(BUCKET), ONE);
    let destination = folder();
    let (url, private_key) = (server.url(), private_key());
    for more in ["--batch", "--retry"] {
        let mut unshare = Command::new("unshare");
        let _ = end_to_end::isolate(&mut unshare)
            .args(["-m", "sh", "-c"])
            .arg("mount -t tmpfs -o ro none \"$1\" && cd \"$1\" && shift && exec \"$@\"")
            .arg("sh")
            .arg(destination.path())
            .arg(command_path("ec2-download-bundle"))
            .args(["-b", BUCKET, "--url", &url, "-k", &private_key, more])
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        let result = outcome(&mut unshare);
        assert_eq!(result.code, 3, "{result:?}");
        assert!(
            result.stderr.contains("Read-only file system"),
            "{}",
            result.stderr
        );
        assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
    }
    // A missing folder is still a usage error.
    let missing = destination.path().join("missing");
    let file = destination.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [&missing, &file] {
        let result = download(&url, private_key.as_ref(), path, &[]);
        assert_eq!(result.code, 1, "{result:?}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o111, 0);
}
