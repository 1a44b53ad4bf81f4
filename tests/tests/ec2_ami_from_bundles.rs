//! `ec2-ami create` from bundles, in S3 and on disk: the snapshot has the image's bytes, and nothing is stored on the way.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use end_to_end::from_bundles::{Scene, create, key_file, manifest_in, words};
use end_to_end::{bundle, folder, golden, json, names, outcome, run_by, sha1, text};
use serde_json::Value;

use crate::hostile::VARIANTS;

/// A bundle and what it holds.
struct Golden {
    folder: PathBuf,
    user: String,
    size: u64,
    sha256: String,
    /// What makes its image anew, where the parts are not shipped.
    recipe: Option<PathBuf>,
}

impl Golden {
    fn new(folder: PathBuf, info: &Value) -> Self {
        let is_shipped = info["parts_shipped"].as_bool().unwrap_or(true);
        Self {
            user: text(&info["user_key"]).to_owned(),
            size: info["image"]["size"].as_u64().unwrap(),
            sha256: text(&info["image"]["sha256"]).to_owned(),
            recipe: (!is_shipped).then(|| folder.join("recipe.sh")),
            folder,
        }
    }
}

/// Those of all versions of the manifest.
fn every_golden_bundle() -> Vec<Golden> {
    let index = json(&golden("bundles/index.json"));
    let current = index.as_array().unwrap().iter();
    let current = current.map(|entry| golden(&format!("bundles/{}", text(&entry["name"]))));
    let older = golden("bundles/old-formats");
    let older = names(&older).into_iter().map(|name| older.join(name));
    let all = current.chain(older);
    all.map(|folder| {
        let info = json(&folder.join("info.json"));
        Golden::new(folder, &info)
    })
    .collect()
}

#[test]
fn every_golden_bundle_becomes_a_snapshot_of_its_image() {
    let scene = Scene::new();
    let all = every_golden_bundle();
    assert!(all.len() >= 36, "{}", all.len());
    // Sending gigabytes of zeros takes a while.
    for golden in all.into_iter().filter(|golden| golden.size <= 1 << 30) {
        let made = folder();
        let is_anew = golden.recipe.is_some();
        let source = match &golden.recipe {
            None => golden.folder.clone(),
            Some(recipe) => {
                let image = made.path().join("image");
                let recipe = outcome(Command::new("bash").arg(recipe).arg(&image));
                assert_eq!(recipe.code, 0, "{recipe:?}");
                let bundled = made.path().join("bundle");
                fs::create_dir(&bundled).unwrap();
                let _ = bundle(&image, &bundled, &[]);
                bundled
            }
        };
        let user = match is_anew {
            true => "user2048",
            false => &golden.user,
        };
        let certificate = key_file(&format!("{user}.crt"));
        let manifest = manifest_in(&source);
        for place in [scene.put(&source), manifest.to_str().unwrap().to_owned()] {
            let id = scene.snapshot(&place, user, &["-c", &certificate]);
            scene.assert_is_image(&id, golden.size, &golden.sha256);
            scene.assert_no_file_but(&[]);
        }
    }
}

#[test]
fn bundles_in_other_dialects_become_what_they_hold_and_damaged_ones_nothing() {
    let scene = Scene::new();
    let variants = golden("bundles/unbundle-variants");
    let expected = json(&variants.join("expected.json"));
    for (name, verdict) in VARIANTS {
        let source = variants.join(name);
        let on_disk = manifest_in(&source).to_str().unwrap().to_owned();
        for (place, is_in_s3) in [(scene.put(&source), true), (on_disk, false)] {
            scene.aws.server.clear_log();
            let result = scene.run(&words(&create(&place, "user2048"), &[]));
            let begun = scene.aws.server.snapshots();
            let verdict = match *name {
                "part-missing" if is_in_s3 => &Err("image.part.1\": "),
                _ => verdict,
            };
            match verdict {
                Ok(()) => {
                    assert_eq!(result.code, 0, "{name} in {place}: {result:?}");
                    let entries = expected.as_array().unwrap();
                    let entry = entries.iter().find(|entry| entry["name"] == *name);
                    let files = entry.unwrap()["reference"]["destination"].as_object();
                    // `file 20000 bytes sha1 9601… mode 0644`
                    let description = text(files.unwrap().values().next().unwrap());
                    let fields: Vec<&str> = description.split(' ').collect();
                    let size: usize = fields[1].parse().unwrap();
                    let id = result.stdout.trim_end();
                    assert_eq!(sha1(&first_bytes(&scene, id, size)), fields[4], "{name}");
                }
                Err(why) => {
                    assert_eq!(result.code, 2, "{name} in {place}: {result:?}");
                    let last = result.stderr.lines().next_back().unwrap();
                    let is_told = last.contains(why) || last.contains(": its SHA-1 is");
                    assert!(is_told, "{name} in {place}: {last}");
                    assert_eq!(scene.aws.asked("CompleteSnapshot"), 0, "{name}");
                    let open = begun.iter().filter(|found| found.state != "completed");
                    assert_eq!(open.count(), 0, "{name}: {begun:?}");
                }
            }
            scene.assert_only(&[]);
        }
    }
}

/// The first bytes of a snapshot's volume.
fn first_bytes(scene: &Scene, snapshot: &str, size: usize) -> Vec<u8> {
    let path = scene.store().join("exported");
    let reading = end_to_end::ebs::Reading::Zeros;
    scene.aws.server.export(snapshot, &path, reading).unwrap();
    let mut bytes = vec![0; size];
    let file = fs::File::open(&path).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn an_image_of_gigabytes_takes_little_memory() {
    let scene = Scene::new();
    let source = golden("bundles/g-9gib");
    let arguments = create(&scene.put(&source), "user4096");
    let mut time = Command::new("/usr/bin/time");
    let _ = time.args(["-f", "%M"]);
    let command = scene.command(&words(&arguments, &[]));
    let result = outcome(run_by(&mut time, &command));
    assert_eq!(result.code, 0, "{result:?}");
    let last = result.stderr.lines().next_back().unwrap();
    let kib: u64 = last.parse().unwrap();
    assert!(kib < 160 << 10, "{kib} KiB");
}
