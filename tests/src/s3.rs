//! S3 servers for tests, and a small bundle to send to them.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use s3_server::{ACCESS_KEY, Kept, Rules, SECRET_KEY, serve_by};
use tempfile::TempDir;

use crate::moto::Moto;
use crate::{Outcome, command, golden, key, names, outcome};

/// A server with an empty store.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says of buckets and objects.
    pub rules: Rules,
    store: TempDir,
}

impl Server {
    /// Starts one.
    pub fn start() -> Self {
        let store = tempfile::tempdir().unwrap();
        let rules = Rules::default();
        let address = serve_by(rules.clone(), store.path(), 0);
        Self {
            address,
            rules,
            store,
        }
    }

    /// Makes a bucket, and returns its folder.
    pub fn bucket(&self, name: &str) -> PathBuf {
        let folder = self.store.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The bucket of most tests.
pub const BUCKET: &str = "bundles.test";

/// A folder with twelve parts of 1,800 bytes each, except the last.
pub fn small_parts() -> PathBuf {
    golden("bundles/unbundle-variants/small-parts-12")
}

/// The manifest of [`small_parts`].
pub fn manifest() -> String {
    let manifest = small_parts().join("image.manifest.xml");
    manifest.to_str().unwrap().to_owned()
}

/// The private key that it was made with.
pub fn private_key() -> String {
    key("user2048.key").to_str().unwrap().to_owned()
}

/// The bundle's files, without the server's metadata beside them.
pub fn bundle_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<_, _> = names(folder)
        .into_iter()
        .filter(|name| name.starts_with("image."))
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect();
    let _ = files.remove("recipe.sh");
    files
}

/// A command with the server's keys in its environment.
pub fn with_keys(name: &str, url: &str, more: &[&str]) -> Command {
    let mut arguments = vec!["-b", BUCKET, "--url", url, "--batch"];
    arguments.extend(more);
    let mut command = command(name, &arguments);
    let _ = command
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command
}

/// Runs a command that must succeed.
pub fn ok(mut command: Command) -> Outcome {
    let result = outcome(&mut command);
    assert_eq!(result.code, 0, "{result:?}");
    result
}

/// Runs a command against moto, which accepts any keys.
pub fn for_moto(moto: &Moto, name: &str, bucket: &str, more: &[&str]) -> Outcome {
    let url = moto.url();
    let mut arguments = vec!["-b", bucket, "--url", &url, "--batch", "-a", "x", "-s", "y"];
    arguments.extend(more);
    outcome(&mut command(name, &arguments))
}
