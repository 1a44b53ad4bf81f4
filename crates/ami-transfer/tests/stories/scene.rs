//! A server, an observer that records events, and a small bundle.

use std::cell::RefCell;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use ami_aws::Identity;
use ami_s3::{Acl, Endpoint, Settings, Signature};
use ami_transfer::{BundleFiles, Delete, Download, Event, Observer, Question, Stopped, Upload};
use s3_server::{ACCESS_KEY, SECRET_KEY};
use tempfile::TempDir;
use tokio::sync::Notify;

/// Records events, and gives prepared answers.
#[derive(Default)]
pub struct Recorder {
    pub told: RefCell<Vec<String>>,
    /// Answers to questions, the next one last.
    pub answers: RefCell<Vec<bool>>,
    /// Ends the story at the first event that begins with this.
    pub stops_at: Option<&'static str>,
    /// Notifies at the first event that begins with this.
    pub notifies_at: Option<&'static str>,
    pub notify: Notify,
}

impl Recorder {
    fn note(&self, text: String) {
        self.told.borrow_mut().push(text);
    }

    pub fn told(&self) -> Vec<String> {
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

/// A server with an empty store, and a folder to work in.
pub struct Scene {
    url: String,
    pub store: TempDir,
    pub work: TempDir,
}

pub const PARTS: usize = 12;

impl Scene {
    pub fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        let address = s3_server::serve(store.path(), 0);
        Self {
            url: format!("http://{address}"),
            store,
            work: tempfile::tempdir().unwrap(),
        }
    }

    pub fn settings(&self) -> Settings {
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
            requester_pays: false,
        }
    }

    pub fn upload(&self, bucket: &str) -> Upload {
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

    pub fn download(&self, bucket: &str) -> Download {
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

    pub fn delete(&self, bucket: &str) -> Delete {
        Delete {
            s3: self.settings(),
            bucket: bucket.parse().unwrap(),
            files: BundleFiles::NamedBy(bundle().join("image.manifest.xml")),
            asks: true,
            deletes_bucket: true,
            parallel: 3,
        }
    }

    /// The bundle's files in a bucket.
    pub fn stored(&self, bucket: &str) -> Vec<String> {
        files_in(&self.store.path().join(bucket))
    }
}

/// Twelve parts.
pub fn bundle() -> PathBuf {
    golden("bundles/unbundle-variants/small-parts-12")
}

pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/golden")
        .join(path)
}

pub fn files_in(folder: &Path) -> Vec<String> {
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

pub fn parts() -> Vec<String> {
    (0..PARTS)
        .map(|part| format!("image.part.{part:02}"))
        .collect()
}

/// The manifest and the parts.
pub fn all_files() -> Vec<String> {
    let manifest = std::iter::once("image.manifest.xml".to_owned());
    manifest.chain(parts()).collect()
}

pub fn block_on<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(story)
}
