//! The double of EBS and EC2 with its two kinds of clients: `ec2-ami` with disks that are small and whole, and boto3 with blocks of one byte.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use ebs_server::{ACCESS_KEY, EbsServer, Fault, Reading, SECRET_KEY, Settings};
use ebs_server::{BLOCK, ImageRecord, Quotas};
use openssl::base64::encode_block;
use openssl::sha::sha256;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::boto::Boto;
use crate::{Outcome, command, folder, outcome, shell_with_path, text, wait_until};

/// A double, a home folder of the user's, and a folder for the test's files.
pub struct Scene {
    /// The double.
    pub server: EbsServer,
    home: TempDir,
    /// The test's files.
    pub work: TempDir,
}

/// The region of most tests.
pub const REGION: &str = "us-east-1";

impl Scene {
    /// A double with AWS's behaviour.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A double with these settings.
    pub fn with(settings: Settings) -> Self {
        Self {
            server: EbsServer::start(settings),
            home: folder(),
            work: folder(),
        }
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> String {
        self.work.path().join(name).to_str().unwrap().to_owned()
    }

    /// The folder of the journals.
    pub fn journals(&self) -> PathBuf {
        self.home.path().join(".local/state/ec2-ami")
    }

    /// `ec2-ami`, with the keys in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command("ec2-ami", arguments);
        let _ = command
            .env("HOME", self.home.path())
            .env_remove("XDG_STATE_HOME")
            .env("AWS_ENDPOINT_URL", self.server.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .current_dir(self.work.path());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// Runs it; it must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Outcome {
        let result = self.run(arguments);
        assert_eq!(result.code, 0, "{arguments:?}: {result:?}");
        result
    }

    /// Runs it; it must end with this code.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> Outcome {
        let result = self.run(arguments);
        assert_eq!(result.code, code, "{arguments:?}: {result:?}");
        result
    }

    /// Runs it with a file's contents coming through a pipe.
    pub fn piped(&self, file: &str, arguments: &[&str]) -> Outcome {
        let mut cat = cat(file);
        let mut command = self.command(arguments);
        let result = outcome(command.stdin(cat.stdout.take().unwrap()));
        // It holds the pipe's other end.
        drop(command);
        let _ = cat.wait();
        result
    }

    /// Runs it until the double has got so many more requests of an action, and kills it.
    pub fn kill_after(&self, action: &str, count: usize, arguments: &[&str]) {
        let before = self.asked(action);
        let mut command = self.command(arguments);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_until(&mut child, action, || self.asked(action) >= before + count);
        child.kill().unwrap();
        let _ = child.wait().unwrap();
    }

    /// How many requests of an action the double has got.
    pub fn asked(&self, action: &str) -> usize {
        self.server.log().of(action).count()
    }

    /// The only AMI in a region.
    pub fn image_in(&self, region: &str) -> ImageRecord {
        let images = self.server.images().into_iter();
        let mut images: Vec<_> = images.filter(|image| image.region == region).collect();
        assert_eq!(images.len(), 1, "{images:?}");
        images.remove(0)
    }

    /// Fails unless a snapshot's volume begins with the bytes of a disk of [`partitioned`], and its file system is whole even where the rest
    /// is noise.
    pub fn assert_is_of(&self, snapshot: &str, disk: &str) {
        let read = self.path("exported");
        let export = |reading| self.server.export(snapshot, Path::new(&read), reading);
        export(Reading::Zeros).unwrap();
        let _ = shell_with_path(
            &format!("cmp -n $(stat -c %s '{disk}') exported '{disk}'"),
            self.work.path(),
        );
        export(Reading::Noise).unwrap();
        let _ = shell_with_path(
            "dd if=exported of=fs bs=1M skip=1 count=46 status=none; e2fsck -fn fs 2>&1; rm exported fs",
            self.work.path(),
        );
    }

