//! Uploading, downloading and deleting.

use std::fs;

use ami_transfer::*;

use crate::scene::*;

/// The events of an upload to a new bucket.
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
    // Parts that are there are not downloaded again.
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
    observer.answers.borrow_mut().push(false);
    let deleted = block_on(delete(&scene.delete("bucket.one"), &observer)).unwrap();
    let shown = format!("ToDelete {{ files: {:?} }}", all_files());
    assert_eq!(observer.told(), [shown.clone(), "Delete?".to_owned()]);
    assert_eq!(deleted, Deleted::default());
    assert_eq!(scene.stored("bucket.one"), all_files());

    observer.answers.borrow_mut().push(true);
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
    // One part at a time: the fourth cannot have been sent when the third is told of.
    let request = Upload {
        parallel: 1,
        ..scene.upload("bucket.one")
    };
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
