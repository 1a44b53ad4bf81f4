//! Bundles in S3 that `ec2-ami` reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::proxy::{Proxy, Slowness};
use crate::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use crate::{Outcome, command, folder, names, outcome};

/// A server with a bucket, a proxy in front of it, and a folder to work in.
pub struct Scene {
    /// The server.
    pub server: Server,
    /// The proxy.
    pub proxy: Proxy,
    /// Where commands run.
    pub work: TempDir,
}

impl Scene {
    /// With the files of a bundle in the bucket.
    pub fn of(bundle: &Path) -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.address, Slowness::default());
        let scene = Self {
            server,
            proxy,
            work: folder(),
        };
        scene.put(bundle);
        scene
    }

    /// The bucket's folder.
    pub fn store(&self) -> PathBuf {
        self.server.bucket(BUCKET)
    }

    /// Puts a bundle's files in the bucket, and nothing else.
    pub fn put(&self, bundle: &Path) {
        let store = self.store();
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
        for name in names(bundle) {
            let _ = fs::copy(bundle.join(&name), store.join(&name)).unwrap();
        }
    }

    /// The address of the manifest in the bucket.
    pub fn manifest(&self) -> String {
        let names = names(&self.store());
        let name = names.iter().find(|name| name.ends_with(".manifest.xml"));
        format!("s3://{BUCKET}/{}", name.unwrap())
    }

    /// `ec2-ami`, by way of the proxy.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let url = self.proxy.url();
        let all = [arguments, &["--endpoint-url", &url]].concat();
        let mut command = command("ec2-ami", &all);
        let _ = command
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .current_dir(self.work.path());
        command
    }

    /// Runs `ec2-ami`.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// Unbundles to the file `image` with this key.
    pub fn unbundle(&self, key: &str, more: &[&str]) -> Outcome {
        let manifest = self.manifest();
        self.run(&[&["unbundle", &manifest, "image", "-k", key][..], more].concat())
    }

    /// The names of all files in the folder, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        names(self.work.path())
    }

    /// Unbundling fails with this exit code and line, and leaves nothing.
    pub fn fails(&self, key: &str, more: &[&str], code: i32, line: &str) {
        let result = self.unbundle(key, more);
        let expected = (code, "", format!("ERROR: {line}\n"));
        let found = (result.code, result.stdout.as_str(), result.stderr);
        assert_eq!(found, expected);
        assert_eq!(self.files(), [] as [String; 0]);
    }
}
