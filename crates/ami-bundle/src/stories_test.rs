//! The stories with sinks and sources in memory and in folders.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use ami_image::conformance::{Memory as Images, Sinks};
use ami_manifest::{BundleContents, Certificate, MachineConfiguration, NewIdentity, PrivateKey};
use ami_parts::conformance::{Memory as Parts, MemorySink, PartSinks};
use ami_parts::{PartFiles, StagedBundle, Staging, Waiting};

use crate::error::Error;
use crate::events::{Event, Running};
use crate::{
    BundleFiles, BundlePlan, BundleRequest, BundledImage, Check, Expected, Finding, Level, Outcome,
    Problem, Subject, UnbundleRequest, VerifyRequest, bundle_image, describe, unbundle_image,
    verify_bundle,
};

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Other(Box::new(error))
    }
}

/// A folder with a key, its certificate, and an image.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new(image: &[u8]) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let identity = NewIdentity::generate(1024, 1, "test").unwrap();
        fs::write(scene.path("pk.pem"), &identity.private_key[..]).unwrap();
        fs::write(scene.path("cert.pem"), &identity.certificate).unwrap();
        fs::write(scene.path("a.img"), image).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn request(&self) -> BundleRequest {
        BundleRequest {
            image: self.path("a.img"),
            name: None,
            certificate: self.path("cert.pem"),
            key: self.path("pk.pem"),
            ec2_certificate: Ok(self.path("cert.pem")),
            user: "123456789012".to_owned(),
            machine: MachineConfiguration {
                architecture: "x86_64".to_owned(),
                block_device_mapping: [].into(),
                kernel_id: None,
                ramdisk_id: None,
                product_codes: Vec::new(),
            },
            ancestry: Vec::new(),
            level: Level::new(Level::FASTEST).unwrap(),
            checks_sizes: true,
        }
    }

    fn bundle(
        &self,
        sink: MemorySink,
        interrupted: bool,
        events: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<BundledImage<()>, Error> {
        let plan = BundlePlan::new(self.request()).unwrap();
        let running = Running {
            events,
            interrupted: &AtomicBool::new(interrupted),
            ..running()
        };
        bundle_image(plan, &self.path("a.img"), None, || Ok(sink), &running)
    }

    fn verify(&self, bundle: &Path) -> Vec<Check> {
        let request = VerifyRequest {
            manifest: bundle.join("a.img.manifest.xml"),
            parts: bundle.to_owned(),
            certificate: Some(self.path("cert.pem")),
            key: Some(self.path("pk.pem")),
        };
        verify_bundle(&request, &running()).unwrap()
    }

    fn unbundle(&self, bundle: &Path, images: &mut Images) -> Result<String, Error> {
        let request = UnbundleRequest {
            manifest: bundle.join("a.img.manifest.xml"),
            parts: bundle.to_owned(),
            key: self.path("pk.pem"),
            certificate: Some(self.path("cert.pem")),
        };
        let unbundled = unbundle_image(request, |_| Ok(images.sink()), &running())?;
        Ok(unbundled.image.name)
    }
}

