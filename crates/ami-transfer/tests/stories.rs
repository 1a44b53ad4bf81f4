//! The stories themselves, against a server and an observer in memory: what is told and in which order, what is asked, and that a story
//! ends where its observer or its caller ends it.

use std::cell::RefCell;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use ami_aws::Identity;
use ami_s3::{Acl, Endpoint, Settings, Signature};
use s3_server::{ACCESS_KEY, SECRET_KEY};
use tempfile::TempDir;
use tokio::sync::Notify;

use ami_transfer::*;

/// Remembers what it is told, and gives the answers that it has been given.
#[derive(Default)]
struct Recorder {
    told: RefCell<Vec<String>>,
    /// To questions, the next one last.
    answers: RefCell<Vec<bool>>,
    /// Ends the story when an event begins so.
    stops_at: Option<&'static str>,
    /// Is notified when an event begins so.
    notifies_at: Option<&'static str>,
    notify: Notify,
}

impl Recorder {
    fn note(&self, text: String) {
        self.told.borrow_mut().push(text);
    }

    fn told(&self) -> Vec<String> {
        self.told.take()
    }
}

impl Observer for Recorder {
    fn tell(&self, event: Event) -> Result<(), Stopped> {
        let text = match event {
            Event::Begin { bytes, files, .. } => format!("Begin {bytes} {files}"),
            event => format!("{event:?}"),
        };
        let begins = |with: Option<&str>| with.is_some_and(|with| text.starts_with(with));
        let (stops, notifies) = (begins(self.stops_at), begins(self.notifies_at));
        self.note(text);
        if notifies {
            self.notify.notify_one();
        }
        if stops { Err(Stopped) } else { Ok(()) }
    }

    fn agrees(&self, question: Question<'_>) -> Result<bool, Stopped> {
        self.note(format!("{question:?}?"));
        self.answers.borrow_mut().pop().ok_or(Stopped)
    }
}

/// A server with an empty store of its own, and a folder to work in.
struct Scene {
    url: String,
    store: TempDir,
    work: TempDir,
}

const PARTS: usize = 12;

impl Scene {
    fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        let address = s3_server::serve(store.path(), 0);
        Self {
            url: format!("http://{address}"),
            store,
            work: tempfile::tempdir().unwrap(),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            identity: Identity::Given {
                access_key: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned().into(),
                token: None,
            },
            region: None,
            endpoint: Some(Endpoint::Server(self.url.clone())),
            signature: Signature::V4,
            retry: false,
        }
    }

    fn upload(&self, bucket: &str) -> Upload {
        Upload {
            s3: self.settings(),
            bucket: bucket.parse().unwrap(),
            location: None,
            manifest: bundle().join("image.manifest.xml"),
            folder: None,
            acl: Acl::AwsExecRead,
            parts_left_out: 0,
            leaves_out_manifest: false,
            resumes: false,
            parallel: 3,
            warns_of_region: false,
        }
    }

    fn download(&self, bucket: &str) -> Download {
        Download {
            s3: self.settings(),
            bucket: bucket.parse().unwrap(),
            manifest: "image.manifest.xml".to_owned(),
            private_key: golden("keys/user2048.key"),
            folder: self.work.path().to_owned(),
            resumes: true,
            keeps_damaged: false,
            parallel: 3,
        }
    }

    fn delete(&self, bucket: &str) -> Delete {
        Delete {
            s3: self.settings(),
            bucket: bucket.parse().unwrap(),
            files: BundleFiles::NamedBy(bundle().join("image.manifest.xml")),
            asks: true,
            deletes_bucket: true,
            parallel: 3,
        }
    }

    /// The files of a bundle that the bucket has.
    fn stored(&self, bucket: &str) -> Vec<String> {
        files_in(&self.store.path().join(bucket))
    }
}

/// Twelve parts.
fn bundle() -> PathBuf {
    golden("bundles/unbundle-variants/small-parts-12")
}

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/golden")
        .join(path)
}

fn files_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("image."))
        .collect();
    names.sort();
    names
}

fn parts() -> Vec<String> {
    (0..PARTS)
        .map(|part| format!("image.part.{part:02}"))
        .collect()
}

/// The manifest and the parts.
fn all_files() -> Vec<String> {
    let manifest = std::iter::once("image.manifest.xml".to_owned());
    manifest.chain(parts()).collect()
}

fn block_on<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(story)
}

/// What is told of an upload to a new bucket.
fn told_of_upload(bucket: &str) -> Vec<String> {
    let size: u64 = parts()
        .iter()
        .map(|part| bundle().join(part).metadata().unwrap().len())
        .sum();
    let mut told = vec![
        "CreatingBucket".to_owned(),
        format!("SendingParts {{ bucket: {bucket:?} }}"),
        format!("Begin {size} {PARTS}"),
    ];
    for (index, part) in parts().iter().enumerate() {
        told.push(format!("FilesDone({})", index + 1));
        told.push(format!("Sent {{ part: {part:?} }}"));
    }
    told.extend([
        "End".to_owned(),
        "SendingManifest".to_owned(),
        format!("Complete {{ location: \"{bucket}/image.manifest.xml\" }}"),
    ]);
    told
}

