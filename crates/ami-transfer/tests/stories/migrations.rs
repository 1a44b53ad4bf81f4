//! Migrating a bundle and a manifest, without EC2.

use std::fs;
use std::path::Path;

use ami_s3::Acl;
use ami_transfer::*;

use crate::scene::*;

/// The keys of the bundles' user. EC2 is not needed.
fn migration(boot_images: BootImages) -> Migration<'static> {
    Migration {
        certificate: golden("keys/user2048.crt"),
        private_key: golden("keys/user2048.key"),
        find_ec2_certificate: &|_| Ok(None),
        boot_images,
        maps_boot_images: false,
        additional_region: None,
    }
}

#[test]
fn a_bundle_is_migrated_to_a_bucket_that_is_created_when_all_parts_have_been_seen() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let _ = block_on(upload(&scene.upload("bucket.one"), &observer)).unwrap();
    let _ = observer.told();
    let request = || MigrateBundle {
        s3: scene.settings(),
        source: "bucket.one".parse().unwrap(),
        destination: "bucket.two".parse().unwrap(),
        location: None,
        manifest: "image.manifest.xml".to_owned(),
        region: None,
        acl: Acl::AwsExecRead,
        migration: migration(BootImages::default()),
        parallel: 3,
        older_folder: scene.work.path().join("older"),
    };
    let lost = scene.store.path().join("bucket.one/image.part.07");
    let kept = scene.work.path().join("kept");
    fs::rename(&lost, &kept).unwrap();
    let error = block_on(migrate_bundle(&request(), &observer)).unwrap_err();
    assert!(
        matches!(&error, Error::S3(error) if error.is_not_found()),
        "{error}"
    );
    assert!(!observer.told().contains(&"CreatingBucket".to_owned()));
    assert!(!scene.store.path().join("bucket.two").exists());

    fs::rename(&kept, &lost).unwrap();
    let migrated = block_on(migrate_bundle(&request(), &observer)).unwrap();
    let expected = MigratedBundle {
        manifest: "bucket.two/image.manifest.xml".to_owned(),
        region: "us-east-1".to_owned(),
        bucket_created: true,
        copied: parts(),
    };
    assert_eq!(migrated, expected);
    let told = observer.told();
    assert_eq!(told[0], "CreatingBucket");
    assert_eq!(told[1], "GuessedRegion { region: Some(\"us-east-1\") }");
    assert!(told[2].starts_with("GettingManifest"));
    let copying = told.iter().filter(|told| told.starts_with("Copying"));
    let expected = parts();
    let expected = expected
        .iter()
        .map(|part| format!("Copying {{ part: {part:?} }}"));
    assert!(copying.eq(&expected.collect::<Vec<_>>()));
    assert!(told.last().unwrap().starts_with("Complete"));
    assert_eq!(scene.stored("bucket.two"), all_files());

    fs::create_dir(scene.work.path().join("older")).unwrap();
    let error = block_on(migrate_bundle(&request(), &observer)).unwrap_err();
    assert!(matches!(error, Error::WorkFolder(_)), "{error}");
}

#[test]
fn a_manifest_is_migrated_only_if_the_user_continues() {
    let (work, observer) = (tempfile::tempdir().unwrap(), Recorder::default());
    let case = golden("bundles/migrated/remove-both");
    let read = |path: &Path| fs::read(path).unwrap();
    let manifest = work.path().join("m.manifest.xml");
    let backup = work.path().join("m.manifest.xml.bak");
    let (before, after) = ("before.manifest.xml", "after.manifest.xml");
    let _ = fs::copy(case.join(before), &manifest).unwrap();
    let migrate = || {
        let request = MigrateManifest {
            manifest: manifest.clone(),
            region: None,
            migration: migration(BootImages::default()),
            identity: &|| panic!("EC2 is not asked"),
        };
        block_on(migrate_manifest(&request, &observer))
    };
    let told = [
        "BackingUp".to_owned(),
        "BootImagesRemoved { ids: [\"aki-1a2b3c4d\", \"ari-5e6f7a8b\"] }".to_owned(),
        "Continue?".to_owned(),
    ];
    observer.answers.borrow_mut().push(false);
    assert!(matches!(migrate(), Err(Error::Declined)));
    assert_eq!(observer.told(), told);
    assert!(read(&manifest) == read(&case.join(before)) && !backup.exists());

    observer.answers.borrow_mut().push(true);
    let migrated = migrate().unwrap();
    assert_eq!(observer.told(), told);
    assert_eq!((migrated.kernel_id, migrated.ramdisk_id), (None, None));
    assert!(read(&manifest) == read(&case.join(after)));
    assert!(read(&backup) == read(&case.join(before)));

    fs::write(&backup, b"another").unwrap();
    assert!(matches!(migrate(), Err(Error::BackupExists(path)) if path == backup));
}
