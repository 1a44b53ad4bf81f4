//! Scenes of the commands that only use files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::scene::{BUNDLE, Promise, Scene, copy, element, has_only, verify};
use crate::images::{incompressible, noise, sparse};
use crate::mounts::Mount;
use crate::s3::small_parts;
use crate::volumes::{differences, fill};
use crate::{bundle, bundling, bundling_volume, command, key, names, sha256};

/// Larger than one part.
const IMAGE_SIZE: usize = 12 << 20;

/// A folder for a scene, with an empty folder `before`.
pub fn work() -> TempDir {
    let work = crate::folder();
    fs::create_dir(work.path().join("before")).unwrap();
    work
}

/// The same, with a bundle of twelve parts that has the new one's name.
fn work_with_longer() -> TempDir {
    let work = work();
    let before = work.path().join("before");
    let all = names(&small_parts()).into_iter();
    for name in all.filter(|name| name.starts_with(&format!("{BUNDLE}."))) {
        let _ = fs::copy(small_parts().join(&name), before.join(&name)).unwrap();
    }
    work
}

/// The same, with a bundle of two parts, as many as [`source`] has, under the same name.
pub fn work_with_twin() -> TempDir {
    let work = work();
    let images = crate::folder();
    let image = images.path().join(BUNDLE);
    fs::write(&image, noise(IMAGE_SIZE, 99)).unwrap();
    let _ = bundle(&image, &work.path().join("before"), &[]);
    work
}

/// A bundle of two parts in `work/source`, and its image in `work/image`.
pub fn source(work: &Path) -> PathBuf {
    let image = work.join(BUNDLE);
    incompressible(&image, IMAGE_SIZE);
    let source = work.join("source");
    fs::create_dir(&source).unwrap();
    let _ = bundle(&image, &source, &[]);
    source
}

/// The names of a bundle of two parts.
pub fn two_parts() -> Vec<String> {
    ["manifest.xml", "part.0", "part.1"]
        .map(|end| format!("{BUNDLE}.{end}"))
        .into()
}

fn with_paths(name: &str, paths: &[(&str, &Path)]) -> Command {
    let mut command = command::<&str>(name, &[]);
    for (option, path) in paths {
        let _ = command.arg(option).arg(path);
    }
    command
}

/// `ec2-bundle-image` to a folder with or without an older bundle of the name.
pub fn bundle_image(older_bundle: bool) -> Scene {
    let work = if older_bundle {
        work_with_longer()
    } else {
        work()
    };
    let source = source(work.path());
    let digest = element(&source.join("image.manifest.xml"), "digest");
    let (image, target) = (work.path().join(BUNDLE), work.path().join("target"));
    let arguments = bundling(&image, &target);
    Scene::new(
        "ec2-bundle-image",
        if older_bundle {
            "over an older bundle"
        } else {
            "into an empty folder"
        },
        work,
        Promise::AllOrNothing,
        move || command("ec2-bundle-image", &arguments),
        move || {
            has_only(&target, &two_parts())?;
            let manifest = target.join("image.manifest.xml");
            verify(&manifest)?;
            let found = element(&manifest, "digest");
            let is_same = found == digest;
            is_same.then_some(()).ok_or("it is of another image".into())
        },
    )
}

/// `ec2-unbundle` to a folder with or without an older image of the name.
pub fn unbundle(older_image: bool) -> Scene {
    let work = work();
    let source = source(work.path());
    if older_image {
        let old = work.path().join("before").join(BUNDLE);
        fs::write(old, noise(100_000, 3)).unwrap();
    }
    let digest = sha256(&work.path().join(BUNDLE));
    let target = work.path().join("target");
    let destination = target.clone();
    Scene::new(
        "ec2-unbundle",
        if older_image {
            "over an older image"
        } else {
            "into an empty folder"
        },
        work,
        Promise::AllOrNothing,
        move || {
            let paths: [(&str, &Path); 4] = [
                ("-k", &key("user2048.key")),
                ("-m", &source.join("image.manifest.xml")),
                ("-s", &source),
                ("-d", &destination),
            ];
            with_paths("ec2-unbundle", &paths)
        },
        move || {
            has_only(&target, &[BUNDLE.to_owned()])?;
            let is_same = sha256(&target.join(BUNDLE)) == digest;
            is_same.then_some(()).ok_or("it is another image".into())
        },
    )
}

