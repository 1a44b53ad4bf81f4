//! A snapshot that becomes a sparse file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ami_files::{DirectFile, folder_of};
use ami_parts::{Prepared, Staging, Waiting};
use ami_pool::{Buffer, Buffers};
use rustix::fs::FallocateFlags;
use sha2::{Digest as _, Sha256};

use crate::background::in_background;
use crate::bitmap::Bitmap;
use crate::block::{self, BLOCK, BLOCK_SIZE, Digest};
use crate::ebs::Ebs;
use crate::error::Error;
use crate::fetch::{Listing, Taker, fetch};
use crate::journal::{Head, Journal, Record, Stage, Subject, is_id};
use crate::observer::{Event, Observer};
use crate::progress::{Counts, Progress};

/// Names in the private folder.
const IMAGE: &str = "image";
const BLOCKS: &str = "blocks";

/// What is downloaded, and where to.
#[derive(Debug, Clone)]
pub struct Download {
    /// The snapshot's ID.
    pub snapshot: String,
    /// The file.
    pub file: PathBuf,
    /// Whether a plain file of that name is replaced.
    pub may_replace: bool,
    /// The most requests in flight.
    pub parallel: usize,
}

/// A snapshot that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The volume's size in bytes, and so the file's.
    pub size: u64,
    /// What was done for it.
    pub counts: Counts,
}

/// Downloads a snapshot to a sparse file, or goes on with what an interrupted run has begun. The file takes its name when it is whole.
///
/// Each block's SHA-256 is compared with EBS's. Blocks that the snapshot does not have become zeros. In an encrypted volume such a block reads
/// as noise, which nothing can know here: whoever relies on such bytes relies on chance.
///
/// What has come lies in a private folder beside the file; dropping the future leaves it there for the next call. A call that was killed
/// when the file had its name is brought to its end.
///
/// # Errors
/// [`Error`].
pub async fn download(
    ebs: &Ebs,
    request: &Download,
    observer: &impl Observer,
) -> Result<Downloaded, Error> {
    let target = Target::of(&request.file)?;
    if !is_id(&request.snapshot) {
        let snapshot = request.snapshot.clone();
        return Err(Error::Vanished { snapshot });
    }
    if let Err(taken) = target.check_free(request.may_replace) {
        let (place, id) = (target.clone(), identity(ebs, &request.snapshot));
        let finish = move |stopped: &AtomicBool| Landing::finish(&place, id, stopped);
        return in_background(finish).await??.ok_or(taken);
    }
    let progress = Arc::new(Progress::default());
    let listing = Listing::begin(ebs, &request.snapshot, 0, &progress).await?;
    let gib = listing.volume_size();
    let blocks = block::blocks_of(gib).ok_or(Error::VolumeSize { gib })?;

    let (place, id) = (target.clone(), identity(ebs, &request.snapshot));
    let (snapshot, counted) = (request.snapshot.clone(), progress.clone());
    let prepare = move |stopped: &AtomicBool| {
        Landing::prepare(&place, &snapshot, id, blocks, &counted, stopped)
    };
    let landing = Arc::new(in_background(prepare).await??);
    observer.tell(Event::Begin {
        blocks,
        progress: progress.clone(),
    });
    let fetched = fetch(listing, request.parallel, landing.clone()).await;
    observer.tell(Event::End);
    fetched?;
    // Not in the background: a story that is dropped must not leave it half done.
    let landing = Arc::into_inner(landing).ok_or(Error::Interrupted)?;
    target.check_free(request.may_replace)?;
    landing.publish(&target, request.may_replace)?;
    Ok(Downloaded {
        size: blocks * BLOCK_SIZE,
        counts: progress.counts(),
    })
}

/// By this the private folder is found again.
fn identity(ebs: &Ebs, snapshot: &str) -> Digest {
    Sha256::digest(format!("{}\0{snapshot}", ebs.region())).into()
}

/// Where the file goes.
#[derive(Debug, Clone)]
struct Target {
    folder: PathBuf,
    name: String,
}

impl Target {
    fn of(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::NoName {
            path: path.to_owned(),
        })?;
        Ok(Self {
            folder: folder_of(path).to_owned(),
            name: name.to_owned(),
        })
    }

    /// Nothing but a plain file is ever replaced: no device, link or folder.
    fn check_free(&self, may_replace: bool) -> Result<(), Error> {
        Ok(ami_parts::check_place(
            &self.folder.join(&self.name),
            may_replace,
        )?)
    }
}

fn subject(id: Digest, blocks: u64) -> Subject {
    Subject {
        source: id,
        parameters: Digest::default(),
        blocks,
        // It is in the identity.
        region: Digest::default(),
    }
}

/// Tells of each block that is noted whether a file has it.
fn compare(
    journal: &Journal,
    (file, path): (&File, &Path),
    stopped: &AtomicBool,
    mut tell: impl FnMut(u64, bool),
) -> Result<(), Error> {
    let mut buffer = Buffers::default().filled(BLOCK);
    journal.each(0, |index, record| {
        if stopped.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let read = file.read_exact_at(&mut buffer, index * BLOCK_SIZE);
        read.map_err(Error::io("read", path))?;
        let is_same = record == Record::Written(block::digest(buffer.as_ref()));
        tell(index, is_same);
        Ok(())
    })
}

