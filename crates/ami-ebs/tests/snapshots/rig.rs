//! What the tests share: disks that are made up, the double, and what it knows of snapshots.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ami_aws::{Aws, Identity};
use ami_ebs::{
    BLOCK_SIZE, BoxError, Disk, Download, Ebs, Event, Failure, Observer, Parameters, Progress,
    Snapshots, Source, State, Upload, Uploaded, VISIBLE_WITHIN, upload,
};
use ami_image::Extent;
use ebs_server::{ACCESS_KEY, EbsServer, Reading, SECRET_KEY, Settings};
use tempfile::TempDir;

pub const BLOCK: usize = BLOCK_SIZE as usize;

/// A disk whose blocks are made of numbers; 0 is a block of zeros.
#[derive(Clone)]
pub struct Made {
    pub blocks: Vec<u64>,
    /// The last block has so many bytes fewer.
    pub short: u64,
    /// It is changed, as is found out at the end.
    pub is_changed: bool,
    /// The block that cannot be read.
    pub bad: Option<u64>,
}

impl Made {
    pub fn new(blocks: impl IntoIterator<Item = u64>) -> Self {
        Self {
            blocks: blocks.into_iter().collect(),
            short: 0,
            is_changed: false,
            bad: None,
        }
    }

    pub fn block(number: u64) -> Vec<u8> {
        let mut state = number;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state
        };
        if number == 0 {
            return vec![0; BLOCK];
        }
        let begin: Vec<u8> = (0..512).flat_map(|_| next().to_le_bytes()).collect();
        begin.repeat(BLOCK / begin.len())
    }

    /// Whether a file is a volume of one GiB with these blocks, and zeros behind them.
    pub fn is_in(&self, path: &Path) -> bool {
        let file = std::fs::File::open(path).unwrap();
        let mut found = vec![0; BLOCK];
        let is_block = |(number, index): (&u64, u64)| {
            file.read_exact_at(&mut found, index * BLOCK_SIZE).unwrap();
            let mut block = Self::block(*number);
            let length = BLOCK_SIZE.min(self.size() - index * BLOCK_SIZE);
            block[usize::try_from(length).unwrap()..].fill(0);
            found == block
        };
        let is_same = self.blocks.iter().zip(0..).all(is_block);
        let end = self.blocks.len() as u64 * BLOCK_SIZE;
        let behind = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(end));
        is_same && behind.is_err() && file.metadata().unwrap().len() == 1 << 30
    }

    /// The same with blocks of zeros.
    pub fn with_zeros(&self, blocks: std::ops::Range<usize>) -> Self {
        let mut disk = self.clone();
        disk.blocks[blocks].fill(0);
        disk
    }

    pub fn source(&self, free: &[Extent]) -> Source {
        Source::Disk {
            disk: Arc::new(self.clone()),
            free: free.to_vec(),
        }
    }
}