#[test]
fn an_upload_tells_in_the_order_of_the_parts_and_sends_the_manifest_last() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let uploaded = block_on(upload(&scene.upload("bucket.one"), &observer)).unwrap();
    assert_eq!(observer.told(), told_of_upload("bucket.one"));
    assert_eq!(scene.stored("bucket.one"), all_files());
    let expected = Uploaded {
        manifest: Some("bucket.one/image.manifest.xml".to_owned()),
        region: "us-east-1".to_owned(),
        bucket_created: true,
        uploaded: parts(),
        skipped: Vec::new(),
    };
    assert_eq!(uploaded, expected);

    let again = Upload {
        resumes: true,
        parts_left_out: 2,
        leaves_out_manifest: true,
        ..scene.upload("bucket.one")
    };
    let uploaded = block_on(upload(&again, &observer)).unwrap();
    let expected = Uploaded {
        manifest: None,
        bucket_created: false,
        uploaded: Vec::new(),
        skipped: parts(),
        ..expected
    };
    assert_eq!(uploaded, expected);
    let told = observer.told();
    assert_eq!(told[3], "Skipped { part: \"image.part.00\" }");
    assert_eq!(told.last().unwrap(), "ManifestLeftOut");
}

#[test]
fn a_damaged_part_is_found_before_anything_is_sent() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    for file in all_files() {
        let _ = fs::copy(bundle().join(&file), scene.work.path().join(&file)).unwrap();
    }
    fs::write(scene.work.path().join("image.part.11"), b"damaged").unwrap();
    let request = Upload {
        manifest: scene.work.path().join("image.manifest.xml"),
        ..scene.upload("bucket.one")
    };
    let error = block_on(upload(&request, &observer)).unwrap_err();
    assert!(
        matches!(error, Error::Files(ami_parts::Error::Digest { .. })),
        "{error}"
    );
    assert_eq!(observer.told(), Vec::<String>::new());
    assert!(!scene.store.path().join("bucket.one").exists());
}

#[test]
fn a_download_announces_each_part_when_those_before_it_are_there() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let _ = block_on(upload(&scene.upload("bucket.one"), &observer)).unwrap();
    let _ = observer.told();
    let downloaded = block_on(download(&scene.download("bucket.one"), &observer)).unwrap();
    let folder = scene.work.path();
    let told = observer.told();
    assert_eq!(told.len(), 3 + 3 * PARTS);
    assert!(
        told[0]
            .starts_with("GettingManifest { bucket: \"bucket.one\", key: \"image.manifest.xml\"")
    );
    let getting = |part: &str| {
        let path = folder.join(part);
        format!("Getting {{ key: {part:?}, path: {path:?} }}")
    };
    assert_eq!(told[2], getting("image.part.00"));
    let got = format!(
        "Got {{ part: {:?}, bucket: \"bucket.one\" }}",
        "image.part.00"
    );
    assert_eq!(
        told[3..6],
        ["FilesDone(1)".to_owned(), got, getting("image.part.01")]
    );
    assert_eq!(told.last().unwrap(), "End");
    assert_eq!(files_in(folder), all_files());
    let expected = Downloaded {
        manifest: folder.join("image.manifest.xml"),
        downloaded: parts(),
        skipped: Vec::new(),
        damaged: Vec::new(),
    };
    assert_eq!(downloaded, expected);
    for file in all_files() {
        assert!(fs::read(folder.join(&file)).unwrap() == fs::read(bundle().join(&file)).unwrap());
    }
    // What is there is not downloaded again.
    let downloaded = block_on(download(&scene.download("bucket.one"), &observer)).unwrap();
    assert_eq!(
        (downloaded.downloaded, downloaded.skipped),
        (Vec::new(), parts())
    );
}

#[test]
fn a_manifest_is_not_downloaded_to_a_hidden_file_nor_over_the_key() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let hidden = Download {
        manifest: ".profile".to_owned(),
        ..scene.download("bucket.one")
    };
    let error = block_on(download(&hidden, &observer)).unwrap_err();
    assert!(
        matches!(error, Error::Name(NameError::HiddenManifest(_))),
        "{error}"
    );
    let key = scene.work.path().join("image.manifest.xml");
    fs::write(&key, b"a key").unwrap();
    let request = Download {
        private_key: key.clone(),
        ..scene.download("bucket.one")
    };
    let error = block_on(download(&request, &observer)).unwrap_err();
    assert!(matches!(error, Error::Name(NameError::IsKey(path)) if path == key));
}

