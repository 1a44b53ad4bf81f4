//! `ec2-ami bundle` with an S3 server, and a proxy between the two.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::proxy::{Proxy, Slowness};
use crate::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use crate::{Outcome, command, folder, images, key, names, outcome, wait_until};

/// The folder in the bucket.
pub const FOLDER: &str = "a b";

/// The arguments that every `ec2-ami bundle` needs besides FROM and where to: keys and account.
pub fn identity() -> Vec<String> {
    let mut arguments: Vec<String> = ["-u", "123456789012"].map(str::to_owned).into();
    for (option, file) in [
        ("-c", "user2048.crt"),
        ("-k", "user2048.key"),
        ("--ec2cert", "ec2.crt"),
    ] {
        arguments.extend([option.to_owned(), key(file).to_str().unwrap().to_owned()]);
    }
    arguments
}

/// A server, a proxy in front of it, and a folder to work in.
pub struct Straight {
    /// The server.
    pub server: Server,
    /// The proxy.
    pub proxy: Proxy,
    /// Where images are, and where the command works.
    pub work: TempDir,
    home: TempDir,
}

impl Straight {
    /// With an empty bucket.
    pub fn new() -> Self {
        Self::with(Slowness::default())
    }

    /// The same, with a slow network.
    pub fn with(slowness: Slowness) -> Self {
        let server = Server::start();
        let _ = server.bucket(BUCKET);
        let proxy = Proxy::start(server.address, slowness);
        Self {
            server,
            proxy,
            work: folder(),
            home: folder(),
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Makes an image that cannot be compressed.
    pub fn image(&self, size: usize) {
        images::incompressible(&self.path("image.img"), size);
    }

    /// `ec2-ami bundle` of a path in the folder.
    pub fn command(&self, from: &str, more: &[&str]) -> Command {
        let to = format!("s3://{BUCKET}/{FOLDER}");
        let mut arguments = vec!["bundle", from, &to];
        let identity = identity();
        arguments.extend(identity.iter().map(String::as_str));
        arguments.extend(more);
        let mut command = command("ec2-ami", &arguments);
        let _ = command
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("AWS_ENDPOINT_URL_S3", self.proxy.url())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .current_dir(self.work.path());
        command
    }

    /// Bundles [the image](Self::image).
    pub fn run(&self, more: &[&str]) -> Outcome {
        let mut arguments = vec!["--arch", "x86_64"];
        arguments.extend(more);
        outcome(&mut self.command("image.img", &arguments))
    }

    /// The same, which must succeed.
    pub fn ok(&self, more: &[&str]) -> Outcome {
        let result = self.run(more);
        assert_eq!(result.code, 0, "{result:?}");
        result
    }

    /// Bundles the image until the proxy has got so many requests that put something, and sends this signal; gives what the command
    /// printed and how it ended.
    pub fn signalled(&self, puts: usize, signal: Signal) -> Outcome {
        let mut command = self.command("image.img", &["--arch", "x86_64"]);
        let _ = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let begun = || {
            let requests = self.proxy.requests().into_iter();
            requests.filter(|request| request.method == "PUT").count() >= puts
        };
        wait_until(&mut child, "it was interrupted", begun);
        kill_process(Pid::from_child(&child), signal).unwrap();
        ended(child)
    }

    /// One of the older commands, with the same bucket.
    pub fn older(&self, name: &str, more: &[&str]) -> Outcome {
        let (bucket, url) = (format!("{BUCKET}/{FOLDER}"), self.server.url());
        let mut arguments = vec!["-b", &bucket, "--url", &url, "--batch"];
        arguments.extend(more);
        let mut command = command(name, &arguments);
        let _ = command
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .current_dir(self.work.path());
        outcome(&mut command)
    }

    /// Where the server keeps the folder.
    pub fn store(&self) -> PathBuf {
        self.server.bucket(BUCKET).join(FOLDER)
    }

    /// The objects in the folder, without the server's metadata beside them.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        let store = self.store();
        let names = match store.is_dir() {
            true => names(&store),
            false => Vec::new(),
        };
        let names = names.into_iter().filter(|name| !name.starts_with('.'));
        names
            .map(|name| {
                let bytes = fs::read(store.join(&name)).unwrap();
                (name, bytes)
            })
            .collect()
    }

    /// Downloads the bundle of this name and unbundles it, with the older commands; gives the image.
    pub fn back(&self, bundle: &str, to: &Path) -> PathBuf {
        let (key, to_text) = (key("user2048.key"), to.to_str().unwrap());
        let key = key.to_str().unwrap();
        let manifest = format!("{bundle}.manifest.xml");
        let downloaded = self.older(
            "ec2-download-bundle",
            &["-m", &manifest, "-k", key, "-d", to_text],
        );
        assert_eq!(downloaded.code, 0, "{downloaded:?}");
        let file = to.join(&manifest);
        let file = file.to_str().unwrap();
        let verified = crate::run("ec2-verify-bundle", &["-m", file, "-k", key]);
        assert_eq!(verified.code, 0, "{verified:?}");
        let arguments = ["-m", file, "-k", key, "-s", to_text, "-d", to_text];
        let unbundled = crate::run("ec2-unbundle", &arguments);
        assert_eq!(unbundled.code, 0, "{unbundled:?}");
        to.join(bundle)
    }
}

impl Default for Straight {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for a process; gives what it printed and how it ended.
fn ended(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
