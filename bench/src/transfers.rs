//! Transfers a bundle to S3 and back with our commands and with AWS's, and bundles straight to S3, through a proxy that is as slow as a
//! network.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use end_to_end::proxy::Slowness;
use end_to_end::s3::{ACCESS_KEY, SECRET_KEY};

use crate::Result;
use crate::buckets::Buckets;
use crate::measure::{Measured, best_of, measured, shell};

/// The simulated network: the added round-trip time, and the most bytes a second on a connection.
pub const NETWORK: Slowness = Slowness {
    latency: Duration::from_millis(30),
    rate: 20_000_000,
};

/// The size of an incompressible image, for a bundle of 100 parts of 10 MiB.
const IMAGE: &str = "1000M";

/// The options of every bundling.
const IDENTITY: &str = "-k key -c crt --ec2cert crt -u 123456789012 -r x86_64";

/// The measurements.
#[derive(Debug, Clone, Copy)]
pub struct Transfers {
    /// One part at a time.
    pub up_one: Measured,
    /// Eight at a time.
    pub up: Measured,
    /// `aws s3 cp --recursive`.
    pub up_aws: Measured,
    /// One part at a time.
    pub down_one: Measured,
    /// Eight at a time.
    pub down: Measured,
    /// `aws s3 cp --recursive`.
    pub down_aws: Measured,
    /// `ec2-bundle-image` of the image whose bundle is transferred.
    pub bundling: Measured,
    /// `ec2-ami bundle` of that image.
    pub straight: Measured,
}

/// A server, its store, a bundle, and the proxy in front of the server.
struct Scene {
    folder: PathBuf,
    commands: PathBuf,
    aws: PathBuf,
    _buckets: Buckets,
    url: String,
}

impl Transfers {
    /// Makes a bundle in `folder` and transfers it.
    pub fn measure(folder: &Path) -> Result<Self> {
        let scene = Scene::new(folder)?;
        eprintln!("Uploads ...");
        let up_one = scene.upload(1)?;
        let up = best_of(3, || scene.upload(8))?;
        let up_aws = best_of(3, || scene.upload_by_aws())?;
        eprintln!("Downloads ...");
        let down_one = scene.download(1)?;
        let down = best_of(3, || scene.download(8))?;
        let down_aws = best_of(3, || scene.download_by_aws())?;
        eprintln!("Straight to S3 ...");
        let bundling = best_of(3, || scene.bundle())?;
        let straight = best_of(3, || scene.bundle_straight())?;
        Ok(Self {
            up_one,
            up,
            up_aws,
            down_one,
            down,
            down_aws,
            bundling,
            straight,
        })
    }
}

impl Scene {
    fn new(folder: &Path) -> Result<Self> {
        let commands = std::env::current_exe()?
            .parent()
            .ok_or("no folder of commands")?
            .to_owned();
        let folder = folder.join("bench-transfers");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("store"))?;
        let aws = shell("scripts/python-tools bench")?;
        let _ = shell(&format!(
            "cd '{}'; mkdir bundle
             openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout key -out crt
             truncate -s {IMAGE} zero
             openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 -in zero -out image; rm zero
             '{}/ec2-bundle-image' {IDENTITY} --batch -i image -d bundle > /dev/null",
            folder.display(),
            commands.display()
        ))?;
        let buckets = Buckets::start(&commands, &folder.join("store"))?;
        Ok(Self {
            url: buckets.url_behind(NETWORK),
            _buckets: buckets,
            aws: Path::new(&aws).join("bin/aws"),
            folder,
            commands,
        })
    }

    fn measured(&self, script: &str) -> Result<Measured> {
        measured(&format!(
            "cd '{}'; export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_DEFAULT_REGION=us-east-1
             {script}",
            self.folder.display()
        ))
    }

    fn ours(&self, name: &str, arguments: &str) -> String {
        format!(
            "'{}/{name}' -b bench.bucket --url {} --batch {arguments} > /dev/null",
            self.commands.display(),
            self.url
        )
    }

    fn by_aws(&self, arguments: &str) -> String {
        format!(
            "'{}' --endpoint-url {} s3 cp --only-show-errors --recursive {arguments}",
            self.aws.display(),
            self.url
        )
    }

    /// Checks that the transferred files are the bundle's.
    fn checked(&self, folder: &str, run: Result<Measured>) -> Result<Measured> {
        let run = run?;
        let _ = shell(&format!(
            "cd '{}'; for file in bundle/*; do cmp $file '{folder}'/${{file##*/}}; done",
            self.folder.display()
        ))?;
        Ok(run)
    }

    fn clear(&self, folder: &str) -> Result<()> {
        let script = format!(
            "cd '{}'; rm -rf '{folder}'; mkdir -p '{folder}'; sync",
            self.folder.display()
        );
        shell(&script).map(drop)
    }

    fn upload(&self, parallel: usize) -> Result<Measured> {
        self.clear("store/bench.bucket")?;
        let upload = self.ours(
            "ec2-upload-bundle",
            &format!("-m bundle/image.manifest.xml --parallel {parallel}"),
        );
        self.checked("store/bench.bucket", self.measured(&upload))
    }

    fn upload_by_aws(&self) -> Result<Measured> {
        self.clear("store/bench.bucket")?;
        let upload = self.by_aws("bundle s3://bench.bucket/");
        self.checked("store/bench.bucket", self.measured(&upload))
    }

    fn download(&self, parallel: usize) -> Result<Measured> {
        self.clear("back")?;
        let download = self.ours(
            "ec2-download-bundle",
            &format!("-k key -d back --parallel {parallel}"),
        );
        self.checked("back", self.measured(&download))
    }

    fn bundle(&self) -> Result<Measured> {
        self.clear("made")?;
        self.measured(&format!(
            "'{}/ec2-bundle-image' {IDENTITY} --batch -i image -d made > /dev/null",
            self.commands.display()
        ))
    }

    /// Checks that the bundle is that of the image.
    fn bundle_straight(&self) -> Result<Measured> {
        self.clear("store/bench.bucket")?;
        self.clear("made")?;
        let commands = self.commands.display();
        let run = self.measured(&format!(
            "'{commands}/ec2-ami' bundle image s3://bench.bucket {IDENTITY} --endpoint-url {} > /dev/null",
            self.url
        ))?;
        let _ = shell(&format!(
            "cd '{}'; store=store/bench.bucket
             '{commands}/ec2-unbundle' -k key -m $store/image.manifest.xml -s $store -d made > /dev/null
             cmp image made/image; rm made/image",
            self.folder.display()
        ))?;
        Ok(run)
    }

    fn download_by_aws(&self) -> Result<Measured> {
        self.clear("back")?;
        let download = self.by_aws("s3://bench.bucket/ back");
        self.checked("back", self.measured(&download))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
