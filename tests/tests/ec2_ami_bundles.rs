//! `ec2-ami unbundle` and `verify`: every bundle straight from S3, to every kind of target.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::in_s3::Scene;
use end_to_end::mounts::Mount;
use end_to_end::s3::small_parts;
use end_to_end::{allocated, folder, golden, json, key, names, outcome, run, sha256, shell, text};

fn key_path(name: &str) -> String {
    key(name).to_str().unwrap().to_owned()
}

/// Every bundle of the older suite with its parts: its folder, its key's name, the image's size and SHA-256.
fn bundles() -> Vec<(PathBuf, String, u64, String)> {
    let index = json(&golden("bundles/index.json"));
    let folders = index.as_array().unwrap().iter();
    let folders = folders.map(|entry| golden(&format!("bundles/{}", text(&entry["name"]))));
    let found: Vec<_> = folders
        .map(|folder| (json(&folder.join("info.json")), folder))
        .filter(|(info, _)| info["parts_shipped"].as_bool().unwrap())
        .map(|(info, folder)| {
            let size = info["image"]["size"].as_u64().unwrap();
            let digest = text(&info["image"]["sha256"]).to_owned();
            (folder, text(&info["user_key"]).to_owned(), size, digest)
        })
        .collect();
    assert!(found.len() >= 25, "{}", found.len());
    found
}

#[test]
fn every_bundle_of_the_older_suite_comes_straight_from_s3() {
    for (bundle, user, size, digest) in bundles() {
        let name = bundle.display();
        let scene = Scene::of(&bundle);
        let (manifest, private_key) = (scene.manifest(), key_path(&format!("{user}.key")));
        let certificate = key_path(&format!("{user}.crt"));
        let plan = scene.unbundle(&private_key, &["--dry-run", "--json"]);
        let said = format!("\"image_size\":{size},");
        assert!(plan.stdout.contains(&said), "{name}: {plan:?}");
        // Hashing gigabytes of zeros takes a while.
        if size > 1 << 30 {
            continue;
        }
        let result = scene.unbundle(&private_key, &["-c", &certificate]);
        assert_eq!(
            (result.code, result.stdout.as_str(), result.stderr.as_str()),
            (0, "image\n", ""),
            "{name}"
        );
        assert_eq!(scene.files(), ["image"]);
        let image = scene.work.path().join("image");
        assert_eq!(sha256(&image), digest, "{name}");

        let arguments = ["unbundle", &manifest, "-", "-k", &private_key];
        let raw = File::create(scene.work.path().join("raw")).unwrap();
        let mut command = scene.command(&arguments);
        let mut child = command.stdout(raw).stderr(Stdio::piped()).spawn().unwrap();
        assert!(child.wait().unwrap().success(), "{name}");
        assert_eq!(sha256(&scene.work.path().join("raw")), digest, "{name}");

        let checked = scene.run(&["verify", &manifest, "-k", &private_key, "-c", &certificate]);
        assert_eq!(checked.code, 0, "{name}: {checked:?}");
        let oks = checked
            .stdout
            .lines()
            .filter(|line| line[11..].starts_with("ok "));
        assert_eq!(oks.count(), 6, "{name}: {checked:?}");
    }
}

