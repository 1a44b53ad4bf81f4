//! Bundles of which `ec2-ami` makes snapshots: a double of EBS and EC2, an S3 server behind a proxy, and everything that a run could leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ebs_server::{BLOCK, Settings};
use openssl::sha::Sha256;
use tempfile::TempDir;

use crate::ebs::{self, Reading, quick};
use crate::proxy::{Proxy, Slowness};
use crate::s3::{BUCKET, Server};
use crate::{Outcome, folder, key, names, outcome};

/// Both services, and where a run works.
pub struct Scene {
    /// EBS and EC2, the user's home, and the folder that the command runs in.
    pub aws: ebs::Scene,
    /// S3.
    pub server: Server,
    /// What stands in front of S3.
    pub proxy: Proxy,
    /// What the command is told to use for temporary files.
    temporary: TempDir,
}

impl Scene {
    /// With a double that completes at once.
    pub fn new() -> Self {
        Self::with(quick())
    }

    /// With a double that has these settings.
    pub fn with(settings: Settings) -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.address, Slowness::default());
        let scene = Self {
            aws: ebs::Scene::with(settings),
            server,
            proxy,
            temporary: folder(),
        };
        let _ = scene.store();
        scene
    }

    /// The bucket's folder.
    pub fn store(&self) -> PathBuf {
        self.server.bucket(BUCKET)
    }

    /// Puts a bundle's files in the bucket, and nothing else; gives the address of the manifest.
    pub fn put(&self, bundle: &Path) -> String {
        let store = self.store();
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
        for name in names(bundle) {
            let _ = fs::copy(bundle.join(&name), store.join(&name)).unwrap();
        }
        let manifest = manifest_in(bundle);
        let name = manifest.file_name().unwrap().to_str().unwrap();
        format!("s3://{BUCKET}/{name}")
    }

    /// `ec2-ami`, with the keys of both services in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.aws.command(arguments);
        let _ = command
            .env("AWS_ENDPOINT_URL_S3", self.proxy.url())
            .env("TMPDIR", self.temporary.path());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// Makes a snapshot of a bundle, with the options of [`create`], which must succeed; gives the snapshot's ID.
    pub fn snapshot(&self, manifest: &str, user: &str, more: &[&str]) -> String {
        let result = self.run(&words(&create(manifest, user), more));
        assert_eq!(result.code, 0, "{manifest}: {result:?}");
        result.stdout.trim_end().to_owned()
    }

    /// Fails unless a snapshot is complete, its volume begins with an image of so many bytes that has this SHA-256, and the rest is zeros.
    pub fn assert_is_image(&self, snapshot: &str, size: u64, sha256: &str) {
        let record = self.aws.server.snapshot(snapshot).unwrap();
        assert_eq!(record.state, "completed");
        assert_eq!(record.volume_size, size.div_ceil(1 << 30));
        let zeros = [0; BLOCK];
        let mut digest = Sha256::new();
        for index in 0..u32::try_from(size.div_ceil(BLOCK as u64)).unwrap() {
            let left = size - u64::from(index) * BLOCK as u64;
            let length = usize::try_from(left).unwrap().min(BLOCK);
            match record.blocks.binary_search(&index) {
                Err(_) => digest.update(&zeros[..length]),
                Ok(_) => {
                    let block = self.aws.server.block(snapshot, index, Reading::Zeros);
                    let block = block.unwrap();
                    digest.update(&block[..length]);
                    assert_eq!(block[length..], zeros[length..], "block {index}");
                }
            }
        }
        assert_eq!(hex::encode(digest.finish()), sha256);
        let is_behind = |index: &u32| u64::from(*index) * BLOCK as u64 >= size;
        assert_eq!(record.blocks.iter().find(|index| is_behind(index)), None);
    }

    /// The names of the journals.
    pub fn journals(&self) -> Vec<String> {
        let folder = self.aws.journals();
        match folder.is_dir() {
            true => names(&folder),
            false => Vec::new(),
        }
    }

    /// Fails if a run has left a file but these in its folder, and journals.
    pub fn assert_only(&self, work: &[&str]) {
        assert_eq!(names(self.temporary.path()), [""; 0]);
        assert_eq!(names(self.aws.work.path()), work);
    }

    /// The same, without journals.
    pub fn assert_no_file_but(&self, work: &[&str]) {
        self.assert_only(work);
        assert_eq!(self.journals(), [""; 0]);
    }

    /// Fails unless nothing was begun, or all of it was deleted without having been completed. A journal notes that a snapshot was given up,
    /// so that EBS does not give it again for the same client token.
    pub fn assert_nothing_made(&self) {
        assert_eq!(self.aws.asked("CompleteSnapshot"), 0);
        assert_eq!(self.aws.server.snapshots(), []);
        assert_eq!(self.aws.server.images(), []);
        self.assert_only(&[]);
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// The manifest in a bundle's folder.
pub fn manifest_in(bundle: &Path) -> PathBuf {
    let found = names(bundle).into_iter();
    let mut manifests = found.filter(|name| name.ends_with(".manifest.xml"));
    bundle.join(manifests.next().unwrap())
}

/// The path of a key or certificate, as an argument.
pub fn key_file(name: &str) -> String {
    key(name).to_str().unwrap().to_owned()
}

/// The arguments that make a snapshot of a bundle with the key of a user of `fixtures/golden/keys`.
pub fn create(manifest: &str, user: &str) -> Vec<String> {
    let key = key_file(&format!("{user}.key"));
    ["create", manifest, "--snapshot-only", "-k", &key]
        .map(str::to_owned)
        .into()
}

/// Arguments and further ones.
pub fn words<'a>(arguments: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let arguments = arguments.iter().map(String::as_str);
    arguments.chain(more.iter().copied()).collect()
}