fn running() -> Running<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Running {
        threads: NonZeroUsize::new(2).unwrap(),
        events: &|_| {},
        interrupted: &NEVER,
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A sink that cannot rename must choose the number of digits in advance, so names may have more digits than needed.
#[test]
fn a_bundle_whose_names_were_chosen_before_its_first_part_is_a_bundle() {
    let mut image = noise(11 << 20);
    image.resize(95 << 20, 0);
    let scene = Scene::new(&image);
    let mut parts = Parts::without_renaming();
    let bundled = scene.bundle(parts.sink("a.img"), false, &|_| {}).unwrap();
    let names: Vec<&str> = bundled.parts.iter().map(|part| &*part.name).collect();
    assert_eq!(names, ["a.img.part.00", "a.img.part.01"]);

    let folder = scene.path("bundle");
    fs::create_dir(&folder).unwrap();
    let files = parts.files();
    assert_eq!(files.len(), 3);
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let checks = scene.verify(&folder);
    let found: Vec<(Subject, &Finding)> = checks
        .iter()
        .map(|check| match &check.outcome {
            Outcome::Holds(found) => (check.subject, found),
            outcome => panic!("{:?}: {outcome:?}", check.subject),
        })
        .collect();
    let name = || "a.img".to_owned();
    let certificate = Certificate::load(&scene.path("cert.pem")).unwrap();
    let signature = Finding::Signature(certificate.info().cloned());
    let expected = [
        (
            Subject::Manifest,
            &Finding::Manifest {
                name: name(),
                size: Some(95 << 20),
            },
        ),
        (Subject::Parts, &Finding::Parts(2)),
        (Subject::Sizes, &Finding::Sizes(bundled.bundled_size)),
        (Subject::Digests, &Finding::Digests { of_all: true }),
        (Subject::Signature, &signature),
        (Subject::Stream, &Finding::Stream(name())),
    ];
    assert_eq!(found, expected);

    let mut images = Images::default();
    assert_eq!(scene.unbundle(&folder, &mut images).unwrap(), "a.img");
    assert!(images.image("a.img") == Some(image));

    // A damaged part: the image does not appear.
    let part = folder.join("a.img.part.01");
    let mut bytes = fs::read(&part).unwrap();
    bytes[1000] ^= 1;
    fs::write(part, bytes).unwrap();
    let mut images = Images::default();
    let error = scene.unbundle(&folder, &mut images).unwrap_err();
    let is_digest = matches!(error, Error::File(ami_parts::Error::Digest { .. }));
    assert!(is_digest, "{error}");
    assert!(images.image("a.img").is_none());
}

#[test]
fn the_first_part_describes_the_image() {
    // Some bundlers write the tar stream's size in the manifest.
    const SAID: u64 = 96 << 20;
    for (data, size) in [(11 << 20, 95 << 20), (1, 1)] {
        let mut image = noise(data);
        image.resize(size, 0);
        let scene = Scene::new(&image);
        let mut parts = Parts::default();
        let _ = scene.bundle(parts.sink("a.img"), false, &|_| {}).unwrap();
        let folder = scene.path("bundle");
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in parts.files() {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let contents = BundleContents::load(&folder.join("a.img.manifest.xml")).unwrap();
        let key = PrivateKey::load(&scene.path("pk.pem")).unwrap();
        let key = contents.user_key.unwrap_with(&key).unwrap();
        let BundleFiles { parts, expected } = BundleFiles::find(&contents, &folder).unwrap();
        let expected = Expected {
            size: Some(SAID),
            ..expected
        };
        let described = |interrupted| {
            let first = PartFiles::new(vec![parts[0].clone()]);
            describe(first, &expected, &key, &AtomicBool::new(interrupted))
        };
        let description = described(false).unwrap();
        assert_eq!(description.name, "a.img");
        assert_eq!(description.size, size as u64);
        assert!(matches!(described(true), Err(Error::Interrupted)));
        fs::write(&parts[0].path, "damaged").unwrap();
        assert!(matches!(
            described(false),
            Err(Error::File(ami_parts::Error::Digest { .. }))
        ));
    }
}

#[test]
fn everything_that_is_wrong_with_a_request_is_found() {
    let scene = Scene::new(b"data");
    let other = Scene::new(b"");
    let problems = |request: BundleRequest| {
        let problems = BundlePlan::new(request).unwrap_err();
        assert_eq!(
            problems.to_string(),
            problems.first().unwrap().to_string(),
            "it reads as the first"
        );
        let problems = problems.into_iter();
        problems
            .map(|problem| problem.to_string())
            .collect::<Vec<_>>()
    };
    let shown = |scene: &Scene, name: &str| scene.path(name).display().to_string();
    let missing = BundleRequest {
        name: Some("..".to_owned()),
        certificate: scene.path("none"),
        ec2_certificate: Err("nowhere".into()),
        key: scene.path("a.img"),
        ..scene.request()
    };
    assert_eq!(
        problems(missing),
        [
            "the name \"..\" cannot be a bundle's: it is that of a folder".to_owned(),
            format!("cannot read {}", shown(&scene, "none")),
            "nowhere".to_owned(),
            format!(
                "error reading private key from file {}: it holds no private key in PEM or DER form",
                shown(&scene, "a.img")
            ),
        ]
    );
    let strangers = BundleRequest {
        key: other.path("pk.pem"),
        ..scene.request()
    };
    let [problem] = &problems(strangers)[..] else {
        panic!("one problem")
    };
    let begin = format!(
        "the certificate {} (\"CN=test\") is not that",
        shown(&scene, "cert.pem")
    );
    assert!(problem.starts_with(&begin), "{problem}");
    let control = BundleRequest {
        user: "1\u{1}2".to_owned(),
        ..scene.request()
    };
    assert_eq!(problems(control).len(), 1);
}

#[test]
fn everything_that_is_wrong_with_an_image_and_its_folder_is_found() {
    let scene = Scene::new(b"");
    let plan = BundlePlan::new(BundleRequest {
        name: Some("b".to_owned()),
        ..scene.request()
    });
    // The key has the name of a part of the bundle, which would replace it.
    fs::hard_link(scene.path("pk.pem"), scene.path("b.part.7")).unwrap();
    let open = || -> Result<StagedBundle<'static>, ami_parts::Error> { unreachable!() };
    let (path, folder) = (scene.path("a.img"), scene.0.path());
    let error = bundle_image(plan.unwrap(), &path, Some(folder), open, &running()).unwrap_err();
    let Error::Problems(problems) = error else {
        panic!("{error}")
    };
    let problems: Vec<Problem> = problems.into_iter().collect();
    assert!(
        matches!(
            &problems[..],
            [Problem::Empty(empty), Problem::WouldReplace(key)]
                if *empty == path && *key == scene.path("pk.pem")
        ),
        "{problems:?}"
    );
}

#[test]
fn a_bundle_in_a_folder_has_the_older_suites_names_and_its_events_their_order() {
    let scene = Scene::new(&noise(100_000));
    let folder = scene.path("bundle");
    fs::create_dir(&folder).unwrap();
    let told = Mutex::new((Vec::new(), 0));
    let plan = BundlePlan::new(scene.request()).unwrap();
    let open = || StagedBundle::new(Staging::new(&folder)?, "a.img", Waiting::silent());
    let events = |event: Event<'_>| {
        let mut told = told.lock().unwrap();
        match event {
            Event::Read(count) => told.1 += count,
            Event::Begins { bytes } => told.0.push(format!("begins: {bytes}")),
            Event::Ends => told.0.push("ends".to_owned()),
            Event::Space { .. } => told.0.push("space".to_owned()),
            Event::ManifestRead(_) => told.0.push("manifest".to_owned()),
        }
    };
    let running = Running {
        events: &events,
        ..running()
    };
    let path = scene.path("a.img");
    let bundled = bundle_image(plan, &path, Some(&folder), open, &running).unwrap();
    assert_eq!(
        bundled.published.manifest,
        folder.join("a.img.manifest.xml")
    );
    let (events, read) = told.into_inner().unwrap();
    assert_eq!(events, ["space", "begins: 100000", "ends"]);
    assert_eq!(read, 100_000);
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a.img.manifest.xml", "a.img.part.0"]);
}

#[test]
fn an_interruption_or_a_late_error_of_a_sink_leaves_nothing() {
    let scene = Scene::new(&noise(100_000));
    let mut parts = Parts::default();
    let interrupted = scene.bundle(parts.sink("a.img"), true, &|_| {});
    assert!(matches!(interrupted, Err(Error::Interrupted)));
    let failed = scene.bundle(parts.sink_that_fails("a.img", 0), false, &|_| {});
    assert!(matches!(failed, Err(Error::Other(_))));
    assert!(parts.files().is_empty());
}
