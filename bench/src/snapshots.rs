//! Disks become snapshots, and snapshots files, by `ec2-ami` and by coldsnap, through the double of EBS.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebs_server::{ACCESS_KEY, Log, SECRET_KEY};

use crate::Result;
use crate::disk::{Needed, compare};
use crate::double::{Double, own_cpu};
use crate::measure::{Measured, attempted, measured, shell};
use crate::transfers::NETWORK;

/// How a service at its limit behaves.
const THROTTLED: [&str; 6] = [
    "--latency",
    "0.03",
    "--quotas",
    r#"{"put_snapshot": 200}"#,
    "--faults",
    r#"{"error": 5, "never": 1, "only": ["PutSnapshotBlock"]}"#,
];

/// What [`THROTTLED`] lets through in a second.
const BUCKET: f64 = 200.0;

/// The first seconds of a throttled run do not count.
const SETTLED: Duration = Duration::from_secs(3);

/// A service without a limit.
const UNLIMITED: [&str; 2] = ["--quotas", r#"{"put_snapshot": 0, "put_account": 0}"#];

/// Seconds until a throttled coldsnap is ended.
const PATIENCE: u32 = 180;

/// A client.
#[derive(Debug, Clone, Copy)]
enum Client {
    Ours,
    /// Coldsnap, which sends every block.
    Coldsnap,
    /// Coldsnap, which leaves zeros out.
    Omitting,
}

/// Processor times of a run beside the client's, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub client: Measured,
    pub proxy: f64,
    pub double: f64,
}

/// An upload.
#[derive(Debug, Clone)]
pub struct Upload {
    pub run: Run,
    /// Requests to write a block.
    pub puts: usize,
    /// Blocks that were written.
    pub blocks: usize,
    /// Blocks a second.
    pub rate: f64,
}

/// An upload to a service at its limit.
#[derive(Debug)]
pub struct Throttled {
    pub client: Measured,
    /// Why it failed.
    pub failure: Option<String>,
    /// The part of the bucket that was used; `None` if it ended too early to see that.
    pub used: Option<f64>,
    /// The part of the answers that said that there were too many requests.
    pub refused: f64,
}

/// The measurements.
#[derive(Debug)]
pub struct Snapshots {
    pub needed: Needed,
    pub needed_vast: Needed,
    pub up: Upload,
    pub up_all: Upload,
    pub up_omitting: Upload,
    pub down: Run,
    pub down_coldsnap: Run,
    pub direct: Upload,
    pub vast: Upload,
    pub throttled: Throttled,
    pub throttled_coldsnap: Throttled,
}

impl Snapshots {
    /// Measures with the disks in `folder`, which are made if they are missing.
    pub fn measure(folder: &Path) -> Result<Self> {
        let scene = Scene::new(folder)?;
        eprintln!("Snapshots, uploads ...");
        let up = |client| best(|| scene.upload(client, &scene.disk, &[], true));
        let (ours, all, omitting) = (
            up(Client::Ours)?,
            up(Client::Coldsnap)?,
            up(Client::Omitting)?,
        );
        eprintln!("Snapshots, downloads ...");
        let (down, down_coldsnap) = scene.downloads()?;
        eprintln!("Snapshots, without a network ...");
        let direct = best(|| scene.upload(Client::Ours, &scene.disk, &UNLIMITED, false))?;
        let vast = scene.upload(Client::Ours, &scene.vast, &UNLIMITED, false)?;
        eprintln!("Snapshots, throttled ...");
        let throttled = scene.throttled(Client::Ours)?;
        if let Some(failure) = &throttled.failure {
            return Err(failure.clone().into());
        }
        let throttled_coldsnap = scene.throttled(Client::Omitting)?;
        Ok(Self {
            needed: Needed::of(&scene.disk)?,
            needed_vast: Needed::of(&scene.vast)?,
            up: ours,
            up_all: all,
            up_omitting: omitting,
            down,
            down_coldsnap,
            direct,
            vast,
            throttled,
            throttled_coldsnap,
        })
    }
}

/// The faster of two, with the larger memory use of both.
fn best<T: AsMut<Run>>(mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let (mut one, mut other) = (run()?, run()?);
    let (first, second) = (one.as_mut(), other.as_mut());
    let memory = first.client.memory.max(second.client.memory);
    (first.client.memory, second.client.memory) = (memory, memory);
    Ok(match first.client.wall < second.client.wall {
        true => one,
        false => other,
    })
}

impl AsMut<Run> for Run {
    fn as_mut(&mut self) -> &mut Run {
        self
    }
}

impl AsMut<Run> for Upload {
    fn as_mut(&mut self) -> &mut Run {
        &mut self.run
    }
}

/// The disks, the programs, and a folder to work in.
struct Scene {
    folder: PathBuf,
    commands: PathBuf,
    coldsnap: String,
    disk: PathBuf,
    vast: PathBuf,
}

impl Scene {
    fn new(folder: &Path) -> Result<Self> {
        let commands = std::env::current_exe()?
            .parent()
            .ok_or("no folder of commands")?
            .to_owned();
        let coldsnap = shell("scripts/coldsnap")?;
        let _ = shell(&format!("scripts/bench-image '{}'", folder.display()))?;
        let disks = folder.canonicalize()?;
        let folder = disks.join("bench-snapshots");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let disk = disks.join("whole.img");
        // Fills the page cache, so that all read from memory.
        let _ = shell(&format!("cat '{}' > /dev/null", disk.display()))?;
        Ok(Self {
            vast: disks.join("vast.img"),
            folder,
            commands,
            coldsnap,
            disk,
        })
    }