impl Disk for Made {
    fn size(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_SIZE - self.short
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BoxError> {
        let index = offset / BLOCK_SIZE;
        if self.bad == Some(index) {
            return Err("a bad sector".into());
        }
        let block = Self::block(self.blocks[usize::try_from(index)?]);
        buffer.copy_from_slice(&block[..buffer.len()]);
        Ok(())
    }

    fn check_unchanged(&self) -> Result<(), BoxError> {
        match self.is_changed {
            true => Err("it was written to".into()),
            false => Ok(()),
        }
    }
}

/// So many blocks, counted from one.
pub fn extent(first: u64, blocks: u64) -> Extent {
    Extent {
        offset: first * BLOCK_SIZE,
        length: blocks * BLOCK_SIZE,
    }
}

pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

pub async fn ebs(url: &str) -> Ebs {
    let identity = Identity::Given {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned().into(),
        token: None,
    };
    let aws = Aws::open(&identity).await.unwrap();
    Ebs::new(&aws, "us-east-1", Some(url))
}

pub fn request(folder: &Path) -> Upload {
    Upload {
        parameters: Parameters {
            volume_size: 1,
            description: Some("made up".into()),
            tags: vec![("Name".into(), "test".into())],
            ..Parameters::default()
        },
        source: [7; 32],
        journal: folder.join("journal"),
        parallel: 16,
        visible_within: VISIBLE_WITHIN,
    }
}

/// A double, an upload with its journal, and what is told of it.
pub struct Scene {
    pub server: EbsServer,
    pub folder: TempDir,
    pub request: Upload,
    pub notes: Notes,
}

impl Scene {
    /// A double with AWS's behaviour.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            server: EbsServer::start(settings),
            request: request(folder.path()),
            folder,
            notes: Notes::default(),
        }
    }

    /// A double that takes its time, so that a run can be interrupted anywhere.
    pub fn slow() -> Self {
        Self::with(Settings {
            latency: Duration::from_millis(10),
            ..Settings::default()
        })
    }

    /// Runs the upload to its end.
    pub fn put(&self, source: Source) -> Result<Uploaded, Box<Failure>> {
        let done = run(put(&self.server, source, &self.request, &self.notes));
        done.map_err(Box::new)
    }

    /// Runs it until so many blocks were acknowledged; `None`: it was interrupted then. It has a runtime of its own, so that nothing of it is left.
    pub fn put_some(&self, source: Source, blocks: u64) -> Option<Result<Uploaded, Failure>> {
        let counter = Counter::default();
        run(async {
            let ebs = ebs(&self.server.url()).await;
            let known = Known(&self.server);
            let putting = upload(&ebs, source, &self.request, &known, &counter);
            tokio::select! {
                biased;
                done = putting => Some(done),
                () = counter.reaches(blocks) => None,
            }
        })
    }

    /// Interrupts the upload of a source again and again, at moments that the seed chooses, until a run comes to its end. There is one
    /// snapshot then, and no more blocks were sent twice than can have been in flight.
    pub fn put_with_interruptions(&self, source: impl Fn() -> Source, seed: u64) -> Uploaded {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut interrupted = 0;
        let done = loop {
            match self.put_some(source(), chance.u64(0..60)) {
                None => interrupted += 1,
                Some(done) => break done.unwrap(),
            }
        };
        assert!(interrupted >= 3, "{interrupted}");
        assert_eq!(self.server.snapshots().len(), 1);
        let puts = self.server.log().puts(&done.snapshot);
        let twice: usize = puts.values().map(|puts| puts - 1).sum();
        let most = interrupted * self.request.parallel;
        assert!(
            twice <= most,
            "{twice} blocks were sent again, and at most {most} were in flight"
        );
        done
    }

    /// Whether a snapshot is of this disk, if what was not written reads as zeros.
    pub fn has(&self, snapshot: &str, disk: &Made) -> bool {
        let path = self.folder.path().join("exported");
        let read = self.server.export(snapshot, &path, Reading::Zeros);
        read.unwrap();
        let is_it = disk.is_in(&path);
        std::fs::remove_file(path).unwrap();
        is_it
    }
}

/// A download to `file` in a folder.
pub fn order(snapshot: &str, folder: &Path) -> Download {
    Download {
        snapshot: snapshot.to_owned(),
        file: folder.join("file"),
        may_replace: false,
        parallel: 8,
    }
}

/// What EC2 would say.
pub struct Known<'a>(pub &'a EbsServer);

impl Snapshots for Known<'_> {
    async fn state(&self, snapshot: &str) -> Result<Option<State>, BoxError> {
        let found = self.0.snapshot(snapshot);
        Ok(found.map(|found| match found.state.as_str() {
            "pending" => State::Pending,
            "completed" => State::Completed,
            _ => State::Error,
        }))
    }

    async fn delete(&self, _: &str) {}
}

/// Notes what is told.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Notes {
    fn tell(&self, event: Event) {
        let note = match event {
            Event::Snapshot {
                snapshot,
                is_resumed,
            } => format!(
                "{} {snapshot}",
                if is_resumed { "resumed" } else { "started" }
            ),
            Event::Abandoned { snapshot } => format!("abandoned {snapshot}"),
            _ => return,
        };
        self.0.lock().unwrap().push(note);
    }
}

pub async fn put(
    server: &EbsServer,
    source: Source,
    request: &Upload,
    notes: &Notes,
) -> Result<Uploaded, Failure> {
    let ebs = ebs(&server.url()).await;
    upload(&ebs, source, request, &Known(server), notes).await
}

/// Sees how far a transfer has come.
#[derive(Default)]
pub struct Counter(Mutex<Option<Arc<Progress>>>);

impl Observer for Counter {
    fn tell(&self, event: Event) {
        if let Event::Begin { progress, .. } = event {
            *self.0.lock().unwrap() = Some(progress);
        }
    }
}

impl Counter {
    /// Waits until so many blocks were transferred.
    pub async fn reaches(&self, blocks: u64) {
        let has_come = || {
            let progress = self.0.lock().unwrap();
            progress
                .as_ref()
                .is_some_and(|progress| progress.counts().done >= blocks)
        };
        while !has_come() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Waits until the double has completed a snapshot.
pub async fn completed(server: &EbsServer, snapshot: &str) {
    while server.snapshot(snapshot).unwrap().state != "completed" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