/// A file that is being filled.
struct Landing {
    staging: Staging,
    file: DirectFile,
    path: PathBuf,
    journal: Journal,
    kept: Bitmap,
    /// There may be something where nothing is noted.
    was_begun: bool,
    progress: Arc<Progress>,
}

impl Landing {
    fn prepare(
        target: &Target,
        snapshot: &str,
        id: Digest,
        blocks: u64,
        progress: &Arc<Progress>,
        stopped: &AtomicBool,
    ) -> Result<Self, Error> {
        let prepared = Prepared::kept(&target.folder, &hex::encode(id))?;
        let prepared = prepared.ok_or_else(|| Error::Rival {
            folder: target.folder.clone(),
        })?;
        let staging = prepared.make(Waiting::silent())?;
        let (journal, _) = Journal::open(&staging.own_path(BLOCKS), subject(id, blocks))?;
        let path = staging.own_path(IMAGE);
        let was_begun = journal.snapshot().is_some() && path.symlink_metadata().is_ok();
        let file = if was_begun {
            let opened = File::options().read(true).write(true).open(&path);
            opened.map_err(Error::io("open", &path))?
        } else {
            staging.discard(IMAGE)?;
            journal.begin(Head {
                snapshot: Some(snapshot.to_owned()),
                ..Head::of_generation(0)
            })?;
            staging.create(IMAGE, 0o666)?
        };
        let size = blocks * BLOCK_SIZE;
        file.set_len(size)
            .map_err(Error::io("make room for", &path))?;
        // What an earlier run has written, and only what the disk has.
        let mut kept = Bitmap::new(blocks);
        compare(&journal, (&file, &path), stopped, |index, is_same| {
            if is_same {
                kept.set(index, true);
            }
        })?;
        Ok(Self {
            staging,
            file: DirectFile::new(file),
            path,
            journal,
            kept,
            was_begun,
            progress: progress.clone(),
        })
    }

    /// Ends a run that was killed when the file had its name. `None`: there was none, or the file is another.
    fn finish(
        target: &Target,
        id: Digest,
        stopped: &AtomicBool,
    ) -> Result<Option<Downloaded>, Error> {
        let path = target.folder.join(&target.name);
        let opened = ami_files::open_regular(&path).and_then(|file| Ok((file.metadata()?, file)));
        // Whatever is wrong with it, it is not that run's.
        let Ok((metadata, file)) = opened else {
            return Ok(None);
        };
        // Somebody else's folder may have files that are only read.
        let prepared = Prepared::kept(&target.folder, &hex::encode(id));
        let Ok(Some(prepared)) = prepared else {
            return Ok(None);
        };
        let staging = prepared.make(Waiting::silent())?;
        if staging.own_path(IMAGE).symlink_metadata().is_ok() {
            return Ok(None);
        }
        let size = metadata.len();
        let subject = subject(id, size / BLOCK_SIZE);
        let (journal, _) = Journal::open(&staging.own_path(BLOCKS), subject)?;
        let (mut kept, mut is_all) = (0, journal.head().stage == Stage::Complete);
        if is_all {
            compare(&journal, (&file, &path), stopped, |_, is_same| {
                kept += u64::from(is_same);
                is_all &= is_same;
            })?;
        }
        // Without the image there is nothing to go on with.
        staging.remove();
        let counts = Counts {
            kept,
            ..Counts::default()
        };
        Ok(is_all.then_some(Downloaded { size, counts }))
    }

    fn write(&self, index: u64, data: &Buffer) -> io::Result<()> {
        let offset = index * BLOCK_SIZE;
        if self.was_begun {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if rustix::fs::fallocate(self.file.file(), flags, offset, BLOCK_SIZE).is_err() {
                return self.file.write_all_at(data.as_ref(), offset);
            }
        }
        ami_image::write_sparse(offset, data.as_ref(), |offset, run| {
            self.file.write_all_at(run, offset)
        })
    }

    fn publish(self, target: &Target, may_replace: bool) -> Result<(), Error> {
        self.file
            .file()
            .sync_all()
            .map_err(Error::io("sync", &self.path))?;
        // From now on the file may have its name.
        self.journal.change(Head {
            stage: Stage::Complete,
            ..self.journal.head()
        })?;
        let named = match may_replace {
            true => self.staging.replace(IMAGE, &target.name),
            false => self.staging.give_name(IMAGE, &target.name),
        };
        let _ = named?;
        self.staging.remove();
        Ok(())
    }
}

impl Taker for Landing {
    fn wants(&self, index: u64) -> Result<bool, Error> {
        let is_kept = self.kept.has(index);
        if is_kept {
            let _ = self.progress.kept.fetch_add(1, Ordering::Relaxed);
        }
        Ok(!is_kept)
    }

    fn take(&self, index: u64, data: &Buffer, digest: &Digest) -> Result<(), Error> {
        if *digest == block::digest_of_zeros() {
            let _ = self.progress.zeros.fetch_add(1, Ordering::Relaxed);
        }
        self.write(index, data)
            .map_err(Error::io("write", &self.path))?;
        self.journal.written(index, digest)
    }
}