    /// A new double without snapshots, behind the slow network or not.
    fn double(&self, options: &[&str], is_far: bool) -> Result<Double> {
        let _ = shell(&format!(
            "cd '{}'; rm -rf work home; mkdir work home; sync",
            self.folder.display()
        ))?;
        let store = self.folder.join("work");
        Double::start(&self.commands, &store, options, is_far.then_some(NETWORK))
    }

    /// The environment of a client.
    fn script(&self, double: &Double, command: &str) -> String {
        format!(
            "cd '{}'; export HOME=$PWD/home AWS_ENDPOINT_URL={} AWS_REGION=us-east-1 \
             AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY='{SECRET_KEY}'; {command} > /dev/null",
            self.folder.display(),
            double.url
        )
    }

    fn uploading(&self, client: Client, disk: &Path) -> String {
        let (ours, coldsnap) = (self.commands.display(), &self.coldsnap);
        let disk = disk.display();
        match client {
            Client::Ours => format!("'{ours}/ec2-ami' create '{disk}' --snapshot-only"),
            Client::Coldsnap => format!("'{coldsnap}' upload --no-progress '{disk}'"),
            Client::Omitting => {
                format!("'{coldsnap}' upload --no-progress --omit-zero-blocks '{disk}'")
            }
        }
    }

    /// Runs a client that must succeed.
    fn run(&self, double: &Double, command: &str) -> Result<Run> {
        let (proxy, before) = (own_cpu()?, double.cpu()?);
        let client = measured(&self.script(double, command))?;
        let run = Run {
            client,
            proxy: own_cpu()? - proxy,
            double: double.cpu()? - before,
        };
        eprintln!("  {command}: {run:.2?}");
        Ok(run)
    }

    fn upload(
        &self,
        client: Client,
        disk: &Path,
        options: &[&str],
        is_far: bool,
    ) -> Result<Upload> {
        let double = self.double(options, is_far)?;
        let run = self.run(&double, &self.uploading(client, disk))?;
        let log = double.log()?;
        let snapshot = double.snapshot()?;
        self.compare(&double, &snapshot.id, disk)?;
        Ok(Upload {
            run,
            puts: log.of("PutSnapshotBlock").count(),
            blocks: snapshot.blocks.len(),
            rate: log.rate("PutSnapshotBlock"),
        })
    }

    /// Compares a volume of the snapshot with the disk.
    fn compare(&self, double: &Double, snapshot: &str, disk: &Path) -> Result<()> {
        let volume = self.folder.join("volume");
        double.export(snapshot, &volume)?;
        compare(&volume, disk)?;
        Ok(fs::remove_file(&volume)?)
    }

    /// Ours and coldsnap's download of a snapshot.
    fn downloads(&self) -> Result<(Run, Run)> {
        let double = self.double(&[], true)?;
        let _ = self.run(&double, &self.uploading(Client::Ours, &self.disk))?;
        let id = double.snapshot()?.id;
        let ours = format!("'{}/ec2-ami' fetch {id} file", self.commands.display());
        let coldsnap = format!("'{}' download --no-progress {id} file", self.coldsnap);
        Ok((
            best(|| self.download(&double, &ours))?,
            best(|| self.download(&double, &coldsnap))?,
        ))
    }

    /// Runs a command that writes the disk to `file`.
    fn download(&self, double: &Double, command: &str) -> Result<Run> {
        let _ = shell("sync")?;
        let run = self.run(double, command)?;
        let file = self.folder.join("file");
        compare(&file, &self.disk)?;
        fs::remove_file(&file)?;
        Ok(run)
    }

    fn throttled(&self, client: Client) -> Result<Throttled> {
        let double = self.double(&THROTTLED, false)?;
        let command = format!("timeout {PATIENCE} {}", self.uploading(client, &self.disk));
        let (client, failure) = attempted(&self.script(&double, &command))?;
        eprintln!("  {command}: {client:.2?} {failure:?}");
        let log = double.log()?;
        if failure.is_none() {
            self.compare(&double, &double.snapshot()?.id, &self.disk)?;
        }
        let begin = log.of("PutSnapshotBlock").map(|put| put.at).min();
        let from = begin.ok_or("nothing was sent")? + SETTLED;
        Ok(Throttled {
            client,
            failure,
            used: used(&log, from),
            refused: log.throttled_share("PutSnapshotBlock", from),
        })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The used part of the bucket in the whole seconds after `from` in which there were blocks that had never been sent.
fn used(log: &Log, from: Duration) -> Option<f64> {
    let puts = || log.of("PutSnapshotBlock");
    let mut first = BTreeMap::new();
    for put in puts() {
        let at = first.entry(put.block).or_insert(put.at);
        *at = put.at.min(*at);
    }
    let seconds = first.into_values().max()?.checked_sub(from)?.as_secs();
    let until = from + Duration::from_secs(seconds);
    let passed = puts().filter(|put| put.status == 201 && (from..until).contains(&put.until));
    (seconds > 0).then(|| passed.count() as f64 / (seconds as f64 * BUCKET))
}