    /// Makes a disk, and gives its path.
    pub fn disk(&self, name: &str) -> String {
        partitioned(&self.work.path().join(name));
        self.path(name)
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// A process that writes a file's contents to a pipe.
pub fn cat(file: &str) -> Child {
    let mut cat = Command::new("cat");
    cat.arg(file).stdout(Stdio::piped()).spawn().unwrap()
}

/// A disk of 48 MiB that looks as if it starts on a BIOS: a partition table, GRUB's name in the boot sector, and an ext4 with a program
/// for x86_64, a file of noise and one of written zeros.
pub fn partitioned(disk: &Path) {
    let script = format!(
        "disk='{disk}'; root=$(mktemp -d); trap 'rm -rf \"$root\"' EXIT
         mkdir -p \"$root/bin\" \"$root/boot\"; cp /bin/true \"$root/bin/sh\"; cp /bin/true \"$root/bin/true\"
         head -c 3000000 /dev/urandom > \"$root/noise\"; head -c 2000000 /dev/zero > \"$root/zeros\"
         truncate -s 48M \"$disk\"
         echo 'start=2048, type=83, bootable' | sfdisk --quiet \"$disk\"
         printf 'GRUB' | dd of=\"$disk\" bs=1 seek=384 conv=notrunc status=none
         printf '\\353\\143' | dd of=\"$disk\" bs=1 seek=0 conv=notrunc status=none
         mke2fs -q -t ext4 -E offset=1048576 -d \"$root\" \"$disk\" 47104k",
        disk = disk.display()
    );
    let _ = shell_with_path(&script, Path::new("/"));
}

/// A server, and boto3 as its client.
pub fn start(settings: Settings) -> (EbsServer, Boto) {
    let server = EbsServer::start(settings);
    let boto = Boto::start(&server.url());
    (server, boto)
}

/// Completes at once, and lets any number of snapshots begin.
pub fn quick() -> Settings {
    Settings {
        quotas: Quotas {
            start: 0.0,
            complete: 0.0,
            ..Quotas::default()
        },
        completes_after: Duration::ZERO,
        copied_after: Duration::ZERO,
        ..Settings::default()
    }
}

/// The SHA-256 of a block that is one byte again and again.
pub fn digest(byte: u8) -> [u8; 32] {
    sha256(&vec![byte; BLOCK])
}

/// PutSnapshotBlock's parameters for a block that is one byte again and again.
pub fn put(snapshot: &str, index: u32, byte: u8) -> Value {
    json!({
        "SnapshotId": snapshot,
        "BlockIndex": index,
        "BlockData": {"$byte": byte, "$times": BLOCK},
        "DataLength": BLOCK,
        "Checksum": encode_block(&digest(byte)),
        "ChecksumAlgorithm": "SHA256",
    })
}

/// Parameters with other values; null takes one out.
pub fn with(mut parameters: Value, others: Value) -> Value {
    let fields = parameters.as_object_mut().unwrap();
    for (name, value) in others.as_object().unwrap() {
        if value.is_null() {
            let _ = fields.remove(name);
        } else {
            let _ = fields.insert(name.clone(), value.clone());
        }
    }
    parameters
}

/// StartSnapshot for 1 GiB; gives the ID.
pub fn begin(boto: &mut Boto, more: Value) -> String {
    let parameters = with(json!({"VolumeSize": 1}), more);
    let answer = boto.ok("ebs", "start_snapshot", parameters);
    text(&answer["SnapshotId"]).to_owned()
}

/// A completed snapshot of 1 GiB whose block 0 is `byte`.
pub fn completed(boto: &mut Boto, byte: u8, more: Value) -> String {
    let snapshot = begin(boto, more);
    let _ = boto.ok("ebs", "put_snapshot_block", put(&snapshot, 0, byte));
    let parameters = json!({"SnapshotId": snapshot, "ChangedBlocksCount": 1});
    let _ = boto.ok("ebs", "complete_snapshot", parameters);
    snapshot
}

/// RegisterImage's parameters.
pub fn image(name: &str, snapshot: &str) -> Value {
    json!({
        "Name": name,
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    })
}

/// RegisterImage; gives the ID.
pub fn register(boto: &mut Boto, name: &str, snapshot: &str) -> String {
    let answer = boto.ok("ec2", "register_image", image(name, snapshot));
    text(&answer["ImageId"]).to_owned()
}

/// The status, the code (`done` without one) and the reason of what [`Boto::call`] gives.
pub fn refusal(result: &Value) -> (u64, &str, &str) {
    let status = result["status"].as_u64().unwrap();
    let reason = result["reason"].as_str().unwrap_or_default();
    (status, result["code"].as_str().unwrap_or("done"), reason)
}
