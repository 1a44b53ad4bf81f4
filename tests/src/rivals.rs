//! Runs that publish the same bundle in the same folder at the same time, some of which are killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ami_manifest::ParsedManifest;

use crate::images::incompressible;
use crate::injection::injected;
use crate::mounts::Mount;
use crate::traces::assert_no_trace;
use crate::{bundle, bundling, command, folder, names, sha1};

/// The sizes of the images in bytes, which distinguish their bundles: they have 1, 2, 3 and 2 parts. The first one is the older bundle's.
const SIZES: [usize; 4] = [3 << 20, 12 << 20, 22 << 20, 11 << 20];

/// Where a run can be killed while it publishes and before its bundle is complete: a system call, and how often it is made until then.
/// `renameat` moves the journal and older files, `renameat2` gives new files their names; the last of eight syncs comes after the
/// manifest.
const MOMENTS: [(&str, u64); 3] = [("renameat", 4), ("renameat2", 2), ("fsync", 7)];

/// The images, and what a round needs.
#[derive(Debug)]
pub struct Rivals {
    images: Vec<PathBuf>,
    older: PathBuf,
    _work: tempfile::TempDir,
}

/// The result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// How many runs were killed before their end.
    pub killed: usize,
}

impl Rivals {
    /// Makes the images, and the older bundle.
    pub fn prepare() -> Self {
        let work = folder();
        let images: Vec<PathBuf> = (0..SIZES.len())
            .map(|index| work.path().join(index.to_string()))
            .collect();
        for (image, size) in images.iter().zip(SIZES) {
            incompressible(image, size);
        }
        let older = work.path().join("older");
        fs::create_dir(&older).unwrap();
        let _ = bundle(&images[0], &older, &["-p", "image"]);
        Self {
            images,
            older,
            _work: work,
        }
    }

    fn run(&self, image: usize, destination: &Path) -> Command {
        let mut arguments = bundling(&self.images[image], destination);
        arguments.extend(["-p", "image", "--threads", "1"].map(str::to_owned));
        command("ec2-bundle-image", &arguments)
    }
}

/// Starts three runs of one name in one folder, two of which are killed while they publish, if they get that far. Waits for the sweepers,
/// and fails unless the folder has exactly the whole bundle of the last successful run. The same `seed` chooses the same calls for the
/// kills.
pub fn round(rivals: &Rivals, seed: u64) -> Round {
    let destination = folder();
    for name in names(&rivals.older) {
        let _ = fs::copy(rivals.older.join(&name), destination.path().join(&name)).unwrap();
    }
    let mut children: Vec<(usize, Child)> = [1, 2, 3]
        .into_iter()
        .map(|image| {
            let run = rivals.run(image, destination.path());
            let number = seed * 2 + image as u64;
            let (call, most) = MOMENTS[number as usize % MOMENTS.len()];
            let when = number / MOMENTS.len() as u64 % most + 1;
            let mut run = match image {
                3 => run,
                _ => injected(&run, &format!("{call}:signal=SIGKILL:when={when}")),
            };
            let child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            (image, child.unwrap())
        })
        .collect();
    let mut succeeded = Vec::new();
    let mut killed = 0;
    for (image, child) in children.drain(..) {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            succeeded.push(SIZES[image] as u64);
        } else {
            assert!(
                output.status.code().is_none() && image != 3,
                "round {seed}: {image}: {said}"
            );
            killed += 1;
        }
    }
    assert_no_trace(destination.path());
    let size = whole_bundle(destination.path(), "image");
    assert!(
        succeeded.contains(&size),
        "round {seed}: the bundle is that of {size}, not of one of {succeeded:?}"
    );
    Round { killed }
}

/// Fails unless the folder has exactly this bundle, whole. Returns the size of the bundle's image in bytes.
pub fn whole_bundle(folder: &Path, name: &str) -> u64 {
    let manifest = format!("{name}.manifest.xml");
    let parsed = ParsedManifest::load(&folder.join(&manifest)).unwrap();
    let image = parsed.manifest.image;
    let mut expected = vec![manifest];
    for part in &image.parts {
        let bytes = fs::read(folder.join(&part.filename)).unwrap();
        assert_eq!(sha1(&bytes), part.digest.to_string(), "{}", part.filename);
        expected.push(part.filename.clone());
    }
    expected.sort();
    assert_eq!(names(folder), expected);
    image.size
}

/// A small ext4 volume with a file in it.
pub fn small_volume() -> Mount {
    let volume = Mount::new("20M", "mkfs.ext4 -q");
    fs::write(volume.path().join("file"), "text").unwrap();
    volume
}