#[test]
fn bundles_in_older_formats_and_other_dialects_are_as_on_disk() {
    let mut good = 0;
    for kind in ["old-formats", "unbundle-variants"] {
        let kind = golden(&format!("bundles/{kind}"));
        for name in names(&kind).iter().filter(|name| kind.join(name).is_dir()) {
            let bundle = kind.join(name);
            let scene = Scene::of(&bundle);
            let (from_disk, manifest) = (folder(), scene.manifest());
            let file = bundle.join(manifest.rsplit_once('/').unwrap().1);
            let private_key = key_path("user2048.key");
            let on_disk = run(
                "ec2-unbundle",
                &[
                    "-k",
                    &private_key,
                    "-m",
                    file.to_str().unwrap(),
                    "-s",
                    bundle.to_str().unwrap(),
                    "-d",
                    from_disk.path().to_str().unwrap(),
                ],
            );
            let result = scene.unbundle(&private_key, &[]);
            if on_disk.code != 0 {
                assert_eq!(result.code, 2, "{name}: {result:?}, {on_disk:?}");
                assert_eq!(scene.files(), [] as [String; 0], "{name}");
                continue;
            }
            assert_eq!(result.code, 0, "{name}: {result:?}");
            let expected = names(from_disk.path()).remove(0);
            let expected = fs::read(from_disk.path().join(expected)).unwrap();
            assert!(
                fs::read(scene.work.path().join("image")).unwrap() == expected,
                "{name}"
            );
            good += 1;
        }
    }
    assert!(good >= 20, "{good}");
}

