//! Bundling straight to S3.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ami_bundle::{BundlePlan, BundleRequest, Level};
use ami_manifest::{MachineConfiguration, ParsedManifest};
use ami_s3::Acl;
use ami_transfer::*;

use crate::scene::*;

const BUCKET: &str = "bucket.one";
const MANIFEST: &str = "image.manifest.xml";

/// The size of an image that makes three parts.
const SIZE: usize = 25 << 20;

/// An image that cannot be compressed.
fn image(scene: &Scene) -> PathBuf {
    let path = scene.work.path().join("image");
    let mut state = 1_u64;
    let bytes = (0..SIZE / 8).flat_map(|_| {
        // Xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    fs::write(&path, bytes.collect::<Vec<u8>>()).unwrap();
    path
}

fn request(scene: &Scene) -> BundleToS3 {
    let image = image(scene);
    let plan = BundlePlan::new(BundleRequest {
        image: image.clone(),
        name: None,
        certificate: golden("keys/user2048.crt"),
        key: golden("keys/user2048.key"),
        ec2_certificate: Ok(golden("keys/ec2.crt")),
        user: "123456789012".to_owned(),
        machine: MachineConfiguration {
            architecture: "x86_64".to_owned(),
            block_device_mapping: [].into(),
            kernel_id: None,
            ramdisk_id: None,
            product_codes: Vec::new(),
        },
        ancestry: Vec::new(),
        level: Level::default(),
        checks_sizes: true,
    });
    BundleToS3 {
        place: Place {
            s3: scene.settings(),
            bucket: BUCKET.parse().unwrap(),
            location: None,
            acl: Acl::AwsExecRead,
        },
        image,
        plan: plan.unwrap(),
        threads: NonZeroUsize::MIN,
        when_read: None,
    }
}

fn parts() -> Vec<String> {
    (0..3).map(|part| format!("image.part.{part}")).collect()
}

/// Notices events of its own, and raises a flag at the first that begins so.
struct Interrupter {
    at: &'static str,
    flag: AtomicBool,
}

impl Observer for Interrupter {
    fn tell(&self, event: Event) -> Result<(), Stopped> {
        if format!("{event:?}").starts_with(self.at) {
            self.flag.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn agrees(&self, _: Question<'_>) -> Result<bool, Stopped> {
        Ok(false)
    }
}

#[test]
fn the_manifest_comes_last_and_names_the_parts() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let flag = AtomicBool::new(false);
    let place = request(&scene).place;
    let found = block_on(look_at_place(&place, "image", &flag, &observer)).unwrap();
    let expected = PlaceFound {
        region: "us-east-1".to_owned(),
        exists: false,
        older: Some(Vec::new()),
    };
    assert_eq!(found, expected);

    let bundled = block_on(bundle_to_s3(request(&scene), &flag, &observer)).unwrap();
    let location = format!("{BUCKET}/{MANIFEST}");
    assert_eq!(bundled.manifest, location);
    assert_eq!(
        (&*bundled.region, bundled.bucket_created),
        ("us-east-1", true)
    );
    assert_eq!(bundled.bundled.size, SIZE as u64);
    let told = [
        "CreatingBucket".to_owned(),
        format!("Bundling {{ bytes: {SIZE}, read: 0 }}"),
        "SendingManifest".to_owned(),
        format!("Complete {{ location: {location:?} }}"),
        "End".to_owned(),
    ];
    assert_eq!(observer.told(), told);

    let store = scene.store.path().join(BUCKET);
    let manifest = ParsedManifest::parse(&fs::read(store.join(MANIFEST)).unwrap()).unwrap();
    let named = manifest.manifest.image.parts.into_iter();
    let named: Vec<String> = named.map(|part| part.filename).collect();
    assert_eq!(named, parts());
    let mut all = vec![MANIFEST.to_owned()];
    all.extend(parts());
    assert_eq!(scene.stored(BUCKET), all);

    let found = block_on(look_at_place(&place, "image", &flag, &observer)).unwrap();
    let expected = PlaceFound {
        exists: true,
        older: Some(all.clone()),
        ..expected
    };
    assert_eq!(found, expected);
    let again = block_on(bundle_to_s3(request(&scene), &flag, &observer)).unwrap();
    assert!(!again.bucket_created);
    let goes = format!("OlderGoes {{ location: {location:?} }}");
    assert_eq!(
        observer.told().iter().filter(|told| **told == goes).count(),
        1
    );
    assert_eq!(scene.stored(BUCKET), all);
}

#[test]
fn an_interruption_leaves_nothing_at_any_moment() {
    for at in ["CreatingBucket", "Bundling"] {
        let scene = Scene::new();
        let flag = AtomicBool::new(false);
        let observer = Interrupter { at, flag };
        let story = bundle_to_s3(request(&scene), &observer.flag, &observer);
        let error = block_on(story).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{at}: {error:?}");
        assert_eq!(scene.stored(BUCKET), [""; 0], "{at}");
    }
    // What is complete stays.
    let scene = Scene::new();
    let flag = AtomicBool::new(false);
    let observer = Interrupter {
        at: "Complete",
        flag,
    };
    let story = bundle_to_s3(request(&scene), &observer.flag, &observer);
    let _ = block_on(story).unwrap();
    assert_eq!(scene.stored(BUCKET).len(), 4);
}

#[test]
fn a_story_that_is_dropped_cleans_up_behind_itself() {
    let scene = Scene::new();
    let flag = AtomicBool::new(false);
    let observer = Recorder {
        notifies_at: Some("Bundling"),
        ..Recorder::default()
    };
    let store = scene.store.path().join(BUCKET);
    let has_parts = || !scene.stored(BUCKET).is_empty();
    block_on(async {
        let begun = async {
            observer.notify.notified().await;
            while !has_parts() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = begun => {}
            ended = bundle_to_s3(request(&scene), &flag, &observer) => panic!("{ended:?}"),
        }
        // The server writes to hidden files first.
        let is_busy = || fs::read_dir(&store).unwrap().count() > 0;
        while has_parts() || is_busy() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(scene.stored(BUCKET), [""; 0]);
}

#[test]
fn an_image_that_may_have_changed_is_not_published() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let changed = BundleToS3 {
        when_read: Some(Box::new(|| Err("it was thawed".into()))),
        ..request(&scene)
    };
    let error = block_on(bundle_to_s3(changed, &AtomicBool::new(false), &observer)).unwrap_err();
    assert_eq!(error.to_string(), "it was thawed");
    assert_eq!(scene.stored(BUCKET), [""; 0]);
}

#[test]
fn what_cannot_be_bundled_is_found_before_anything_is_done() {
    let (scene, observer) = (Scene::new(), Recorder::default());
    let empty = request(&scene);
    fs::write(&empty.image, "").unwrap();
    let error = block_on(bundle_to_s3(empty, &AtomicBool::new(false), &observer)).unwrap_err();
    assert!(error.to_string().ends_with("is zero sized"), "{error}");
    assert_eq!(observer.told(), [""; 0]);
    assert!(!scene.store.path().join(BUCKET).exists());
}