#[test]
fn a_deletion_asks_first_and_begins_with_the_manifest() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let _ = block_on(upload(&scene.upload("bucket.one"), &observer)).unwrap();
    let _ = observer.told();
    observer.answers.replace(vec![false]);
    let deleted = block_on(delete(&scene.delete("bucket.one"), &observer)).unwrap();
    let shown = format!("ToDelete {{ files: {:?} }}", all_files());
    assert_eq!(observer.told(), [shown.clone(), "Delete?".to_owned()]);
    assert_eq!(deleted, Deleted::default());
    assert_eq!(scene.stored("bucket.one"), all_files());

    observer.answers.replace(vec![true]);
    let request = Delete {
        deletes_bucket: false,
        ..scene.delete("bucket.one")
    };
    let deleted = block_on(delete(&request, &observer)).unwrap();
    let gone = all_files().into_iter();
    let gone = gone.map(|file| format!("Deleted {{ file: {file:?} }}"));
    let told: Vec<String> = [shown, "Delete?".to_owned()]
        .into_iter()
        .chain(gone)
        .collect();
    assert_eq!(observer.told(), told);
    assert_eq!(deleted.deleted, all_files());
    assert_eq!(scene.stored("bucket.one"), Vec::<String>::new());
}

#[test]
fn many_stories_run_at_once_and_each_tells_its_own_observer() {
    let scene = Scene::new();
    let names = ["bucket.one", "bucket.two", "bucket.three"];
    let observers: Vec<Recorder> = names.iter().map(|_| Recorder::default()).collect();
    block_on(async {
        let requests = names.map(|name| scene.upload(name));
        let (one, two, three) = tokio::join!(
            upload(&requests[0], &observers[0]),
            upload(&requests[1], &observers[1]),
            upload(&requests[2], &observers[2]),
        );
        for result in [one, two, three] {
            assert!(result.unwrap().bucket_created);
        }
    });
    for (name, observer) in names.iter().zip(&observers) {
        assert_eq!(observer.told(), told_of_upload(name));
        assert_eq!(scene.stored(name), all_files());
    }
}

#[test]
fn an_observer_ends_a_story() {
    let scene = Scene::new();
    let observer = Recorder {
        stops_at: Some("Sent"),
        ..Recorder::default()
    };
    let error = block_on(upload(&scene.upload("bucket.one"), &observer)).unwrap_err();
    assert!(matches!(error, Error::Stopped(Stopped)), "{error}");
    let told = observer.told();
    assert_eq!(told[..5], told_of_upload("bucket.one")[..5]);
    assert_eq!(told[5..], ["End".to_owned()]);
    assert!(
        !scene
            .stored("bucket.one")
            .contains(&"image.manifest.xml".to_owned())
    );
}

#[test]
fn a_story_that_is_dropped_sends_no_manifest() {
    let scene = Scene::new();
    let observer = Recorder {
        notifies_at: Some("FilesDone(3)"),
        ..Recorder::default()
    };
    let request = scene.upload("bucket.one");
    block_on(async {
        tokio::select! {
            biased;
            () = observer.notify.notified() => {}
            result = upload(&request, &observer) => panic!("it was not dropped: {result:?}"),
        }
    });
    let told = observer.told();
    assert!(!told.contains(&"SendingManifest".to_owned()));
    assert!(
        !scene
            .stored("bucket.one")
            .contains(&"image.manifest.xml".to_owned())
    );
}

#[test]
fn the_manifest_of_an_older_bundle_goes_before_a_part_of_it_is_replaced() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let _ = block_on(upload(&scene.upload("bucket.one"), &observer)).unwrap();
    let _ = observer.told();
    // The same names with other digests.
    let older = scene.store.path().join("bucket.one/image.manifest.xml");
    let text = fs::read_to_string(&older).unwrap();
    let digests = text.replace("0</digest>", "1</digest>");
    assert_ne!(digests, text);
    fs::write(&older, digests).unwrap();
    let request = Upload {
        leaves_out_manifest: true,
        ..scene.upload("bucket.one")
    };
    let _ = block_on(upload(&request, &observer)).unwrap();
    let told = observer.told();
    let location = "{ location: \"bucket.one/image.manifest.xml\" }";
    assert_eq!(
        told.iter()
            .filter(|told| **told == format!("OlderGoes {location}"))
            .count(),
        1
    );
    assert_eq!(*told.last().unwrap(), format!("OlderDeleted {location}"));
    assert_eq!(scene.stored("bucket.one"), parts());
}

/// The keys of the bundles' user; EC2 is not asked.
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
    observer.answers.replace(vec![false]);
    assert!(matches!(migrate(), Err(Error::Declined)));
    assert_eq!(observer.told(), told);
    assert!(read(&manifest) == read(&case.join(before)) && !backup.exists());

    observer.answers.replace(vec![true]);
    let migrated = migrate().unwrap();
    assert_eq!(observer.told(), told);
    assert_eq!((migrated.kernel_id, migrated.ramdisk_id), (None, None));
    assert!(read(&manifest) == read(&case.join(after)));
    assert!(read(&backup) == read(&case.join(before)));

    fs::write(&backup, b"another").unwrap();
    assert!(matches!(migrate(), Err(Error::BackupExists(path)) if path == backup));
}