#[test]
fn an_encrypted_manifest_is_decrypted() {
    let scene = Scene::of(&golden("bundles/a-raw64k"));
    let manifest = golden("bundles/encrypted-manifests/v2-user2048.manifest.xml");
    let _ = fs::copy(manifest, scene.store().join("image.img.manifest.xml")).unwrap();
    let private_key = key_path("user2048.key");
    let result = scene.unbundle(&private_key, &[]);
    assert_eq!(result.code, 0, "{result:?}");
    let info = json(&golden("bundles/a-raw64k/info.json"));
    let image = scene.work.path().join("image");
    assert_eq!(sha256(&image), text(&info["image"]["sha256"]));
    let checked = scene.run(&["verify", &scene.manifest(), "-k", &private_key]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let without = scene.run(&["verify", &scene.manifest()]);
    assert_eq!(without.code, 2, "{without:?}");
}

#[test]
fn a_file_is_replaced_only_if_asked_for() {
    let scene = Scene::of(&golden("bundles/b-sparse20m"));
    let private_key = key_path("user2048.key");
    let image = scene.work.path().join("image");
    fs::write(&image, "old").unwrap();
    let refused = scene.unbundle(&private_key, &[]);
    assert_eq!(refused.code, 2);
    assert_eq!(
        refused.stderr,
        "ERROR: image already exists; choose another name, or give --replace\n"
    );
    assert_eq!(fs::read(&image).unwrap(), b"old");
    assert_eq!(scene.unbundle(&private_key, &["--replace"]).code, 0);
    let info = json(&golden("bundles/b-sparse20m/info.json"));
    assert_eq!(sha256(&image), text(&info["image"]["sha256"]));
    assert!(allocated(&image) < 20 << 20, "holes are kept");
    // The key is not replaced.
    let own = scene.work.path().join("image");
    let _ = fs::copy(&private_key, &own).unwrap();
    let refused = scene.unbundle("image", &["--replace"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("would replace image"),
        "{refused:?}"
    );
    assert_eq!(fs::read(own).unwrap(), fs::read(private_key).unwrap());
}

/// A loop device with a file of ones behind it.
struct Loop {
    file: PathBuf,
    device: String,
}

impl Loop {
    fn new(folder: &Path, size: u64) -> Self {
        let file = folder.join("disk");
        fs::write(&file, vec![0xff; size as usize]).unwrap();
        let device = shell("losetup --find --show disk", folder);
        Self { file, device }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = shell(&format!("losetup -d {}", self.device), Path::new("/"));
    }
}

#[test]
fn a_device_has_the_image_and_behind_it_what_it_had() {
    const SIZE: u64 = 21 << 20;
    let bundle = golden("bundles/b-sparse20m");
    let info = json(&bundle.join("info.json"));
    let image_size = info["image"]["size"].as_u64().unwrap();
    let scene = Scene::of(&bundle);
    let (manifest, private_key) = (scene.manifest(), key_path("user2048.key"));
    let disks = folder();
    let disk = Loop::new(disks.path(), SIZE);
    let arguments = ["unbundle", &manifest, &disk.device, "-k", &private_key];

    let refused = scene.run(&arguments);
    assert_eq!(refused.code, 5, "{refused:?}");
    let expected = format!(
        "ERROR: {} would be overwritten, and there is no terminal to ask at; give --yes\n",
        disk.device
    );
    assert_eq!(refused.stderr, expected);
    assert!(fs::read(&disk.file).unwrap() == vec![0xff; SIZE as usize]);

    let done = scene.run(&[&arguments[..], &["--yes"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert_eq!(done.stdout, format!("{}\n", disk.device));
    let written = fs::read(&disk.file).unwrap();
    let (image, behind) = written.split_at(image_size as usize);
    assert!(behind.iter().all(|&byte| byte == 0xff));
    let image_file = disks.path().join("image");
    fs::write(&image_file, image).unwrap();
    assert_eq!(sha256(&image_file), text(&info["image"]["sha256"]));
}

#[test]
fn a_device_that_is_too_small_or_in_use_is_left_alone() {
    let scene = Scene::of(&golden("bundles/b-sparse20m"));
    let (manifest, private_key) = (scene.manifest(), key_path("user2048.key"));
    let disks = folder();
    let small = Loop::new(disks.path(), 1 << 20);
    let run = |device: &str, more: &[&str]| {
        let arguments = ["unbundle", &manifest, device, "-k", &private_key, "--yes"];
        scene.run(&[&arguments[..], more].concat())
    };
    let too_small = format!(
        "ERROR: {} has 1048576 bytes, and the image has 20971520; choose a larger device\n",
        small.device
    );
    for more in [&[][..], &["--dry-run"]] {
        let result = run(&small.device, more);
        assert_eq!((result.code, &result.stderr), (2, &too_small), "{result:?}");
    }
    assert!(fs::read(&small.file).unwrap() == vec![0xff; 1 << 20]);

    let mounted = Mount::new("64M", "mkfs.ext4 -q");
    let device = shell(
        &format!("findmnt -n -o SOURCE '{}'", mounted.path().display()),
        Path::new("/"),
    );
    let result = run(&device, &[]);
    assert_eq!(result.code, 2, "{result:?}");
    let expected = format!(
        "ERROR: {device} is in use: it, or a partition of it, is mounted or belongs to something else; unmount it\n"
    );
    assert_eq!(result.stderr, expected);
}

#[test]
fn standard_output_says_when_it_is_whole_and_is_no_terminal() {
    let scene = Scene::of(&small_parts());
    let (manifest, private_key) = (scene.manifest(), key_path("user2048.key"));
    let arguments = ["unbundle", &manifest, "-", "-k", &private_key];
    let result = scene.run(&arguments);
    assert_eq!(result.code, 0);
    assert_eq!(result.stderr, "All 20000 bytes are written and verified.\n");
    let command = scene.command(&arguments);
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect::<Vec<_>>()
        .join(" ");
    let mut script = Command::new("script");
    let _ = script
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        let _ = match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let on_terminal = outcome(&mut script);
    assert_eq!(on_terminal.code, 1, "{on_terminal:?}");
    assert!(
        on_terminal
            .stdout
            .starts_with("standard output is a terminal"),
        "{on_terminal:?}"
    );
    let both = scene.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!((both.code, both.stdout.as_str()), (1, ""), "{both:?}");
}

#[test]
fn a_reader_that_ends_early_is_one_line() {
    let scene = Scene::of(&golden("bundles/b-sparse20m"));
    let (manifest, private_key) = (scene.manifest(), key_path("user2048.key"));
    let mut command = scene.command(&["unbundle", &manifest, "-", "-k", &private_key]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(254));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "What was written to standard output is not the whole image, or not verified: do not use it.\n\
         ERROR: cannot write standard output: Broken pipe (os error 32)\n"
    );
}
