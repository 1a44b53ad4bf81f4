//! A strict double of the EBS direct APIs, of what EC2, KMS and Service Quotas have for snapshots and images, and of STS's AssumeRole: one
//! HTTP server on 127.0.0.1 that checks signatures, enforces what AWS documents, has AWS's quotas as token buckets, and fails where it is told to. Regions are
//! told apart by the signature's scope. It is a crate of its own so that the demonstration compiles nothing else of the tests.
//!
//! ```no_run
//! let server = ebs_server::EbsServer::start(ebs_server::Settings::default());
//! println!("{}", server.url());
//! ```
//!
//! Not here: S3 (that is `s3-server`), instances, volumes.

mod answer;
mod blocks;
mod buckets;
mod control;
mod dates;
mod ebs;
mod ec2;
mod error;
mod image;
mod json_rpc;
mod kms;
mod log;
mod serve;
mod service_quotas;
mod settings;
mod sigv4;
mod snapshot;
mod sts;
mod tokens;
mod world;
mod xml;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::Digest as _;
use tempfile::TempDir;
use tokio::sync::oneshot;

pub use crate::blocks::{BLOCK, Reading};
pub use crate::image::{Device, EbsDevice, ImageRecord, Launch};
pub use crate::log::{Log, Record, Second};
pub use crate::settings::{
    ACCESS_KEY, ACCOUNT, Fault, Faults, KMS_KEY, KmsKey, Quotas, Role, SECRET_KEY, Settings,
};
use crate::snapshot::Phase;
pub use crate::snapshot::{SnapshotRecord, Tags};
use crate::world::{Ordered, World};

/// A server; it ends with this value.
pub struct EbsServer {
    address: SocketAddr,
    world: Arc<World>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: Option<TempDir>,
}

impl EbsServer {
    /// Starts one.
    ///
    /// # Panics
    /// If the port is taken, or the folder for snapshots cannot be made.
    pub fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (folder, path) = match &settings.store {
            Some(path) => {
                std::fs::create_dir_all(path).unwrap();
                (None, path.clone())
            }
            None => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().to_owned();
                (Some(folder), path)
            }
        };
        let world = Arc::new(World::new(settings, path));
        let (stop, stopped) = oneshot::channel();
        let served = world.clone();
        let thread = std::thread::spawn(move || run(listener, &served, stopped));
        Self {
            address,
            world,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// Where it listens: `http://127.0.0.1:PORT`, for all services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same as a socket's address, for a proxy in front of it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All snapshots that are not deleted, of all regions.
    pub fn snapshots(&self) -> Vec<SnapshotRecord> {
        self.world.snapshot_records()
    }

    /// A snapshot that is not deleted.
    pub fn snapshot(&self, id: &str) -> Option<SnapshotRecord> {
        self.snapshots().into_iter().find(|found| found.id == id)
    }

    /// All images that are registered, of all regions.
    pub fn images(&self) -> Vec<ImageRecord> {
        self.world.image_records()
    }

    /// A registered image.
    pub fn image(&self, id: &str) -> Option<ImageRecord> {
        self.images().into_iter().find(|found| found.id == id)
    }

    /// Writes the volume of a snapshot, in whatever state, as a sparse file. With [`Reading::Noise`] it is what an encrypted volume reads as.
    ///
    /// # Errors
    /// There is no such snapshot, or the file cannot be written.
    pub fn export(&self, snapshot: &str, to: &Path, reading: Reading) -> std::io::Result<()> {
        self.world.export(snapshot, to, reading)
    }

    /// A block of a snapshot, in whatever state, as a volume of it reads.
    ///
    /// # Errors
    /// There is no such snapshot, or its file cannot be read.
    pub fn block(&self, snapshot: &str, index: u32, reading: Reading) -> std::io::Result<Vec<u8>> {
        let things = self.world.things.lock();
        let mut all = things.snapshots.values();
        let found = all.find(|found| found.id == snapshot).cloned();
        drop(things);
        let found = found.ok_or(std::io::ErrorKind::NotFound)?;
        Ok(match (found.blocks.get(index)?, reading) {
            (Some((block, _)), _) => block,
            (None, Reading::Noise) => blocks::noise(self.world.settings.seed, index),
            (None, Reading::Zeros) => vec![0; BLOCK],
        })
    }

    /// Gives a block of a snapshot other bytes, whatever state it is in: what must never happen.
    ///
    /// # Errors
    /// There is no such snapshot, or its file cannot be written.
    pub fn spoil(&self, snapshot: &str, index: u32) -> std::io::Result<()> {
        let things = self.world.things.lock();
        let mut all = things.snapshots.values();
        let found = all.find(|found| found.id == snapshot).cloned();
        drop(things);
        let found = found.ok_or(std::io::ErrorKind::NotFound)?;
        let spoilt = bytes::Bytes::from(vec![0xEE; BLOCK]);
        let digest = sha2::Sha256::digest(&spoilt).into();
        found.blocks.put(index, &[spoilt], digest)
    }

    /// Puts a snapshot in error, as its time-out or a failure of AWS's does.
    pub fn fail_snapshot(&self, id: &str) {
        let things = self.world.things.lock();
        for snapshot in things.snapshots.values().filter(|found| found.id == id) {
            snapshot.inner.lock().phase = Phase::Failed;
        }
    }

    /// Changes an AMI in a way in which its owner cannot, such as its product codes.
    pub fn change_image(&self, id: &str, change: impl FnOnce(&mut ImageRecord)) {
        let mut things = self.world.things.lock();
        let mut all = things.images.values_mut();
        if let Some(image) = all.find(|image| image.id == id) {
            change(image);
        }
    }

    /// Sets what fails by chance from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.faults.lock().faults = faults;
    }

    /// Lets requests of an action fail: `count` of them, after `after` others.
    pub fn fail(&self, action: &str, fault: Fault, after: usize, count: usize) {
        self.world.faults.lock().ordered.push(Ordered {
            action: action.to_owned(),
            fault,
            after,
            count,
        });
    }

    /// How many requests are still to fail by [`EbsServer::fail`].
    pub fn still_to_fail(&self) -> usize {
        let plan = self.world.faults.lock();
        plan.ordered.iter().map(|ordered| ordered.count).sum()
    }

    /// The requests so far.
    pub fn log(&self) -> Log {
        self.world.log.log()
    }

    /// How long it has been running: the time that [`Record::at`] counts.
    pub fn elapsed(&self) -> Duration {
        self.world.log.now()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.world.log.clear();
    }
}

impl Drop for EbsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(listener: TcpListener, world: &Arc<World>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let accepted = std::future::poll_fn(|context| {
                if stopped.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(None);
                }
                listener.poll_accept(context).map(Some)
            });
            match accepted.await {
                None => return,
                Some(Ok((socket, _))) => {
                    drop(tokio::spawn(serve::connection(world.clone(), socket)));
                }
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}