/// `ec2-verify-bundle` of a bundle that is undamaged, or whose last part has a changed byte.
pub fn verify_bundle(is_whole: bool) -> Scene {
    let work = work();
    let source = source(work.path());
    let before = work.path().join("before");
    copy(&source, &before);
    if !is_whole {
        let last = before.join("image.part.1");
        let mut bytes = fs::read(&last).unwrap();
        bytes[1000] ^= 1;
        fs::write(&last, bytes).unwrap();
    }
    let target = work.path().join("target");
    let destination = target.clone();
    let (state, promise) = if is_whole {
        ("of a whole bundle", Promise::AllOrNothing)
    } else {
        ("of a spoilt bundle", Promise::NeverSucceeds)
    };
    Scene::new(
        "ec2-verify-bundle",
        state,
        work,
        promise,
        move || {
            let paths: [(&str, &Path); 3] = [
                ("-k", &key("user2048.key")),
                ("-c", &key("user2048.crt")),
                ("-m", &destination.join("image.manifest.xml")),
            ];
            with_paths("ec2-verify-bundle", &paths)
        },
        move || has_only(&target, &two_parts()),
    )
}

/// `ec2-migrate-manifest` to another kernel.
pub fn migrate_manifest() -> Scene {
    let work = work_with_longer();
    let (target, before) = (work.path().join("target"), work.path().join("before"));
    let destination = target.clone();
    let mut expected = names(&before);
    expected.push("image.manifest.xml.bak".to_owned());
    Scene::new(
        "ec2-migrate-manifest",
        "beside its parts",
        work,
        Promise::BacksUp,
        move || {
            let paths: [(&str, &Path); 4] = [
                ("-k", &key("user2048.key")),
                ("-c", &key("user2048.crt")),
                ("--ec2cert", &key("ec2.crt")),
                ("-m", &destination.join("image.manifest.xml")),
            ];
            let mut command = with_paths("ec2-migrate-manifest", &paths);
            let _ = command.args(["--no-mapping", "--kernel", "aki-12345678"]);
            command
        },
        move || {
            has_only(&target, &expected)?;
            let manifest = target.join("image.manifest.xml");
            verify(&manifest)?;
            let is_new = fs::read_to_string(&manifest)
                .unwrap()
                .contains("<kernel_id>aki-12345678<");
            let old = fs::read(before.join("image.manifest.xml")).unwrap();
            let is_kept = fs::read(target.join("image.manifest.xml.bak")).unwrap() == old;
            let is_right = is_new && is_kept;
            is_right
                .then_some(())
                .ok_or(format!("new: {is_new}, old one kept: {is_kept}"))
        },
    )
}

/// `ec2-create-signing-cert`.
pub fn create_signing_cert() -> Scene {
    let work = work();
    let target = work.path().join("target");
    let destination = target.clone();
    let image = work.path().join(BUNDLE);
    sparse(&image, 1000, &[(0, 1000)]);
    Scene::new(
        "ec2-create-signing-cert",
        "into an empty folder",
        work,
        Promise::AllOrNothing,
        move || with_paths("ec2-create-signing-cert", &[("-d", &destination)]),
        move || {
            let names = ["cert-ec2-ami-tools.pem", "pk-ec2-ami-tools.pem"];
            has_only(&target, &names.map(str::to_owned))?;
            // Bundling refuses a certificate that does not belong to the key.
            let out = crate::folder();
            let mut arguments = bundling(&image, out.path());
            arguments[1] = target.join(names[1]).display().to_string();
            arguments[3] = target.join(names[0]).display().to_string();
            let bundled = crate::run("ec2-bundle-image", &arguments);
            let is_usable = bundled.code == 0;
            is_usable
                .then_some(())
                .ok_or(format!("no bundle with the pair: {bundled:?}"))
        },
    )
}

/// `ec2-bundle-vol` of a small volume to a folder with an older bundle, or with a script and to an empty folder.
pub fn bundle_volume(older_bundle: bool) -> Scene {
    let work = if older_bundle {
        work_with_longer()
    } else {
        work()
    };
    let volume = Mount::new("32M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let target = work.path().join("target");
    let mut arguments = bundling_volume(&volume.path(), &target);
    let script = work.path().join("script");
    fs::write(&script, "#!/bin/sh\nchmod 755 \"$1/etc\"\n").unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    if !older_bundle {
        arguments.extend(["--script".to_owned(), script.display().to_string()]);
    }
    Scene::new(
        "ec2-bundle-vol",
        if older_bundle {
            "over an older bundle"
        } else {
            "with a script, into an empty folder"
        },
        work,
        Promise::AllOrNothing,
        move || command("ec2-bundle-vol", &arguments),
        move || {
            let names = ["image", "image.manifest.xml", "image.part.0"];
            has_only(&target, &names.map(str::to_owned))?;
            verify(&target.join("image.manifest.xml"))?;
            let different = differences(&volume.path(), &target.join(BUNDLE));
            let is_same = different.is_empty();
            is_same.then_some(()).ok_or(different)
        },
    )
}
