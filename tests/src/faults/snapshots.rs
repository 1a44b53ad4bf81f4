//! Scenes of `ec2-ami`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebs_server::BLOCK;

use super::local::work;
use super::scene::{Promise, Scene, has_only};
use crate::ebs::{self, Reading};
use crate::names;

/// Fails unless two files begin with the same blocks, as many as the first has.
fn begins_with(file: &Path, block: impl Fn(u32) -> Vec<u8>) -> Result<(), String> {
    let disk = File::open(file).unwrap();
    let count = disk.metadata().unwrap().len() / BLOCK as u64;
    let mut expected = vec![0; BLOCK];
    for index in 0..u32::try_from(count).unwrap() {
        let offset = u64::from(index) * BLOCK as u64;
        disk.read_exact_at(&mut expected, offset).unwrap();
        if block(index) != expected {
            return Err(format!("block {index} is another"));
        }
    }
    Ok(())
}

/// `ec2-ami create` of a disk image, each time with another name.
pub fn create() -> Scene {
    let ebs = Arc::new(ebs::Scene::new());
    let disk = ebs.disk("disk.img");
    let work = work();
    let target = work.path().join("target");
    let round = Arc::new(AtomicU64::new(0));
    let name = {
        let round = round.clone();
        move || format!("web {}", round.load(Ordering::Relaxed))
    };
    let (maker, path, new_name) = (ebs.clone(), disk.clone(), name.clone());
    Scene::new(
        "ec2-ami",
        "create",
        work,
        Promise::GoesOn,
        move || maker.command(&["create", &path, "--name", &new_name()]),
        move || {
            let name = name();
            let images = ebs.server.images();
            let mut images = images.iter().filter(|image| image.name == name);
            let image = images.next().ok_or("there is no AMI")?;
            if images.next().is_some() {
                return Err("there are two AMIs".to_owned());
            }
            let id = image.snapshots().next().ok_or("it has no snapshot")?;
            let pending = ebs.server.snapshots().into_iter();
            let pending: Vec<_> = pending.filter(|found| found.state != "completed").collect();
            let noted = names(&ebs.journals());
            if !pending.is_empty() || !noted.is_empty() {
                return Err(format!("left: {pending:?}, {noted:?}"));
            }
            let block = |index| ebs.server.block(id, index, Reading::Zeros).unwrap();
            begins_with(Path::new(&disk), block)
        },
    )
    .with_target(target, move || {
        let _ = round.fetch_add(1, Ordering::Relaxed);
    })
}

/// `ec2-ami fetch` to an empty folder.
pub fn fetch() -> Scene {
    const NAME: &str = "back.img";
    let ebs = ebs::Scene::new();
    let disk = ebs.disk("disk.img");
    let made = ebs.ok(&["create", &disk, "--snapshot-only"]);
    let snapshot = made.stdout.trim_end().to_owned();
    let work = work();
    let target = work.path().join("target");
    let file = target.join(NAME);
    let to = file.to_str().unwrap().to_owned();
    Scene::new(
        "ec2-ami",
        "fetch",
        work,
        Promise::Resumes,
        move || ebs.command(&["fetch", &snapshot, &to]),
        move || {
            has_only(&target, &[NAME.to_owned()])?;
            let back = File::open(&file).unwrap();
            if back.metadata().unwrap().len() != 1 << 30 {
                return Err("it is too short".to_owned());
            }
            begins_with(Path::new(&disk), |index| {
                let mut block = vec![0; BLOCK];
                let offset = u64::from(index) * BLOCK as u64;
                back.read_exact_at(&mut block, offset).unwrap();
                block
            })
        },
    )
}
