//! The older suite's bundles are restored bit for bit, and bundles made here have the tar stream that it would have made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::mounts::Mount;
use end_to_end::{bundle, folder, golden, json, key, names, outcome, run, sha256, text};
use serde_json::Value;

/// Folder and `info.json` of every bundle.
fn bundles() -> Vec<(PathBuf, Value)> {
    let index = json(&golden("bundles/index.json"));
    let bundles: Vec<_> = index
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let folder = golden(&format!("bundles/{}", text(&entry["name"])));
            let info = json(&folder.join("info.json"));
            (folder, info)
        })
        .collect();
    assert_eq!(bundles.len(), fs_count());
    bundles
}

/// The number of folders with a bundle.
fn fs_count() -> usize {
    fs::read_dir(golden("bundles"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().join("recipe.sh").is_file())
        .count()
}

fn arguments(private_key: &str, manifest: &Path, source: &Path, destination: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    [
        "-k",
        &path(&key(&format!("{private_key}.key"))),
        "-m",
        &path(manifest),
        "-s",
        &path(source),
        "-d",
        &path(destination),
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn every_bundle_of_the_older_suite_comes_back() {
    let mut count = 0;
    for (source, info) in bundles() {
        if !info["parts_shipped"].as_bool().unwrap() {
            continue; // made anew, and compared, in the next test
        }
        // Hashing 9 GiB of zeros takes a while.
        let is_huge = info["image"]["size"].as_u64().unwrap() > 1 << 30;
        for threads in if is_huge { &["2"][..] } else { &["1", "2"] } {
            let destination = folder();
            let manifest = source.join(text(&info["manifest"]));
            let mut arguments = arguments(
                text(&info["user_key"]),
                &manifest,
                &source,
                destination.path(),
            );
            let certificate = key(&format!("{}.crt", text(&info["user_key"])));
            arguments.extend(
                ["-c", certificate.to_str().unwrap(), "--threads", threads].map(str::to_owned),
            );
            let result = run("ec2-unbundle", &arguments);
            assert_eq!(
                (result.code, result.stdout.as_str(), result.stderr.as_str()),
                (0, "Unbundle complete.\n", ""),
                "{}",
                source.display()
            );
            let name = text(&info["unbundled_name"]);
            assert_eq!(names(destination.path()), [name]);
            assert_eq!(
                sha256(&destination.path().join(name)),
                text(&info["image"]["sha256"])
            );
        }
        count += 1;
    }
    assert!(count >= 25, "{count}");
}

#[test]
fn bundles_in_older_formats_come_back() {
    for entry in fs::read_dir(golden("bundles/old-formats")).unwrap() {
        let source = entry.unwrap().path();
        let info = json(&source.join("info.json"));
        let manifest = names(&source)
            .into_iter()
            .find(|name| name.ends_with(".manifest.xml"))
            .unwrap();
        let destination = folder();
        let result = run(
            "ec2-unbundle",
            &arguments(
                "user2048",
                &source.join(manifest),
                &source,
                destination.path(),
            ),
        );
        assert_eq!(result.code, 0, "{}: {}", source.display(), result.stderr);
        let name = names(destination.path()).remove(0);
        let of = info["source_bundle"].as_str().or(info["of"].as_str());
        let of = of.map_or_else(
            || {
                source
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .split_once('-')
                    .unwrap()
                    .1
                    .to_owned()
            },
            str::to_owned,
        );
        let expected = json(&golden(&format!("bundles/{of}/info.json")));
        assert_eq!(
            sha256(&destination.path().join(name)),
            text(&expected["image"]["sha256"])
        );
    }
}

/// GNU tar's stream depends on where the file system reports holes, so this is the type that the fixtures were made on.
#[test]
fn images_made_by_the_recipes_have_the_older_suites_tar_stream() {
    let file_system = Mount::new("12G", "mkfs.ext4 -q");
    for (source, info) in bundles() {
        if source.ends_with("i-ext4") {
            continue; // what mke2fs writes depends on its version and the time
        }
        let images = file_system.path().join("images");
        let destination = file_system.path().join("bundle");
        for folder in [&images, &destination] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir(folder).unwrap();
        }
        let command = info["command"].as_array().unwrap();
        let option = |name: &str| {
            let at = command.iter().position(|word| word == name)?;
            Some(text(&command[at + 1]).to_owned())
        };
        let is_link = source.ends_with("f5-symlink");
        let image = images.join(text(&info["image"]["name"]));
        let made = outcome(
            Command::new("bash")
                .arg(source.join("recipe.sh"))
                .arg(&image),
        );
        assert_eq!(made.code, 0, "{}: {}", source.display(), made.stderr);
        let synced = outcome(Command::new("sync").arg("-f").arg(&images));
        assert_eq!(synced.code, 0);
        let prefix = match option("-p").or_else(|| option("--prefix")) {
            Some(prefix) => prefix,
            None if is_link => text(&info["prefix"]).to_owned(),
            None => image.file_name().unwrap().to_str().unwrap().to_owned(),
        };
        let manifest = bundle(&image, &destination, &["-p", &prefix]);
        let written = ami_manifest::ParsedManifest::load(&manifest)
            .unwrap()
            .manifest;
        let name = source.display();
        assert_eq!(
            written.image.digest.to_string(),
            text(&info["tar"]["sha1"]),
            "{name}"
        );
        assert_eq!(
            Value::from(written.image.size),
            info["image"]["size"],
            "{name}"
        );
        assert_eq!(
            written.image.parts.len(),
            info["parts"].as_array().unwrap().len(),
            "{name}"
        );
    }
}
